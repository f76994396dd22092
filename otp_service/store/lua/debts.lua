-- The commit script, part 4 of 9: the debts of the brake on SMS pumping. core/pumping/ has the same
-- arithmetic, by the same doubles, and tests/store/test_debts_model.py compares the two.
--
-- A bucket has two windows, an hour and a day. It is a flat list: of each window the number of its
-- newest slot, its unverified amounts from the newest slot on, then what has verified in the same
-- slots. In memory it is always settled: its newest slot is that of now. One that counts countries has
-- another form (debt_countries.lua).

local debts = {
  SLOT_MS = { 600000, 14400000 }, -- of the windows
  PERIOD_MS = { 3600000, 86400000 },
  SLOTS = 7, -- of a window: the current one is not complete
  VALUES = 15, -- of a window
  TTL_MS = 100800000, -- until each slot has left the longer window
  KNOWN_TTL_MS = 7776000000,
  MAX_DAILY_EXEMPT_SENDS = 3,
  MAX_UNPAID_SENDS = 6,
  TRAFFIC_TTL_MS = 1296000000,
  CHARGED = 0, EXEMPT = 1, OVER = 2, -- causes
  earlier = 0, -- the cause of an earlier commit of the same call, whose commits are all of one send
}
local unverified_values, verified_values = 2, 9 -- the first index of each in a window

-- Return the index of a value in the bucket.
function debts.locate(window, first, slot)
  return (window - 1) * debts.VALUES + first + slot
end

-- Return the sum of the slots from an index on.
function debts.sum_slots(bucket, start)
  local total = 0
  for i = start, start + debts.SLOTS - 1 do
    total = total + bucket[i]
  end
  return total
end

-- Return what is unverified in a window of the scope of a charge, in the unit of its limit.
function debts.sum_unverified(operation, bucket, window)
  if operation.country then
    return window == 2 and debts.count_other_countries(bucket, operation.country) or 0
  end
  return debts.sum_slots(bucket, debts.locate(window, unverified_values, 0))
end

-- Return what has verified in such a window. Nothing is learned of countries.
function debts.sum_verified(operation, bucket, window)
  if operation.country then
    return 0
  end
  return debts.sum_slots(bucket, debts.locate(window, verified_values, 0))
end

-- Write the slots after the index `start` as they are after some more slots.
function debts.shift_slots(bucket, settled, start, passed)
  for i = 1, debts.SLOTS do
    local j, at = i - passed, start + i
    settled[at] = j > 0 and bucket[start + j] or 0
    settled[at + debts.SLOTS] = j > 0 and bucket[start + debts.SLOTS + j] or 0
  end
end

-- Return the bucket without the slots that have left its windows at an instant. If the clock was set
-- back since it was written, its slots count from that instant on; returns whether it was.
function debts.settle(bucket, instant)
  if debts.counts_countries(bucket) then
    return debts.settle_countries(bucket, instant)
  end
  if math.floor(instant / debts.SLOT_MS[1]) == bucket[1]
    and math.floor(instant / debts.SLOT_MS[2]) == bucket[debts.VALUES + 1] then
    return bucket, false
  end
  local settled, is_set_back = {}, false
  for window, slot_ms in ipairs(debts.SLOT_MS) do
    local start = (window - 1) * debts.VALUES + 1
    local newest = math.floor(instant / slot_ms)
    local passed = newest - bucket[start]
    is_set_back = is_set_back or passed < 0
    settled[start] = newest
    debts.shift_slots(bucket, settled, start, math.max(0, passed))
  end
  return settled, is_set_back
end

-- Return an empty bucket.
function debts.create_bucket(counts_countries)
  local bucket = { 0 }
  for i = 2, counts_countries and 1 or debts.VALUES * 2 do
    bucket[i] = 0
  end
  return bucket
end

-- Return the settled bucket of a key; with a country, of one that counts them. Each is read once in a
-- commit.
function debts.read(key, country)
  if not debts.buckets[key] then
    local stored = redis.call('GET', key)
    local bucket = stored and cmsgpack.unpack(stored) or debts.create_bucket(country ~= nil)
    local settled, is_set_back = debts.settle(bucket, now)
    debts.buckets[key] = settled
    debts.corrected[key] = is_set_back or nil
  end
  return debts.buckets[key]
end

-- Whether the bucket has no amount.
function debts.is_empty(bucket)
  if debts.counts_countries(bucket) then
    return #bucket == 1
  end
  for i, value in ipairs(bucket) do
    if value ~= 0 and i % debts.VALUES ~= 1 then
      return false
    end
  end
  return true
end

-- Write a bucket, or delete an empty one.
function debts.write(key)
  local bucket = debts.buckets[key]
  if debts.counts_countries(bucket) then
    bucket = debts.drop_empty_countries(bucket)
  end
  if debts.is_empty(bucket) then
    redis.call('DEL', key)
  else
    redis.call('SET', key, cmsgpack.pack(bucket), 'PX', debts.TTL_MS)
  end
end

-- Write the buckets that were written while the clock was ahead, also if the commit is refused.
-- Otherwise a full bucket would be full until the clock is there again.
function debts.write_corrected()
  for key in pairs(debts.corrected) do
    debts.write(key)
  end
end

-------------------------------------------------------------------------------- the allowance

-- Return how much may be unverified in a window in which `verified` has verified.
function debts.compute_allowance(operation, window, verified)
  local expected = operation.unverified_share * math.max(operation.usual_verified[window], verified)
  local chance = operation.deviations * math.sqrt(operation.price * expected)
  local learned = (1 + operation.margin) * expected + chance
  return math.max(operation.floors[window], operation.price) + math.floor(learned)
end

-- Return {window, unverified, allowance} of the first window that has no room for the charge at an
-- instant at which the bucket is settled, or nil.
function debts.find_full_window(operation, bucket, instant)
  if instant < operation.closed_until then
    return { 1, debts.sum_unverified(operation, bucket, 1), 0 }
  end
  if instant < operation.open_until then
    return nil
  end
  for window in ipairs(debts.SLOT_MS) do
    local unverified = debts.sum_unverified(operation, bucket, window)
    -- What is learned only adds to the floor.
    if unverified + operation.price > operation.floors[window] then
      local verified = debts.sum_verified(operation, bucket, window)
      local allowance = debts.compute_allowance(operation, window, verified)
      if unverified + operation.price > allowance then
        return { window, unverified, allowance }
      end
    end
  end
end

-- Whether the scope refuses a send at an instant while it is full.
function debts.refuses(operation, instant)
  return operation.refuses
    and (operation.recorded_from == 0 or instant < operation.recorded_from)
end

-- Return the instants at which the decision about a send may change by itself, ascending, from now on.
-- At the last one all scopes are empty, and none is closed.
function debts.list_instants(operations, exempt_time)
  local instants, ends = { now }, exempt_time and { unpack(exempt_time) } or {}
  for _, slot_ms in ipairs(debts.SLOT_MS) do
    for step = 1, debts.SLOTS do
      instants[#instants + 1] = (math.floor(now / slot_ms) + step) * slot_ms
    end
  end
  for _, operation in ipairs(operations) do
    ends[#ends + 1] = operation.open_until
    ends[#ends + 1] = operation.closed_until
  end
  for _, instant in ipairs(ends) do
    if instant > now then
      instants[#instants + 1] = instant
    end
  end
  table.sort(instants)
  return instants
end
