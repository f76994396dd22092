-- The commit script, part 3 of 9: the buckets of limits.
--
-- Each algorithm has seven functions. `read` returns a bucket, which the others change and write.
-- `settle` corrects a bucket that was written at an instant later than now, which shows that the clock
-- was ahead then, and returns whether it did. `write` stores the corrected bucket. `compute_wait` returns
-- the wait in milliseconds until the cost fits (0: now), and the index of the window with that wait.
-- `count_used` returns how much of a window is used, for people. `charge` adds the cost. `refund` reverses
-- an earlier charge. core/limits.py has the same arithmetic, and tests/store/test_limits_model.py compares
-- the two.
--
-- A commit writes what `settle` corrects, also if the charge is then refused. Otherwise a full bucket
-- would not drain until the clock reaches the instant at which it was written. An inspection
-- (inspect.lua) only reads: it calls neither `write`, `charge` nor `refund`.

local ROUNDING_MS = 0.5 -- core/limits.py gives the reason
local UNTIL_UNLOCKED = math.huge -- the wait that no time ends
local MARK_CHARS = 8 -- of the id of a charge, 32 random bits: a bucket has few charges

local sliding_window, gcra, failures = {}, {}, {}

-- The buckets of a commit by their keys, as they are stored: each is read once.
local buckets

---------------------------- sliding window: the instant and the mark of each charged unit, in turn

-- Return the bucket, the oldest unit first. Reads it.
function sliding_window.read(key)
  local stored = redis.call('GET', key)
  return stored and cmsgpack.unpack(stored) or {}
end

-- Writes the bucket until it expires, or as long as it was to be kept. Deletes an empty one.
local function write_window(key, bucket, ttl_ms)
  if #bucket == 0 then
    redis.call('DEL', key)
  elseif ttl_ms then
    redis.call('SET', key, cmsgpack.pack(bucket), 'PX', ttl_ms)
  else
    redis.call('SET', key, cmsgpack.pack(bucket), 'KEEPTTL')
  end
end

-- A charge in the future counts as one of now.
function sliding_window.settle(operation)
  local bucket, is_ahead = operation.bucket, false
  for i = 1, #bucket, 2 do
    if bucket[i] > now then
      bucket[i], is_ahead = now, true
    end
  end
  return is_ahead
end

function sliding_window.write(operation)
  write_window(operation.key, operation.bucket)
end

-- Return the index of the oldest unit that a period includes, or of the next one to be added.
local function find_oldest(bucket, period_ms)
  local index = 1
  while bucket[index] and bucket[index] <= now - period_ms do
    index = index + 2
  end
  return index
end

