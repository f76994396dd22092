-- The commit script, part 9 of 9: one decision, in one step, in one partition.
--
--   1. An operation that was decided before returns its previous reply (a reply can be lost).
--   2. The expected versions must be stored, and the deadline must be ahead.
--   3. The absent keys must be missing, and every charge must fit, also those of debts.
--   4. Then values are written, buckets charged, refunded and reset, and events appended.
--
-- A refusal in 3 changes nothing and appends its own event, `event_if_refused`. It also notes that the
-- debts of a country are full.
-- A refund applies only while OPERATION of its charge says that the charge was applied.
-- `foldable_event` reports a refusal that was decided before this call; it is appended in 4,
-- together with the refunds. Values and bodies of events are opaque bytes, and no rule about
-- codes is here. The time is that of Redis, read once. Everything is decided before anything is
-- written, except that buckets which were written while the clock was ahead are corrected first. The
-- shebang makes Redis refuse the whole script when it is out of memory, read-only or loading.
--
-- A call has one commit or several, of any partitions. Each runs by itself, in turn; or, with
-- `all_or_none`, all are decided before one is applied, and none is if one is refused. Then they
-- have no bucket in common, since each is decided by what is stored. In a cluster a call has one commit.
--
-- KEYS: for each commit 1 operation, 2 log, 3 events, 4 refusals, 5 folds, 6 due, then the keys that the
-- request names by their index. ARGV: for each commit the msgpack of `CommitRequest`
-- (commit_request.py), then the values to write, because the msgpack of Redis has no type for bytes.
-- Reply: a list with the reply of each commit, or with `all_or_none` of each up to the first that is
-- not done:
--        {'done', now, consecutive failures, since, debts, value…}  (since 0: no log)
--        `debts` is that of debt_commit.lua, or 0; the values are those of the keys to read, and at the
--        end that of `addresses_key`
--        | {'conflict', now, value…} | {'late', now}
--        | {'refused', now, charge, window, wait}  (indexes from 1)
--        | {'over_debt', now, debt, window, unverified, allowance, wait}
--        | {'locked', now, charge} | {'listed', now, reason}  (an absent key exists)
--        | {'full', now}  (the log has no capacity for an event that grants something)
--        | {'reversed', now}  (this charge was refunded, maybe before it arrived)
--        | {'no_epoch', now}  (the log needs the event of a new epoch, and the call has none; those
--        before it are applied, and return their reply when the call is repeated with the event)
--        | {'undone'}  (a later one was refused)

local OPERATION_TTL_MS = 60000
-- Longer than a refund or a settlement waits for the store (service/pending_refunds.py). A settlement
-- that is tried again after its reply has expired would repay what others owe, and a refund with the
-- event of its refusal would append it again.
local CHARGE_TTL_MS = 300000
local FOLDS_PER_COMMIT = 2 -- the default of max_flushed_folds; a higher value asks for the flush
local RECORD_VERSION_END = 7 -- a record begins with its version in eight digits

-- Return the reply of this operation, or nil. Writes it again, so that a WAIT after this call waits
-- for what the first call wrote.
local function read_previous_reply()
  local stored = redis.call('GET', keys[OPERATION])
  if not stored then
    return nil
  end
  redis.call('SET', keys[OPERATION], stored, 'KEEPTTL')
  return cmsgpack.unpack(stored)
end

