-- The commit script, part 7 of 9: what a commit does about debts.
--
-- What a commit has decided is a plan: whether it is refused, which charges apply, and why others do
-- not (`cause`). The reply has it, for the later commits of the call and for the refund:
--   {raises, pays, cause, charged, exempt time[, debt, window, unverified, allowance]}
-- `raises` and `pays` are of a settlement, `charged` is the sum of 2^(i-1) of the charges that were
-- applied, the exempt time is that of debts.find_exempt_time or empty, and the rest is the first scope
-- that had no room in record mode.

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
  local is_assumed = packed[DEBTS_IS_ASSUMED_KNOWN] and plan.known_key > 0
  plan.is_noted = is_assumed and not plan.known or debts.is_exempt(plan.known)
  if plan.is_noted then
    plan.cause = debts.EXEMPT
  end
  plan.exempt_time = debts.find_exempt_time(plan.known, is_assumed)
    or packed[DEBTS_EXEMPT_TIME] or debts.earlier_exempt_time
    or (plan.cause == debts.EXEMPT and { 0 } or nil)
  return plan
end

-- Whether a send is exempt at an instant.
function debts.is_exempt_at(plan, instant)
  local span = plan.exempt_time
  return span ~= nil and span[1] <= instant and (not span[2] or instant < span[2])
end

-- Return what is decided of the charges of a plan at an instant: those that apply, by their index, and
-- `refusal` or `over` {debt, window, unverified, allowance}. Reads the buckets.
function debts.decide_charges(plan, instant, is_uncharged)
  local decision = { charged = {} }
  for i, operation in ipairs(plan.operations) do
    if operation.is_always_charged or not (is_uncharged or decision.over) then
      local bucket = debts.settle(debts.read(operation.key, operation.country), instant)
      local full = debts.find_full_window(operation, bucket, instant)
      if full and debts.refuses(operation, instant) then
        return { charged = {}, refusal = { i, unpack(full) } }
      elseif full then
        decision = { charged = {}, over = { i, unpack(full) } }
      else
        decision.charged[i] = true
      end
    end
  end
  return decision
end

-- Return what the commit does about debts, or nil: a plan with what is decided of its charges.
function debts.decide()
  local plan = debts.start_plan()
  if plan then
    local decision = debts.decide_charges(plan, now, plan.cause ~= debts.CHARGED)
    plan.charged, plan.refusal, plan.over = decision.charged, decision.refusal, decision.over
  end
  return plan
end

-- Whether the same send is admitted at an instant, if nothing else is charged and no figures change.
function debts.is_admitted(plan, instant)
  local is_uncharged = plan.cause == debts.OVER or debts.is_exempt_at(plan, instant)
  return not debts.decide_charges(plan, instant, is_uncharged).refusal
end

-- Return the milliseconds until the send is admitted, not before an instant. Reads the bucket of each
-- charge, so that all of them are corrected if the clock was ahead.
function debts.compute_wait(plan, earliest)
  for _, operation in ipairs(plan.operations) do
    debts.read(operation.key, operation.country)
  end
  if debts.is_admitted(plan, earliest) then
    return earliest - now
  end
  for _, instant in ipairs(debts.list_instants(plan.operations, plan.exempt_time)) do
    if instant > earliest and debts.is_admitted(plan, instant) then
      return instant - now
    end
  end
  error('an empty scope admits a send')
end

-- Return the reply of a plan that is refused, and the stamp of its event.
function debts.describe_refusal(plan, wait)
  local index, window, unverified, allowance = unpack(plan.refusal)
  local operation = plan.operations[index]
  return { 'over_debt', now, index, window, unverified, allowance, wait },
    { reason = 'rate_limited', limit = operation.limit, wait = wait,
      quota = math.floor(allowance / math.max(1, operation.price)),
      period = debts.PERIOD_MS[window] / 1000, unverified = unverified, allowance = allowance }
end

-- Charge a send in one scope.
function debts.charge_operation(operation)
  local bucket = debts.read(operation.key, operation.country)
  if operation.country then
    debts.add_to_country(bucket, operation.country, 0, operation.price, 0)
  else
    for window in ipairs(debts.SLOT_MS) do
      local newest = debts.locate(window, unverified_values, 0)
      bucket[newest] = bucket[newest] + operation.price
    end
  end
  debts.write(operation.key)
end

-- Charge what a plan says, and return the sum that the reply has for it.
function debts.charge(plan)
  local charged = 0
  for i, operation in ipairs(plan.operations) do
    if plan.charged[i] then
      debts.charge_operation(operation)
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
-- slot that has left its window had both. With a country, they are messages of a bucket of countries.
function debts.repay(key, charged_at, amount, verified, country)
  local bucket = debts.read(key, country)
  if country then
    debts.repay_country(bucket, country, charged_at, amount, verified)
    return debts.write(key)
  end
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
      local key = keys[operation.key_index]
      debts.repay(key, charged_at, operation.price, 0, operation.country)
    end
  end
  if cause == debts.EXEMPT then
    debts.remove_exempt_send(packed[DEBTS_KNOWN_KEY], charged_at, packed[DEBTS_IS_ASSUMED_KNOWN])
  end
  if packed[DEBTS_TRAFFIC] then
    debts.count_send(packed[DEBTS_TRAFFIC], cause, noted[6] ~= nil, charged_at, -1)
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
    debts.add_traffic(traffic, send[SEND_CHARGED_AT], 'u', -send[SEND_CHARGE])
    if raises and i == #sends then
      debts.add_traffic(traffic, send[SEND_CHARGED_AT], 'v', send[SEND_CHARGE])
    end
  end
  if pays then
    debts.add_traffic(traffic, now, 'p', 1)
  end
end

-- Repay the sends of a challenge in one scope. A country has verified whether or not that raises what
-- others may leave unverified.
function debts.settle_scope(repayment, raises)
  local key, country = keys[repayment[REPAYMENT_KEY_INDEX]], repayment[REPAYMENT_COUNTRY]
  local sends = repayment[REPAYMENT_SENDS]
  for i, send in ipairs(sends) do
    local charge = send[SEND_CHARGE]
    local has_verified = country or (raises and i == #sends)
    debts.repay(key, send[SEND_CHARGED_AT], charge, has_verified and charge or 0, country)
  end
end

-- Repay the sends of a challenge that has verified. Returns `raises` and `pays`.
function debts.settle_challenge(packed)
  local raises, pays = packed[SETTLEMENT_RAISES_ALLOWANCE], packed[SETTLEMENT_PAYS_EXEMPT_SENDS]
  if packed[SETTLEMENT_KNOWN_KEY] > 0 then
    raises, pays = debts.note_verification(packed[SETTLEMENT_KNOWN_KEY])
  end
  for _, repayment in ipairs(packed[SETTLEMENT_REPAYMENTS]) do
    debts.settle_scope(repayment, raises)
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
    plan and plan.exempt_time or {}, unpack(plan and plan.over or {}) }
end

-- Remember for the later commits of a call why the send is not charged, and when its number is exempt:
-- by the plan of this commit, or by its reply if it was applied before.
function debts.remember_cause(reply, plan)
  local cause, span, over
  if plan then
    cause, span, over = plan.cause, plan.exempt_time, plan.over
  elseif reply and type(reply[5]) == 'table' then
    local noted = reply[5]
    cause, span, over = noted[3], noted[5][1] and noted[5], noted[6]
  end
  debts.earlier = math.max(debts.earlier, over and debts.OVER or cause or debts.CHARGED)
  debts.earlier_exempt_time = span or debts.earlier_exempt_time
end
