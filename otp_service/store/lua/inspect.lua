-- The inspection script: what the commit script would decide of charges now. It changes nothing, and
-- Redis refuses a write of it (no-writes). commit_request.py joins it with the parts that decide.
--
-- KEYS and ARGV: those of commit.lua. A commit is decided as if the others of the call were not there.
-- Reply: a list with {now, refusal, {charge…}, {debt…}, is exempt, exempt time, {instant…}} for each
--        commit. `refusal` is the reply of commit.lua, or nil. The exempt time is that of debt_commit.lua.
--        The instants are those from which the debts of the send are admitted, and then are not, in turn.
--        A charge is {wait, window, used…}: nil if no time ends the wait, and the index of the window
--        with that wait, from 1; how many units of each window are used.
--        A debt is {is full, wait, unverified, allowance, unverified, allowance}, for an hour and a day,
--        of its scope alone, whether or not the send is charged.

-- Return a charge as the reply has it.
local function describe_charge(charge)
  local wait, window_index = charge.algorithm.compute_wait(charge)
  local reply = { wait ~= UNTIL_UNLOCKED and wait, window_index }
  for i, window in ipairs(charge.windows) do
    reply[#reply + 1] = charge.algorithm.count_used(charge, window, i)
  end
  return reply
end

-- Return a charge of debts as the reply has it.
local function describe_debt(operation)
  local bucket = debts.read(operation.key, operation.country)
  local is_full = debts.find_full_window(operation, bucket, now) ~= nil
  operation.refuses, operation.recorded_from = true, 0 -- its room, whether or not it records
  local alone = { operations = { operation }, cause = debts.CHARGED }
  local reply = { is_full and 1 or 0, is_full and debts.compute_wait(alone, now) or 0 }
  for window in ipairs(debts.SLOT_MS) do
    reply[#reply + 1] = debts.sum_unverified(operation, bucket, window)
    local verified = debts.sum_verified(operation, bucket, window)
    reply[#reply + 1] = debts.compute_allowance(operation, window, verified)
  end
  return reply
end

-- Return the instants from which the send of a plan is admitted, and then is not, in turn.
local function list_admissions(plan)
  local instants, was_admitted = {}, false
  for _, instant in ipairs(debts.list_instants(plan.operations, plan.exempt_time)) do
    if debts.is_admitted(plan, instant) ~= was_admitted then
      was_admitted = not was_admitted
      instants[#instants + 1] = instant
    end
  end
  return instants
end

-- Decide one commit, and return its reply. Settled buckets are not stored.
local function inspect_commit()
  now = now or read_clock()
  local charges = {}
  for i, packed in ipairs(request.charges) do
    charges[i] = unpack_operation(packed)
    charges[i].algorithm.settle(charges[i])
  end
  local plan = debts.decide()
  local reply = { now, find_refusal(charges, plan) or false, {}, {},
    plan and plan.cause == debts.EXEMPT and 1 or 0, plan and plan.exempt_time or {},
    plan and list_admissions(plan) or {} }
  for i, charge in ipairs(charges) do
    reply[3][i] = describe_charge(charge)
  end
  for i, operation in ipairs(plan and plan.operations or {}) do
    reply[4][i] = describe_debt(operation)
  end
  return reply
end

load_next_commit()
local replies = {}
repeat
  replies[#replies + 1] = inspect_commit()
until not load_next_commit()
return replies
