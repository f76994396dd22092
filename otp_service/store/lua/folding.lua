-- The commit script, part 2 of 9: folding of refusals, and of other events that cost the caller
-- nothing (core/events/event.py).
--
-- The first ten in a minute with one name are appended unchanged. The rest become one event with
-- their count, first and last instant, and the number of client IPs. While REFUSALS has no
-- space, which happens with an archive that cannot be written, all of them are folded, and the
-- folds wait for space.

local FOLD_AFTER_EVENTS, FOLD_SPAN_MS, MAX_FOLD_CLIENT_IPS = 10, 60000, 100
local MAX_WAITING_FOLDS = 1000 -- of a partition; further events are only counted

-- Append the event of a fold, if it has one. Deletes the fold from FOLDS and DUE.
local function flush_fold(name, fold)
  if fold.count > 0 then
    local stamp = fold.stamp
    stamp.folded, stamp.first, stamp.last = fold.count, fold.first, fold.last
    stamp.client_ips = fold.distinct
    append_refusal_event({ [EVENT_BODY] = fold.event, [EVENT_MAC] = fold.mac }, stamp)
  end
  redis.call('HDEL', keys[FOLDS], name)
  redis.call('ZREM', keys[DUE], name)
end

-- Whether a fold is due. One that is due later than a new fold was begun while the clock was ahead.
local function is_due(due)
  return now >= due or due > now + FOLD_SPAN_MS
end

-- Flush up to `max_folds` folds that are due by DUE. Reads FOLDS.
local function flush_due_folds(max_folds)
  local names = redis.call('ZRANGEBYSCORE', keys[DUE], '-inf', now, 'LIMIT', 0, max_folds)
  if #names < max_folds then
    local ahead = redis.call('ZRANGEBYSCORE', keys[DUE], '(' .. now + FOLD_SPAN_MS, '+inf',
      'LIMIT', 0, max_folds - #names)
    for _, name in ipairs(ahead) do
      names[#names + 1] = name
    end
  end
  for _, name in ipairs(names) do
    if not make_room_for_refusal() then
      return
    end
    local packed = redis.call('HGET', keys[FOLDS], name)
    if packed then
      flush_fold(name, cmsgpack.unpack(packed))
    else
      redis.call('ZREM', keys[DUE], name) -- the fold was deleted by hand
    end
  end
  local next_fold = redis.call('ZRANGEBYSCORE', keys[DUE], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  log.next_due = tonumber(next_fold[2] or '')
end

-- Append the event of a refusal, or count it in its fold. Reads and writes FOLDS and DUE.
local function fold_or_append(event, stamp)
  local name = event[EVENT_FOLD_NAME] .. ':' .. (stamp.limit or stamp.reason or '')
  local client_ip = event[EVENT_CLIENT_IP]
  local packed = redis.call('HGET', keys[FOLDS], name)
  local fold = packed and cmsgpack.unpack(packed)
  local has_room = make_room_for_refusal()
  if fold and is_due(fold.due) and has_room then
    flush_fold(name, fold)
    fold, has_room = nil, make_room_for_refusal()
  end
  if not (fold or has_room) and redis.call('HLEN', keys[FOLDS]) >= MAX_WAITING_FOLDS then
    log.unrecorded = log.unrecorded + 1
    return
  end
  fold = fold or { due = now + FOLD_SPAN_MS, seen = 0, count = 0, client_ips = {}, distinct = 0 }
  fold.seen = fold.seen + 1
  if fold.seen <= FOLD_AFTER_EVENTS and has_room then
    append_refusal_event(event, stamp)
  else
    if fold.count == 0 then
      fold.event, fold.mac = event[EVENT_BODY], event[EVENT_MAC]
      fold.stamp, fold.first = stamp, now
    end
    fold.count, fold.last = fold.count + 1, now
    if client_ip ~= '' and not fold.client_ips[client_ip] and fold.distinct < MAX_FOLD_CLIENT_IPS then
      fold.client_ips[client_ip] = true
      fold.distinct = fold.distinct + 1
    end
  end
  redis.call('HSET', keys[FOLDS], name, cmsgpack.pack(fold))
  redis.call('ZADD', keys[DUE], fold.due, name)
  log.next_due = math.min(log.next_due or fold.due, fold.due)
end