function sliding_window.compute_wait(operation)
  local longest, index, bucket = 0, 1, operation.bucket
  for i, window in ipairs(operation.windows) do
    local period_ms = window[WINDOW_PERIOD_SECONDS] * 1000
    local oldest = find_oldest(bucket, period_ms)
    local excess = (#bucket + 1 - oldest) / 2 + operation.cost - window[WINDOW_COUNT]
    if excess > 0 then
      local wait = bucket[oldest + 2 * (excess - 1)] + period_ms - now
      if wait > longest then
        longest, index = wait, i
      end
    end
  end
  return longest, index
end

-- Return the units that a window includes.
function sliding_window.count_used(operation, window)
  local bucket = operation.bucket
  return (#bucket + 1 - find_oldest(bucket, window[WINDOW_PERIOD_SECONDS] * 1000)) / 2
end

-- Adds each unit. Deletes those that no window includes, and extends the life of the key.
function sliding_window.charge(operation)
  local longest_ms, bucket = 0, operation.bucket
  for _, window in ipairs(operation.windows) do
    longest_ms = math.max(longest_ms, window[WINDOW_PERIOD_SECONDS] * 1000)
  end
  local oldest = find_oldest(bucket, longest_ms)
  for i = 1, #bucket do
    bucket[i] = bucket[i + oldest - 1]
  end
  for _ = 1, operation.cost do
    bucket[#bucket + 1] = now
    bucket[#bucket + 1] = operation.mark
  end
  write_window(operation.key, bucket, longest_ms)
end

-- Removes the units of the charged operation: a second refund of it changes nothing.
function sliding_window.refund(operation)
  local bucket, left = operation.bucket, operation.cost
  for i = #bucket, 1, -2 do
    if left > 0 and bucket[i] == operation.mark then
      table.remove(bucket, i)
      table.remove(bucket, i - 1)
      left = left - 1
    end
  end
  if left < operation.cost then
    write_window(operation.key, bucket)
  end
end

---------------------- gcra: one theoretical arrival time for each window, and when it was written

-- Return the TATs of a bucket. If the clock was set back since they were written, they move back as far,
-- so that the bucket is as full as it was: `set_back_ms`. Reads the bucket.
function gcra.read(key)
  local stored = redis.call('GET', key)
  if not stored then
    return { tats = {}, set_back_ms = 0 }
  end
  local tats = cmsgpack.unpack(stored)
  local set_back_ms = math.max(0, table.remove(tats) - now)
  for i, tat in ipairs(tats) do
    tats[i] = tat - set_back_ms
  end
  return { tats = tats, set_back_ms = set_back_ms }
end

-- Write the TATs of a bucket. Deletes an empty bucket.
local function write_tats(key, tats)
  local last = math.max(0, unpack(tats))
  if last > now then
    local stored = { unpack(tats) }
    stored[#stored + 1] = now
    redis.call('SET', key, cmsgpack.pack(stored), 'PX', math.ceil(last - now))
  else
    redis.call('DEL', key)
  end
end

-- Return the TATs after a charge of `cost` units (below 0: a refund).
local function compute_tats(operation, cost)
  local tats = { unpack(operation.bucket.tats) }
  for i, window in ipairs(operation.windows) do
    local period_ms = window[WINDOW_PERIOD_SECONDS] * 1000
    tats[i] = math.max(tats[i] or 0, now) + cost * period_ms / window[WINDOW_COUNT]
  end
  return tats
end

-- `read` has moved the TATs back if the clock was set back.
function gcra.settle(operation)
  local is_set_back = operation.bucket.set_back_ms > 0
  operation.bucket.set_back_ms = 0
  return is_set_back
end

function gcra.write(operation)
  write_tats(operation.key, operation.bucket.tats)
end

function gcra.compute_wait(operation)
  local longest, index, tats = 0, 1, compute_tats(operation, operation.cost)
  for i, window in ipairs(operation.windows) do
    local period_ms = window[WINDOW_PERIOD_SECONDS] * 1000
    local wait = math.max(0, math.ceil(tats[i] - period_ms - now - ROUNDING_MS))
    if wait > longest then
      longest, index = wait, i
    end
  end
  return longest, index
end

-- Return the units that have not drained, rounded up: one that has drained in part counts.
function gcra.count_used(operation, window, index)
  local level_ms = (operation.bucket.tats[index] or 0) - now - ROUNDING_MS
  local interval_ms = window[WINDOW_PERIOD_SECONDS] * 1000 / window[WINDOW_COUNT]
  return math.max(0, math.ceil(level_ms / interval_ms))
end

-- Moves the TATs forward.
function gcra.charge(operation)
  operation.bucket.tats = compute_tats(operation, operation.cost)
  write_tats(operation.key, operation.bucket.tats)
end

-- Moves the TATs back, unless the bucket is empty. A TAT has no record of its charges, so a
-- refund is an operation with an id of its own, derived from the charged one: OPERATION keeps
-- it from being applied twice.
function gcra.refund(operation)
  if #operation.bucket.tats > 0 then
    operation.bucket.tats = compute_tats(operation, -operation.cost)
    write_tats(operation.key, operation.bucket.tats)
  end
end

----------------------------------------------- failures: a hash that counts consecutive failures

-- Reads the bucket.
function failures.read(key)
  local stored = redis.call('HMGET', key, 'count', 'last', 'previous', 'operation')
  return { count = tonumber(stored[1] or 0), last = tonumber(stored[2] or 0),
    previous = tonumber(stored[3] or 0), operation = stored[4] }
end

-- A last failure in the future counts as one of now.
function failures.settle(operation)
  local is_ahead = operation.bucket.last > now
  operation.bucket.last = math.min(operation.bucket.last, now)
  return is_ahead
end

function failures.write(operation)
  redis.call('HSET', operation.key, 'last', operation.bucket.last)
end

function failures.compute_wait(operation)
  local count = operation.bucket.count + operation.initial_count
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
  return math.max(0, operation.bucket.last + delay - now), 1
end

function failures.count_used(operation)
  return operation.bucket.count + operation.initial_count
end

-- Adds the failures and notes their time, the time before it, and the operation, which a refund
-- needs, and the sealed subject. Returns the new count.
function failures.charge(operation)
  local bucket = operation.bucket
  bucket.count = bucket.count + operation.cost
  bucket.previous, bucket.last, bucket.operation = bucket.last, now, operation.mark
  redis.call('HSET', operation.key, 'count', bucket.count, 'last', now, 'previous', bucket.previous,
    'operation', bucket.operation, 'subject', arguments[operation.subject_index])
  redis.call('PEXPIRE', operation.key, request.consecutive_failures_rule[RULE_TTL_MS])
  return bucket.count + operation.initial_count
end

-- Subtracts the failures, and deletes an empty bucket. The delay after a refunded failure ends
-- too, unless there was another failure since.
function failures.refund(operation)
  local bucket = operation.bucket
  if bucket.count == 0 then
    return
  end
  bucket.count = bucket.count - operation.cost
  if bucket.operation == operation.mark then
    bucket.last = bucket.previous
  end
  if bucket.count <= 0 then
    redis.call('DEL', operation.key)
  else
    redis.call('HSET', operation.key, 'count', bucket.count, 'last', bucket.last)
  end
end

local algorithms = { ['sliding-window'] = sliding_window, gcra = gcra,
  consecutive = failures }

-- Return a charge or refund with its bucket, the functions of its algorithm, and the mark of the
-- charge: the end of its operation's id. Reads the bucket.
local function unpack_operation(packed)
  local operation = unpack_bucket_operation(packed)
  local key = keys[operation.key_index]
  operation.key = key
  operation.algorithm = algorithms[operation.algorithm]
  operation.mark = string.sub(keys[operation.operation_key_index], -MARK_CHARS)
  buckets[key] = buckets[key] or operation.algorithm.read(key)
  operation.bucket = buckets[key]
  return operation
end
