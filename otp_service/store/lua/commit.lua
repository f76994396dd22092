#!lua
-- One decision, in one step, in one partition: all of it or none of it.
--
--   1. an operation that was done before answers what it answered (a reply can be lost)
--   2. what is expected must be there, and the deadline must not have passed
--   3. what is guarded must be absent, and every charge must fit
--   4. then values are written, buckets charged and given back, and events appended
--
-- A refusal in 3 changes nothing but appends its own event, `refusal`. `denial` is the event of a
-- refusal that was decided before, appended in 4 with what is given back. Values and event bodies are opaque
-- bytes; no rule about codes is here. Time is Redis's own and read once. Everything is decided
-- before anything is written, and the shebang makes Redis refuse the whole script when it is
-- out of memory, read-only or loading.
--
-- KEYS: 1 operation, 2 log, 3 events, 4 refusals, 5 folds, 6 due, then whatever ARGV[1] names
-- by its place. ARGV[1]: msgpack of `Request` in store/script.py, whose order of fields this is;
-- what it writes stands behind it, for Redis's msgpack knows no bytes.
-- Reply: {'done', now, failures in a row} | {'conflict', now, value…} | {'late', now}
--        | {'refused', now, charge, window, wait}  (places counted from 1; 0: a guard)
--        | {'full', now}  (it grants, and there is no room to say so)

local OPERATION, LOG, EVENTS, REFUSALS, FOLDS, DUE = 1, 2, 3, 4, 5, 6
local ROUNDING = 0.5 -- core/limits.py says why
local FOLD_AFTER, FOLD_SPAN, FOLD_ADDRESSES = 10, 60000, 100

local request = cmsgpack.unpack(ARGV[1])
local shift, expected, before, returned, writes, guards, charges, give_backs, clear, events,
  refusal, denial, sweep, epoch_event, log_limits, row, grants = unpack(request, 1, 17)
local retention, maximum, archives = unpack(log_limits, 1, 3)

local known = redis.call('GET', KEYS[OPERATION])
if known then
  -- Written again, so that a WAIT behind this call waits for what the first one wrote.
  redis.call('PEXPIRE', KEYS[OPERATION], 60000)
  return cmsgpack.unpack(known)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + shift

------------------------------------------------------------------- expectations
-- A value begins with its version, so the first bytes tell whether anybody moved first.
for _, expectation in ipairs(expected) do
  local place, version = expectation[1], expectation[2]
  if redis.call('GETRANGE', KEYS[place], 0, 7) ~= version then
    local reply = { 'conflict', now }
    for _, other in ipairs(returned) do
      reply[#reply + 1] = redis.call('GET', KEYS[other])
    end
    return reply
  end
end
if before > 0 and now >= before then
  return { 'late', now }
end

--------------------------------------------------------------------- the log
-- An entry's id is its time and its place in the epoch: `1763814000123-42`.
-- `archived` is the id up to which a folder has them, and `waiting` how many events come after it,
-- where there is an archive (mark.lua). No `waiting`: nobody has counted, and all of them may.
local log -- {server, epoch, seq, ms, unrecorded, waiting, archived}; read and written once

local function append(stream, event, stamp)
  log.seq = log.seq + 1
  log.waiting = log.waiting + (stream == EVENTS and 1 or 0)
  redis.call('XADD', KEYS[stream], log.ms .. '-' .. log.seq,
    'event', event[1], 'mac', event[2], 'epoch', log.epoch, 'stamp', stamp or '')
end

-- Each server that answers begins an epoch: a restart or a failover may have lost the tail, and
-- the sequence must not go on as if it had not. Its replication id is new in both cases.
local function open_log()
  local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  local kept = redis.call('HMGET', KEYS[LOG], 'server', 'epoch', 'seq', 'ms', 'unrecorded',
    'waiting', 'archived')
  local last = tonumber(kept[4] or 0)
  log = { server = server, epoch = tonumber(kept[2] or 0), seq = tonumber(kept[3] or 0),
    ms = math.max(now, last), unrecorded = tonumber(kept[5] or 0),
    waiting = tonumber(kept[6] or '') or archives and redis.call('XLEN', KEYS[EVENTS]) or 0,
    archived = string.match(kept[7] or '0', '%d+') }
  if kept[1] ~= server then
    log.ms = math.max(now, last + 1)
    log.epoch, log.seq = log.ms, 0
    append(EVENTS, epoch_event)
  end
end

local function close_log()
  redis.call('HSET', KEYS[LOG], 'server', log.server, 'epoch', log.epoch, 'seq', log.seq,
    'ms', log.ms, 'unrecorded', log.unrecorded, 'waiting', archives and log.waiting or '')
  -- With an archive, nothing goes that it does not have.
  local oldest = archives and math.min(now - retention, log.archived) or now - retention
  for _, stream in ipairs({ EVENTS, REFUSALS }) do
    redis.call('XTRIM', KEYS[stream], 'MINID', '~', oldest)
    if archives then
      redis.call('PERSIST', KEYS[stream])
    else
      redis.call('PEXPIRE', KEYS[stream], retention)
    end
  end
  redis.call('XTRIM', KEYS[EVENTS], 'MAXLEN', '~', math.max(maximum, archives and log.waiting or 0))
end

-- Refusals cost their sender nothing, so they may fill no more than half of the log; past that
-- they are only counted, and the count stands on the first one that fits again.
local function append_refusal(event, stamp)
  if redis.call('XLEN', KEYS[REFUSALS]) >= maximum / 2 then
    log.unrecorded = log.unrecorded + (stamp.folded or 1)
    return
  end
  if log.unrecorded > 0 then
    stamp.unrecorded = log.unrecorded
    log.unrecorded = 0
  end
  append(REFUSALS, event, next(stamp) and cjson.encode(stamp) or '')
end

-------------------------------------------------------------------- folding
-- The first ten refusals a minute for one number and reason stand as they are; the rest become
-- one event with their number, first and last instant, and how many addresses they came from.
local function flush_fold(name, fold)
  if fold.count > 0 then
    local stamp = fold.stamp
    stamp.folded, stamp.first, stamp.last = fold.count, fold.first, fold.last
    stamp.addresses = fold.distinct
    append_refusal({ fold.event, fold.mac }, stamp)
  end
  redis.call('HDEL', KEYS[FOLDS], name)
  redis.call('ZREM', KEYS[DUE], name)
end

local function flush_due(most)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[DUE], '-inf', now, 'LIMIT', 0, most)) do
    local packed = redis.call('HGET', KEYS[FOLDS], name)
    if packed then
      flush_fold(name, cmsgpack.unpack(packed))
    else
      redis.call('ZREM', KEYS[DUE], name) -- somebody else deleted the fold
    end
  end
