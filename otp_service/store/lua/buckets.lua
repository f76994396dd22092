-- The commit script, part 3 of 4: the buckets of limits.
--
-- Each algorithm has four functions. `settle` corrects a bucket that was written at an instant later
-- than now, which shows that the clock was ahead then. `compute_wait` returns the wait in
-- milliseconds until the cost fits (0: now), and the index of the window with that wait. `charge`
-- adds the cost. `refund` reverses an earlier charge. core/limits.py has the same arithmetic, and
-- tests/store/test_limits_model.py compares the two.
--
-- `settle` stores what it corrects, also if the charge is then refused. Otherwise a full bucket would
-- not drain until the clock reaches the instant at which it was written.

local ROUNDING_MS = 0.5 -- core/limits.py gives the reason
local UNTIL_UNLOCKED = math.huge -- the wait that no time ends

local sliding_window, gcra, failures = {}, {}, {}

------------------------------------ sliding window: a sorted set of the charges and their times

-- A charge in the future counts as one of now. Reads and writes the bucket.
function sliding_window.settle(operation)
  local future = redis.call('ZRANGEBYSCORE', operation.key, '(' .. now, '+inf')
  for _, member in ipairs(future) do
    redis.call('ZADD', operation.key, now, member)
  end
end

-- Reads the bucket.
function sliding_window.compute_wait(operation)
  local longest, index = 0, 1
  for i, window in ipairs(operation.windows) do
    local period_ms = window[WINDOW_PERIOD_SECONDS] * 1000
    local since = '(' .. now - period_ms
    local excess = redis.call('ZCOUNT', operation.key, since, '+inf')
      + operation.cost - window[WINDOW_COUNT]
    if excess > 0 then
      local oldest = redis.call('ZRANGEBYSCORE', operation.key, since, '+inf', 'WITHSCORES',
        'LIMIT', excess - 1, 1)
      local wait = tonumber(oldest[2]) + period_ms - now
      if wait > longest then
        longest, index = wait, i
      end
    end
  end
  return longest, index
end

-- Adds one member for each unit, named after the operation. Deletes the members that no window
-- includes, and extends the life of the key.
function sliding_window.charge(operation)
  local longest_ms = 0
  for _, window in ipairs(operation.windows) do
    longest_ms = math.max(longest_ms, window[WINDOW_PERIOD_SECONDS] * 1000)
  end
  redis.call('ZREMRANGEBYSCORE', operation.key, '-inf', now - longest_ms)
  for i = 1, operation.cost do
    redis.call('ZADD', operation.key, now, operation.operation .. ':' .. i)
  end
  redis.call('PEXPIRE', operation.key, longest_ms)
end

-- Removes the members of the charged operation: a second refund of it changes nothing.
function sliding_window.refund(operation)
  for i = 1, operation.cost do
    redis.call('ZREM', operation.key, operation.operation .. ':' .. i)
  end
end

---------------------- gcra: one theoretical arrival time for each window, and when it was written

-- Return the TATs of a bucket, and how far the clock was set back since they were written. They move
-- back as far, so that the bucket is as full as it was. Reads the bucket.
local function read_tats(key)
  local stored = redis.call('GET', key)
  if not stored then
    return {}, 0
  end
  local tats = cmsgpack.unpack(stored)
  local set_back_ms = math.max(0, table.remove(tats) - now)
  for i, tat in ipairs(tats) do
    tats[i] = tat - set_back_ms
  end
  return tats, set_back_ms
end