-- Return the reply, stored under OPERATION for a caller that repeats the call, and for the refund of
-- its charges.
local function store_reply(reply)
  local is_kept = reply[1] == 'done'
    and (#request.charges > 0 or request.debts or request.settlement or request.foldable_event)
  redis.call('SET', keys[OPERATION], cmsgpack.pack(reply), 'PX',
    is_kept and CHARGE_TTL_MS or OPERATION_TTL_MS)
  return reply
end

-- Return the reply of a charge that is recorded as applied and not reversed, or false. Reads OPERATION
-- of the charge, once for all of its refunds.
local function find_charge_reply(operation_keys, index)
  if operation_keys[index] == nil then
    local stored = redis.call('GET', keys[index])
    local reply = stored and cmsgpack.unpack(stored)
    operation_keys[index] = reply and reply[1] == 'done' and reply or false
  end
  return operation_keys[index]
end

-- Return the refunds whose charges are recorded as applied and not reversed, those of debts, whether
-- those are all, and the keys of the records. Reads the buckets.
local function find_refunds()
  local refunds, debt_refunds, operation_keys, apply_all = {}, {}, {}, true
  for _, packed in ipairs(request.refunds) do
    if find_charge_reply(operation_keys, packed[REFUND_OPERATION_KEY_INDEX]) then
      refunds[#refunds + 1] = unpack_operation(packed)
    else
      apply_all = false
    end
  end
  for _, packed in ipairs(request.debt_refunds) do
    local reply = find_charge_reply(operation_keys, packed[REVERSAL_OPERATION_KEY_INDEX])
    if reply then
      debt_refunds[#debt_refunds + 1] = { charges = packed[REVERSAL_CHARGES], reply = reply }
    else
      apply_all = false
    end
  end
  return refunds, debt_refunds, apply_all, operation_keys
end

-- Mark the charges as reversed, also those that have not arrived: they are then not applied.
local function mark_reversed(operation_keys)
  local reversed = cmsgpack.pack({ 'reversed', now })
  for index in pairs(operation_keys) do
    redis.call('SET', keys[index], reversed, 'PX', OPERATION_TTL_MS)
  end
end

-- Return the reply of a conflict, or nil. Reads the versions, and the values to return.
local function find_conflict()
  for _, expected in ipairs(request.expected_versions) do
    if redis.call('GETRANGE', keys[expected[EXPECTED_KEY_INDEX]], 0, RECORD_VERSION_END)
      ~= expected[EXPECTED_VERSION] then
      local reply = { 'conflict', now }
      for _, key_index in ipairs(request.returned_keys) do
        reply[#reply + 1] = redis.call('GET', keys[key_index])
      end
      return reply
    end
  end
end

-- Whether the log has capacity. Nothing is granted that may never be archived (R73). What was
-- granted before continues, and refusals have a stream of their own, so refused calls cannot
-- use up the capacity. Reads LOG and the length of EVENTS.
local function has_log_capacity()
  if not (request.requires_log_capacity and has_archive) then
    return true
  end
  local waiting = redis.call('HGET', keys[LOG], 'waiting') or ''
  return (tonumber(waiting) or redis.call('XLEN', keys[EVENTS])) < max_stream_entries
end

-- Return the reply of a decision that was done: the values are those before it. Reads the keys.
local function build_done_reply()
  local reply = { 'done', now, 0, 0, 0 }
  for _, key_index in ipairs(request.read_keys) do
    reply[#reply + 1] = redis.call('GET', keys[key_index])
  end
  if request.addresses_key > 0 then
    reply[#reply + 1] = redis.call('GET', keys[request.addresses_key])
  end
  return reply
end

-- Charge, refund and reset buckets. Returns the count of consecutive failures, 0 without a
-- charge to it.
local function change_buckets(charges, refunds)
  local consecutive_failures = 0
  for _, charge in ipairs(charges) do
    if charge.cost > 0 then
      consecutive_failures = charge.algorithm.charge(charge) or consecutive_failures
    end
  end
  for _, refund in ipairs(refunds) do
    refund.algorithm.refund(refund)
  end
  for _, key_index in ipairs(request.reset_buckets) do
    redis.call('DEL', keys[key_index])
  end
  return consecutive_failures
end

-- Write the values, each until it expires. Deletes the keys that have no value or have expired.
local function write_values()
  for _, write in ipairs(request.writes) do
    local key, value = keys[write[WRITE_KEY_INDEX]], arguments[write[WRITE_VALUE_INDEX]]
    local expires_at = write[WRITE_EXPIRES_AT]
    if not value or (expires_at > 0 and expires_at <= now) then
      redis.call('DEL', key)
    elseif expires_at > 0 then
      redis.call('SET', key, value, 'PX', expires_at - now)
    else
      redis.call('SET', key, value)
    end
  end
end

-- Append events to the open log, one that may be folded with its stamp, and the folds that are due.
local function record_events(events, foldable_event, stamp)
  for _, event in ipairs(events) do
    append_event(EVENTS, event)
  end
  if foldable_event then
    fold_or_append(foldable_event, stamp)
  end
  if log.next_due and is_due(log.next_due) or request.max_flushed_folds > FOLDS_PER_COMMIT then
    flush_due_folds(request.max_flushed_folds)
  end
  close_log()
end

-- Return the reply of a refusal, after its event was appended.
local function refuse(reply, stamp, plan)
  if request.event_if_refused then
    if not open_log() then
      return { 'no_epoch', now }
    end
    record_events({}, request.event_if_refused, stamp)
  end
  debts.note_full_country(plan)
  return store_reply(reply)
end

-- Return the reply of a commit that nothing refuses, after it was applied.
local function apply(charges, plan)
  local refunds, debt_refunds, apply_all, operation_keys = find_refunds()
  local is_applied = apply_all or not request.only_with_refunds
  local uses_log = is_applied and (#request.events > 0 or request.foldable_event
    or #request.read_keys > 0 or request.max_flushed_folds > FOLDS_PER_COMMIT)
  if uses_log and not open_log() then
    return { 'no_epoch', now }
  end
  mark_reversed(operation_keys)
  local reply = build_done_reply()
  if is_applied then
    reply[3] = change_buckets(charges, refunds)
    reply[5] = debts.change(plan, debt_refunds)
    write_values()
  end
  if uses_log then
    record_events(request.events, request.foldable_event, {})
    reply[4] = log.since
  end
  return store_reply(reply)
end

-- Decide the commit that was loaded. Returns its reply if nothing is applied: that of an operation which
-- was decided before, of a conflict or of a refusal. Else nil, the charges, and the plan of its debts.
local function decide()
  local previous_reply = read_previous_reply()
  if previous_reply then
    return previous_reply
  end
  now = now or read_clock()
  local conflict = find_conflict()
  if conflict then
    return conflict
  end
  if request.deadline > 0 and now >= request.deadline then
    return { 'late', now }
  end
  local charges = {}
  for i, packed in ipairs(request.charges) do
    charges[i] = unpack_operation(packed)
    if charges[i].algorithm.settle(charges[i]) then
      charges[i].algorithm.write(charges[i])
    end
  end
  local plan = debts.decide()
  local refusal_reply, stamp = find_refusal(charges, plan)
  debts.write_corrected()
  if refusal_reply then
    return refuse(refusal_reply, stamp, plan)
  end
  if not has_log_capacity() then
    return { 'full', now }
  end
  return nil, charges, plan
end

-- Run each commit of the call by itself, and return the replies.
local function run_each()
  local replies = {}
  repeat
    local reply, charges, plan = decide()
    replies[#replies + 1] = reply or apply(charges, plan)
  until not load_next_commit()
  return replies
end

-- Decide all commits of the call. Returns the state and the decision of each, and the replies if one is
-- not to be applied.
local function decide_all()
  local commits, replies = {}, {}
  repeat
    local reply, charges, plan = decide()
    commits[#commits + 1] = { state = save_commit(), reply = reply, charges = charges, plan = plan }
    if reply and reply[1] ~= 'done' then
      replies[#commits] = reply
      return commits, replies
    end
    replies[#commits] = reply or { 'undone' }
    debts.remember_cause(reply, plan)
  until not load_next_commit()
  return commits
end

-- Apply all commits of the call, or none of them, and return the replies.
local function run_all_or_none()
  local commits, replies = decide_all()
  if replies then
    return replies
  end
  replies = {}
  for i, commit in ipairs(commits) do
    restore_commit(commit.state)
    replies[i] = commit.reply or apply(commit.charges, commit.plan)
    if replies[i][1] ~= 'done' then
      break -- it needs the event of an epoch
    end
  end
  return replies
end

load_next_commit()
return request.all_or_none and run_all_or_none() or run_each()