end

local function refuse(event, stamp)
  local name, address = event[3] .. ':' .. (stamp.limit or stamp.reason or ''), event[4]
  local packed = redis.call('HGET', KEYS[FOLDS], name)
  local fold = packed and cmsgpack.unpack(packed)
  if fold and now >= fold.due then
    flush_fold(name, fold)
    fold = nil
  end
  fold = fold or { due = now + FOLD_SPAN, seen = 0, count = 0, addresses = {}, distinct = 0 }
  fold.seen = fold.seen + 1
  if fold.seen <= FOLD_AFTER then
    append_refusal(event, stamp)
  else
    if fold.count == 0 then
      fold.event, fold.mac, fold.stamp, fold.first = event[1], event[2], stamp, now
    end
    fold.count, fold.last = fold.count + 1, now
    if address ~= '' and not fold.addresses[address] and fold.distinct < FOLD_ADDRESSES then
      fold.addresses[address] = true
      fold.distinct = fold.distinct + 1
    end
  end
  redis.call('HSET', KEYS[FOLDS], name, cmsgpack.pack(fold))
  redis.call('ZADD', KEYS[DUE], fold.due, name)
end

-------------------------------------------------------------------- buckets
-- Each kind tells how long to wait (0: it fits, -1: no waiting helps) and which window says so,
-- and how to spend. core/limits.py has the same arithmetic, and the tests compare the two.
local exact, gcra, failures = {}, {}, {}

function exact.wait(key, charge)
  local longest, which = 0, 1
  for i, window in ipairs(charge.windows) do
    local count, period = window[1], window[2] * 1000
    local excess = redis.call('ZCOUNT', key, '(' .. now - period, '+inf')
      + charge.cost - count
    if excess > 0 then
      local oldest = redis.call('ZRANGEBYSCORE', key,
        '(' .. now - period, '+inf', 'WITHSCORES',
        'LIMIT', excess - 1, 1)
      local wait = tonumber(oldest[2]) + period - now
      if wait > longest then
        longest, which = wait, i
      end
    end
  end
  return longest, which
end

function exact.spend(key, charge)
  local longest = 0
  for _, window in ipairs(charge.windows) do
    longest = math.max(longest, window[2] * 1000)
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - longest)
  for i = 1, charge.cost do
    redis.call('ZADD', key, now, charge.operation .. ':' .. i)
  end
  redis.call('PEXPIRE', key, longest)
end

-- The instants name the operation that spent them, so taking them out twice does nothing.
function exact.give_back(key, back)
  for i = 1, back.cost do
    redis.call('ZREM', key, back.operation .. ':' .. i)
  end
end

local function tats(key)
  local kept = redis.call('GET', key)
  return kept and cmsgpack.unpack(kept) or {}
end

function gcra.wait(key, charge)
  local longest, which, kept = 0, 1, tats(key)
  for i, window in ipairs(charge.windows) do
    local period = window[2] * 1000
    local new = math.max(kept[i] or 0, now) + charge.cost * period / window[1]
    local wait = math.max(0, math.ceil(new - period - now - ROUNDING))
    if wait > longest then
      longest, which = wait, i
    end
  end
  return longest, which
end

