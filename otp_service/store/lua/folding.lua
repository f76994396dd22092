-- The commit script, part 2 of 4: folding of refusals.
--
-- The first ten refusals in a minute for one number and reason are appended unchanged. The rest
-- become one event with their count, first and last instant, and the number of client addresses.

local FOLD_AFTER_EVENTS, FOLD_SPAN_MS, MAX_FOLD_ADDRESSES = 10, 60000, 100

-- Append the event of a fold, if it has one. Deletes the fold from FOLDS and DUE.
local function flush_fold(name, fold)
  if fold.count > 0 then
    local stamp = fold.stamp
    stamp.folded, stamp.first, stamp.last = fold.count, fold.first, fold.last
    stamp.addresses = fold.distinct
    append_refusal_event({ [EVENT_BODY] = fold.event, [EVENT_MAC] = fold.mac }, stamp)
  end
  redis.call('HDEL', KEYS[FOLDS], name)
  redis.call('ZREM', KEYS[DUE], name)
end

-- Flush up to `max_folds` folds that are due by DUE. Reads FOLDS.
local function flush_due_folds(max_folds)
  local names = redis.call('ZRANGEBYSCORE', KEYS[DUE], '-inf', now, 'LIMIT', 0, max_folds)
  for _, name in ipairs(names) do
    local packed = redis.call('HGET', KEYS[FOLDS], name)
    if packed then
      flush_fold(name, cmsgpack.unpack(packed))
    else
      redis.call('ZREM', KEYS[DUE], name) -- the fold was deleted by hand
    end
  end
end

-- Append the event of a refusal, or count it in its fold. Reads and writes FOLDS and DUE.
local function fold_or_append(event, stamp)
  local name = event[EVENT_FOLD_NAME] .. ':' .. (stamp.limit or stamp.reason or '')
  local address = event[EVENT_CLIENT_ADDRESS]
  local packed = redis.call('HGET', KEYS[FOLDS], name)
  local fold = packed and cmsgpack.unpack(packed)
  if fold and now >= fold.due then
    flush_fold(name, fold)
    fold = nil
  end
  fold = fold or { due = now + FOLD_SPAN_MS, seen = 0, count = 0, addresses = {}, distinct = 0 }
  fold.seen = fold.seen + 1
  if fold.seen <= FOLD_AFTER_EVENTS then
    append_refusal_event(event, stamp)
  else
    if fold.count == 0 then
      fold.event, fold.mac = event[EVENT_BODY], event[EVENT_MAC]
      fold.stamp, fold.first = stamp, now
    end
    fold.count, fold.last = fold.count + 1, now
    if address ~= '' and not fold.addresses[address] and fold.distinct < MAX_FOLD_ADDRESSES then
      fold.addresses[address] = true
      fold.distinct = fold.distinct + 1
    end
  end
  redis.call('HSET', KEYS[FOLDS], name, cmsgpack.pack(fold))
  redis.call('ZADD', KEYS[DUE], fold.due, name)
end
