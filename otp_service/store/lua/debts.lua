-- The commit script, part 4 of 6: the brake on SMS pumping, with its debts, the records of known
-- numbers, and the hourly totals of a country. core/pumping/ has the same arithmetic, by the same
-- doubles, and tests/store/test_debts_model.py compares the two.
--
-- The record of a known number is a list: the id of the limit key that names it, the instant of the
-- verification, and those of the exempt sends since then, which are unpaid.
--
-- A bucket has two windows, an hour and a day. It is a flat list: of each window the number of its
-- newest slot, its unverified amounts from the newest slot on, then what has verified in the same
-- slots. In memory it is always settled: its newest slot is that of now.
--
-- What a commit has decided is a plan: whether it is refused, which charges apply, and why others do
-- not (`cause`). The reply has it, for the later commits of the call and for the refund:
--   {raises, pays, cause, charged[, debt, window, unverified, allowance]}
-- `raises` and `pays` are of a settlement, `charged` is the sum of 2^(i-1) of the charges that were
-- applied, and the rest is the first scope that had no room in record mode.

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
  earlier = 0, -- the cause of an earlier commit of this send in the same call
}
local unverified_values, verified_values = 2, 9 -- the first index of each in a window

-- Return the index of a value in the bucket.
function debts.locate(window, first, slot)
  return (window - 1) * debts.VALUES + first + slot
end

-- Return the sum of the amounts of a window.
function debts.sum(bucket, window, first)
  local total, start = 0, debts.locate(window, first, 0)
  for i = start, start + debts.SLOTS - 1 do
    total = total + bucket[i]
  end
  return total
end

-- Return the bucket without the slots that have left its windows at an instant. If the clock was set
-- back since it was written, its slots count from that instant on; returns whether it was.
function debts.settle(bucket, instant)
  local settled, is_set_back = {}, false
  for window, slot_ms in ipairs(debts.SLOT_MS) do
    local start = (window - 1) * debts.VALUES + 1
    local newest = math.floor(instant / slot_ms)
    local passed = newest - bucket[start]
    is_set_back = is_set_back or passed < 0
    passed = math.max(0, passed)
    settled[start] = newest
    for i = 1, debts.SLOTS do
      local j, at = i - passed, start + i
      settled[at] = j > 0 and bucket[start + j] or 0
      settled[at + debts.SLOTS] = j > 0 and bucket[start + debts.SLOTS + j] or 0
    end
  end
  return settled, is_set_back
end

-- Return the settled bucket of a key. Each is read once in a commit.
function debts.read(key)
  if not debts.buckets[key] then
    local stored, bucket = redis.call('GET', key), nil
    if stored then
      bucket = cmsgpack.unpack(stored)
    else
      bucket = {}
      for i = 1, debts.VALUES * 2 do
        bucket[i] = 0
      end
    end
    local settled, is_set_back = debts.settle(bucket, now)
    debts.buckets[key] = settled
    debts.corrected[key] = is_set_back or nil
  end
  return debts.buckets[key]
end

-- Write a bucket, or delete an empty one.
function debts.write(key)
  local bucket, total = debts.buckets[key], 0
  for window in ipairs(debts.SLOT_MS) do
    total = total + debts.sum(bucket, window, unverified_values)
      + debts.sum(bucket, window, verified_values)
  end
  if total == 0 then
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
  if not operation.closed_until then
    return nil -- an operator has opened it
  end
  if instant < operation.closed_until then
    return { 1, debts.sum(bucket, 1, unverified_values), 0 }
  end
  for window in ipairs(debts.SLOT_MS) do
    local unverified = debts.sum(bucket, window, unverified_values)
    -- What is learned only adds to the floor.
    if unverified + operation.price > operation.floors[window] then
      local verified = debts.sum(bucket, window, verified_values)
      local allowance = debts.compute_allowance(operation, window, verified)
      if unverified + operation.price > allowance then
        return { window, unverified, allowance }
      end
    end
  end
end