local function move_tats(key, windows, cost)
  local kept, last = tats(key), 0
  for i, window in ipairs(windows) do
    kept[i] = math.max(kept[i] or 0, now) + cost * window[2] * 1000 / window[1]
    last = math.max(last, kept[i])
  end
  if last > now then
    redis.call('SET', key, cmsgpack.pack(kept), 'PX', math.ceil(last - now))
  else
    redis.call('DEL', key)
  end
end

function gcra.spend(key, charge)
  move_tats(key, charge.windows, charge.cost)
end

-- A TAT forgets who moved it; the give-back is an operation of its own, whose name is made from
-- the one that it undoes, so its record (1.) keeps it from applying twice.
function gcra.give_back(key, back)
  if redis.call('EXISTS', key) == 1 then
    move_tats(key, back.windows, -back.cost)
  end
end

function failures.wait(key, charge)
  local kept = redis.call('HMGET', key, 'count', 'last')
  local count, last = tonumber(kept[1] or 0) + charge.base, tonumber(kept[2] or 0)
  local patience, first_delay, last_delay = row[1], row[2], row[3]
  if count >= charge.windows[1][1] then
    return -1, 1
  end
  if count < patience or charge.cost == 0 then
    return 0, 1
  end
  local delay = math.min(first_delay * 2 ^ math.min(count - patience, 30), last_delay)
  return math.max(0, last + delay - now), 1
end

function failures.spend(key, charge)
  local count = redis.call('HINCRBY', key, 'count', charge.cost)
  local before = redis.call('HGET', key, 'last') or 0
  redis.call('HSET', key, 'last', now, 'before', before, 'by', charge.operation,
    'who', charge.label)
  redis.call('PEXPIRE', key, row[4])
  return count + charge.base
end

-- What was no failure lets nobody wait for it either, unless there was another one since.
function failures.give_back(key, back)
  if redis.call('HEXISTS', key, 'count') == 0 then
    return
  end
  if redis.call('HINCRBY', key, 'count', -back.cost) <= 0 then
    redis.call('DEL', key)
  elseif redis.call('HGET', key, 'by') == back.operation then
    redis.call('HSET', key, 'last', redis.call('HGET', key, 'before'))
  end
end

local kinds = { exact = exact, gcra = gcra, row = failures }

local function charge_at(packed)
  return { kind = kinds[packed[1]], key = KEYS[packed[2]], windows = packed[3], cost = packed[4],
    operation = packed[5], force = packed[6], name = packed[7], label = packed[8],
    base = packed[9] }
end

------------------------------------------------------------------- decisions
local function answer(reply)
  redis.call('SET', KEYS[OPERATION], cmsgpack.pack(reply), 'PX', 60000)
  return reply
end

local function first_refusal()
  for _, place in ipairs(guards) do
    if redis.call('EXISTS', KEYS[place]) == 1 then
      return { 0, 0, -1 }, { reason = 'blocked' }
    end
  end
  local worst, stamp
  for i, packed in ipairs(charges) do
    local charge = charge_at(packed)
    if not charge.force then
      local wait, which = charge.kind.wait(charge.key, charge)
      if wait == -1 or wait > (worst and worst[3] or 0) then
        local window = charge.windows[which]
        worst = { i, which, wait }
        stamp = { reason = wait == -1 and 'number_locked' or 'rate_limited', limit = charge.name,
          quota = window[1], period = window[2], wait = wait }
      end
      if wait == -1 then
        break
      end
    end
  end
  return worst, stamp
end

local refused, stamp = first_refusal()
if refused then
  if refusal then
    open_log()
    refuse(refusal, stamp)
    flush_due(sweep)
    close_log()
  end
  return answer({ 'refused', now, refused[1], refused[2], refused[3] })
end

-- Nothing is granted that the archive may never hear of (R73); what was granted before goes on,
-- and refusals have a stream of their own, so nobody brings it here by being refused.
if grants and archives then
  local waiting = redis.call('HGET', KEYS[LOG], 'waiting') or ''
  if (tonumber(waiting) or redis.call('XLEN', KEYS[EVENTS])) >= maximum then
    return { 'full', now }
  end
end

local in_a_row = 0
for _, packed in ipairs(charges) do
  local charge = charge_at(packed)
  if charge.cost > 0 then
    in_a_row = charge.kind.spend(charge.key, charge) or in_a_row
  end
end
for _, packed in ipairs(give_backs) do
  local back = charge_at(packed)
  back.kind.give_back(back.key, back)
end
for _, place in ipairs(clear) do
  redis.call('DEL', KEYS[place])
end
for _, write in ipairs(writes) do
  local place, value, until_ = write[1], ARGV[write[2]], write[3]
  if not value or (until_ > 0 and until_ <= now) then
    redis.call('DEL', KEYS[place])
  elseif until_ > 0 then
    redis.call('SET', KEYS[place], value, 'PX', until_ - now)
  else
    redis.call('SET', KEYS[place], value)
  end
end
if #events > 0 or denial or sweep > 2 then
  open_log()
  for _, event in ipairs(events) do
    append(EVENTS, event)
  end
  if denial then
    refuse(denial, {})
  end
  flush_due(sweep)
  close_log()
end
return answer({ 'done', now, in_a_row })