-- Write the TATs of a bucket. Deletes an empty bucket.
local function write_tats(key, tats)
  local last = math.max(0, unpack(tats))
  if last > now then
    tats[#tats + 1] = now
    redis.call('SET', key, cmsgpack.pack(tats), 'PX', math.ceil(last - now))
  else
    redis.call('DEL', key)
  end
end

-- Move the TATs of a bucket by `cost` units (below 0: a refund). Reads and writes the bucket.
local function shift_tats(operation, cost)
  local tats = read_tats(operation.key)
  for i, window in ipairs(operation.windows) do
    local period_ms = window[WINDOW_PERIOD_SECONDS] * 1000
    tats[i] = math.max(tats[i] or 0, now) + cost * period_ms / window[WINDOW_COUNT]
  end
  write_tats(operation.key, tats)
end

-- Reads and writes the bucket. Keeps the TATs for `compute_wait`.
function gcra.settle(operation)
  local tats, set_back_ms = read_tats(operation.key)
  operation.tats = tats
  if set_back_ms > 0 then
    write_tats(operation.key, { unpack(tats) })
  end
end

-- Reads the TATs that `settle` has read.
function gcra.compute_wait(operation)
  local longest, index, tats = 0, 1, operation.tats
  for i, window in ipairs(operation.windows) do
    local period_ms = window[WINDOW_PERIOD_SECONDS] * 1000
    local new_tat = math.max(tats[i] or 0, now) + operation.cost * period_ms / window[WINDOW_COUNT]
    local wait = math.max(0, math.ceil(new_tat - period_ms - now - ROUNDING_MS))
    if wait > longest then
      longest, index = wait, i
    end
  end
  return longest, index
end

-- Moves the TATs forward.
function gcra.charge(operation)
  shift_tats(operation, operation.cost)
end

-- Moves the TATs back, unless the bucket is empty. A TAT has no record of its charges, so a
-- refund is an operation with an id of its own, derived from the charged one: OPERATION keeps
-- it from being applied twice.
function gcra.refund(operation)
  if redis.call('EXISTS', operation.key) == 1 then
    shift_tats(operation, -operation.cost)
  end
end

----------------------------------------------- failures: a hash that counts consecutive failures

-- A last failure in the future counts as one of now. Reads and writes the bucket.
function failures.settle(operation)
  if tonumber(redis.call('HGET', operation.key, 'last') or 0) > now then
    redis.call('HSET', operation.key, 'last', now)
  end
end

-- Reads the bucket.
function failures.compute_wait(operation)
  local stored = redis.call('HMGET', operation.key, 'count', 'last')
  local count = tonumber(stored[1] or 0) + operation.initial_count
  local last = tonumber(stored[2] or 0)
  local rule = request.consecutive_failures_rule
  if count >= operation.windows[1][WINDOW_COUNT] then
    return UNTIL_UNLOCKED, 1
  end
  local has_delay = operation.cost > 0 and not operation.skip_delay
  if count < rule[RULE_FAILURES_BEFORE_DELAY] or not has_delay then
    return 0, 1
  end
  local doublings = math.min(count - rule[RULE_FAILURES_BEFORE_DELAY], 30)
  local delay = math.min(rule[RULE_MIN_DELAY_MS] * 2 ^ doublings, rule[RULE_MAX_DELAY_MS])
  return math.max(0, last + delay - now), 1
end

-- Adds the failures and notes their time, the time before it, and the operation, which a refund
-- needs. Returns the new count.
function failures.charge(operation)
  local count = redis.call('HINCRBY', operation.key, 'count', operation.cost)
  local previous = redis.call('HGET', operation.key, 'last') or 0
  redis.call('HSET', operation.key, 'last', now, 'previous', previous,
    'operation', operation.operation, 'masked_number', operation.masked_number)
  redis.call('PEXPIRE', operation.key, request.consecutive_failures_rule[RULE_TTL_MS])
  return count + operation.initial_count
end

-- Subtracts the failures, and deletes an empty bucket. The delay after a refunded failure ends
-- too, unless there was another failure since.
function failures.refund(operation)
  if redis.call('HEXISTS', operation.key, 'count') == 0 then
    return
  end
  if redis.call('HINCRBY', operation.key, 'count', -operation.cost) <= 0 then
    redis.call('DEL', operation.key)
  elseif redis.call('HGET', operation.key, 'operation') == operation.operation then
    redis.call('HSET', operation.key, 'last', redis.call('HGET', operation.key, 'previous'))
  end
end

local algorithms = { ['sliding-window'] = sliding_window, gcra = gcra,
  consecutive = failures }

-- Return a charge or refund with its key and the functions of its algorithm. Reads and writes
-- nothing.
local function unpack_operation(packed)
  local operation = unpack_bucket_operation(packed)
  operation.key = KEYS[operation.key_index]
  operation.algorithm = algorithms[operation.algorithm]
  return operation
end