-- Return the instants at which these scopes change by themselves, ascending, from now on.
function debts.list_changes(operations)
  local instants = { now }
  for _, slot_ms in ipairs(debts.SLOT_MS) do
    for step = 1, debts.SLOTS do
      instants[#instants + 1] = (math.floor(now / slot_ms) + step) * slot_ms
    end
  end
  for _, operation in ipairs(operations) do
    if operation.closed_until and operation.closed_until > now then
      instants[#instants + 1] = operation.closed_until
    end
  end
  table.sort(instants)
  return instants
end

-- Return the milliseconds until each of these scopes admits its charge; 0 if all do now.
function debts.compute_wait(operations)
  for _, instant in ipairs(debts.list_changes(operations)) do
    local is_full = false
    for _, operation in ipairs(operations) do
      local bucket = debts.settle(debts.read(operation.key), instant)
      is_full = is_full or debts.find_full_window(operation, bucket, instant) ~= nil
    end
    if not is_full then
      return instant - now
    end
  end
  error('an empty scope admits a send')
end

--------------------------------------------------------------------------------- known numbers

-- Return the record of a known number, or nil.
function debts.read_known(key_index)
  local stored = key_index > 0 and redis.call('GET', keys[key_index])
  return stored and cmsgpack.unpack(stored) or nil
end

-- Return how many of the unpaid sends of a known number were within a day.
function debts.count_today(known)
  local count = 0
  for i = 3, #known do
    count = count + (known[i] > now - debts.PERIOD_MS[2] and 1 or 0)
  end
  return count
end

function debts.is_exempt(known)
  return known ~= nil and debts.count_today(known) < debts.MAX_DAILY_EXEMPT_SENDS
    and #known - 2 < debts.MAX_UNPAID_SENDS
end

-- Write the record of a number that is known from now on, without its unpaid sends or with one.
function debts.write_known(key_index, unpaid_at)
  local record = { request.limit_key_id, now, unpaid_at }
  redis.call('SET', keys[key_index], cmsgpack.pack(record), 'PX', debts.KNOWN_TTL_MS)
end

-- Note an exempt send. The record is new if a caller has said that the number is known.
function debts.note_exempt_send(plan)
  if plan.known then
    plan.known[#plan.known + 1] = now
    redis.call('SET', keys[plan.known_key], cmsgpack.pack(plan.known), 'KEEPTTL')
  else
    debts.write_known(plan.known_key, now)
  end
end

-- Take back the note of an exempt send. A record that a caller's word has begun with it is deleted.
function debts.remove_exempt_send(key_index, noted_at, is_assumed)
  local known = debts.read_known(key_index)
  for i = known and #known or 0, 3, -1 do
    if known[i] == noted_at then
      table.remove(known, i)
      if is_assumed and #known == 2 and known[2] == noted_at then
        redis.call('DEL', keys[key_index])
      else
        redis.call('SET', keys[key_index], cmsgpack.pack(known), 'KEEPTTL')
      end
      return
    end
  end
end

--------------------------------------------------------------------------------- hourly totals

-- Add to the total of an hour, or to a count of a slot of ten minutes: an outage that exempt sends show
-- would else be noticed up to an hour later. One that is used up is deleted.
function debts.add_traffic(traffic, instant, kind, amount)
  local key = keys[traffic[TRAFFIC_KEY_INDEX]]
  local span_ms = (kind == 'e' or kind == 'p') and debts.SLOT_MS[1] or debts.PERIOD_MS[1]
  local field = string.format('%d:%s', math.floor(instant / span_ms), kind)
  if redis.call('HINCRBY', key, field, amount) <= 0 then
    redis.call('HDEL', key, field)
  end
  debts.keep_traffic(traffic)
end

-- Keep the totals for their time to live, and in the index.
function debts.keep_traffic(traffic)
  redis.call('PEXPIRE', keys[traffic[TRAFFIC_KEY_INDEX]], debts.TRAFFIC_TTL_MS)
  redis.call('SADD', keys[traffic[TRAFFIC_INDEX_KEY_INDEX]], traffic[TRAFFIC_MEMBER])
end

-- Count a send, or take it back (`sign` -1). One that is over a limit that only records has no total.
function debts.count_send(traffic, cause, is_over, instant, sign)
  if cause == debts.EXEMPT then
    debts.add_traffic(traffic, instant, 'e', sign)
  elseif cause == debts.CHARGED and not is_over then
    debts.add_traffic(traffic, instant, traffic[TRAFFIC_KIND], sign * traffic[TRAFFIC_AMOUNT])
  end
end

-- Note in the hour that the country itself was full: nothing is learned from such a day.
function debts.note_full_country(plan)
  local full = plan and (plan.refusal or plan.over)
  local traffic = full and plan.traffic
  if traffic and plan.operations[full[1]].limit == 'UnverifiedPerCountryAndTenant' then
    local field = string.format('%d:r', math.floor(now / debts.PERIOD_MS[1]))
    redis.call('HSET', keys[traffic[TRAFFIC_KEY_INDEX]], field, 1)
    debts.keep_traffic(traffic)
  end
end

------------------------------------------------------------------------------- charge and refund

-- Return the plan of the commit, before anything is decided; nil without debts. Reads the record of a
-- known number.
function debts.start_plan()
  local packed = request.debts
  if not packed then
    return nil
  end
  local plan = { operations = {}, charged = {}, known_key = packed[DEBTS_KNOWN_KEY],
    traffic = packed[DEBTS_TRAFFIC], cause = math.max(debts.earlier, packed[DEBTS_EARLIER_CAUSE]) }
  for i, packed_operation in ipairs(packed[DEBTS_OPERATIONS]) do
    plan.operations[i] = unpack_debt_operation(packed_operation)
    plan.operations[i].key = keys[plan.operations[i].key_index]
  end
  plan.known = debts.read_known(plan.known_key)
  if plan.known and now - plan.known[2] >= debts.KNOWN_TTL_MS then
    plan.known = nil -- the clock was set forward
  end
  local is_assumed = packed[DEBTS_IS_ASSUMED_KNOWN] and plan.known_key > 0 and not plan.known
  plan.is_noted = is_assumed or debts.is_exempt(plan.known)
  if plan.is_noted then
    plan.cause = debts.EXEMPT
  end
  return plan
end

-- Return the charges that refuse the send while their scopes are full.
function debts.list_refusing(plan)
  local refusing = {}
  for _, operation in ipairs(plan.operations) do
    local applies = plan.cause == debts.CHARGED or operation.is_always_charged
    if applies and operation.refuses then
      refusing[#refusing + 1] = operation
    end
  end
  return refusing
end

-- Return what the commit does about debts, or nil: a plan with `refusal` or `over` {debt, window,
-- unverified, allowance}, and the charges that apply. Reads the buckets.
function debts.decide()
  local plan = debts.start_plan()
  for i, operation in ipairs(plan and plan.operations or {}) do
    local applies = plan.cause == debts.CHARGED and not plan.over
    if applies or operation.is_always_charged then
      local full = debts.find_full_window(operation, debts.read(operation.key), now)
      if not full then
        plan.charged[i] = true
      else
        plan.charged, plan.over = {}, { i, unpack(full) }
      end
      if full and operation.refuses then
        plan.refusal, plan.over = plan.over, nil
        return plan
      end
    end
  end
  return plan
end

-- Return the reply of a plan that is refused, the stamp of its event, and the wait; nil if it is not.
function debts.describe_refusal(plan)
  if not (plan and plan.refusal) then
    return nil, nil, 0
  end
  local index, window, unverified, allowance = unpack(plan.refusal)
  local operation, wait = plan.operations[index], debts.compute_wait(debts.list_refusing(plan))
  return { 'over_debt', now, index, window, unverified, allowance, wait },
    { reason = 'rate_limited', limit = operation.limit, wait = wait,
      quota = math.floor(allowance / math.max(1, operation.price)),
      period = debts.PERIOD_MS[window] / 1000, unverified = unverified, allowance = allowance }, wait
end

-- Charge what a plan says, and return the sum that the reply has for it.
function debts.charge(plan)
  local charged = 0
  for i, operation in ipairs(plan.operations) do
    if plan.charged[i] then
      local bucket = debts.read(operation.key)
      for window in ipairs(debts.SLOT_MS) do
        local newest = debts.locate(window, unverified_values, 0)
        bucket[newest] = bucket[newest] + operation.price
      end
      debts.write(operation.key)
      charged = charged + 2 ^ (i - 1)
    end
  end
  if plan.is_noted then
    debts.note_exempt_send(plan)
  end
  if plan.traffic then
    debts.count_send(plan.traffic, plan.cause, plan.over ~= nil, now, 1)
  end
  debts.note_full_country(plan)
  return charged
end

-- Take an amount from the slot in which it was charged, and add to what has verified in that slot. A
-- slot that has left its window had both.
function debts.repay(key, charged_at, amount, verified)
  local bucket = debts.read(key)
  for window, slot_ms in ipairs(debts.SLOT_MS) do
    local newest = bucket[(window - 1) * debts.VALUES + 1]
    local slot = math.max(0, newest - math.floor(charged_at / slot_ms))
    if slot < debts.SLOTS then
      local owed = debts.locate(window, unverified_values, slot)
      local paid = debts.locate(window, verified_values, slot)
      bucket[owed] = math.max(0, bucket[owed] - amount)
      bucket[paid] = bucket[paid] + verified
    end
  end
  debts.write(key)
end

-- Take back what the reply of a charge says was charged.
function debts.refund(packed, reply)
  local noted = reply[5]
  if type(noted) ~= 'table' then
    return -- the commit had no debts
  end
  local charged_at, cause, charged = reply[2], noted[3], noted[4]
  for i, packed_operation in ipairs(packed[DEBTS_OPERATIONS]) do
    if math.floor(charged / 2 ^ (i - 1)) % 2 == 1 then
      local operation = unpack_debt_operation(packed_operation)
      debts.repay(keys[operation.key_index], charged_at, operation.price, 0)
    end
  end
  if cause == debts.EXEMPT then
    debts.remove_exempt_send(packed[DEBTS_KNOWN_KEY], charged_at, packed[DEBTS_IS_ASSUMED_KNOWN])
  end
  if packed[DEBTS_TRAFFIC] then
    debts.count_send(packed[DEBTS_TRAFFIC], cause, noted[5] ~= nil, charged_at, -1)
  end
end

----------------------------------------------------------------------------------- settlement

-- Return whether a verification of a number raises what others may leave unverified, which it does
-- once a day, and whether it pays for exempt sends of the last day. Writes the record.
function debts.note_verification(key_index)
  local known = debts.read_known(key_index)
  debts.write_known(key_index)
  if not known then
    return true, false
  end
  return now - known[2] >= debts.PERIOD_MS[2], debts.count_today(known) > 0
end

-- Move what the sends of a challenge cost to what has verified, in the hours of the sends.
function debts.settle_traffic(traffic, sends, raises, pays)
  for i, send in ipairs(sends) do
    debts.add_traffic(traffic, send[SEND_CHARGED_AT], 'u', -send[SEND_PRICE])
    if raises and i == #sends then
      debts.add_traffic(traffic, send[SEND_CHARGED_AT], 'v', send[SEND_PRICE])
    end
  end
  if pays then
    debts.add_traffic(traffic, now, 'p', 1)
  end
end

-- Repay the sends of a challenge that has verified. Returns `raises` and `pays`.
function debts.settle_challenge(packed)
  local raises, pays = packed[SETTLEMENT_RAISES_ALLOWANCE], packed[SETTLEMENT_PAYS_EXEMPT_SENDS]
  if packed[SETTLEMENT_KNOWN_KEY] > 0 then
    raises, pays = debts.note_verification(packed[SETTLEMENT_KNOWN_KEY])
  end
  for _, repayment in ipairs(packed[SETTLEMENT_REPAYMENTS]) do
    local sends, key = repayment[REPAYMENT_SENDS], keys[repayment[REPAYMENT_KEY_INDEX]]
    for i, send in ipairs(sends) do
      local verified = raises and i == #sends and send[SEND_PRICE] or 0
      debts.repay(key, send[SEND_CHARGED_AT], send[SEND_PRICE], verified)
    end
  end
  if packed[SETTLEMENT_TRAFFIC] then
    debts.settle_traffic(packed[SETTLEMENT_TRAFFIC], packed[SETTLEMENT_TRAFFIC_SENDS], raises, pays)
  end
  return raises, pays
end

-------------------------------------------------------------------------------------- the reply

-- Apply the debts of the commit: its charges, the refunds that apply, and its settlement. Returns what
-- the reply has about them, 0 for nothing.
function debts.change(plan, refunds)
  local charged = plan and debts.charge(plan) or 0
  for _, refund in ipairs(refunds) do
    debts.refund(refund.charges, refund.reply)
  end
  local raises, pays = false, false
  if request.settlement then
    raises, pays = debts.settle_challenge(request.settlement)
  end
  if not (plan or request.settlement) then
    return 0
  end
  return { raises and 1 or 0, pays and 1 or 0, plan and plan.cause or 0, charged,
    unpack(plan and plan.over or {}) }
end

-- Remember for the later commits of the call, which depend on this one, why the send is not charged.
function debts.remember_cause(reply)
  local noted = reply[1] == 'done' and reply[5]
  if request.dependent_commits > 0 and type(noted) == 'table' then
    debts.earlier = math.max(debts.earlier, noted[5] and debts.OVER or noted[3])
  end
end
