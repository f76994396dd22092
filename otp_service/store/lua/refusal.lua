-- The commit script, part 8 of 9: which commit is decided, and what refuses it. It only
-- reads, and inspect.lua has it too.

-- Return the time of Redis in milliseconds, moved by the request.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + request.clock_shift_ms
end

-- Return the reason of the first absent key that exists, or nil. One command asks for all of them,
-- because mostly none exists.
local function find_listed_reason()
  local names = {}
  for i, absent in ipairs(request.absent_keys) do
    if absent[ABSENT_KEY_INDEX] == 0 then
      return absent[ABSENT_REASON]
    end
    names[i] = keys[absent[ABSENT_KEY_INDEX]]
  end
  if #names == 0 or redis.call('EXISTS', unpack(names)) == 0 then
    return nil
  end
  for i, absent in ipairs(request.absent_keys) do
    if redis.call('EXISTS', names[i]) == 1 then
      return absent[ABSENT_REASON]
    end
  end
end

-- Return the longest wait of the limits, the index of that charge and of its window; 0 if none refuses.
local function find_longest_wait(charges)
  local longest_wait, index, window_index = 0, nil, nil
  for i, charge in ipairs(charges) do
    if not charge.force then
      local wait, window = charge.algorithm.compute_wait(charge)
      if wait > longest_wait then
        longest_wait, index, window_index = wait, i, window
      end
    end
  end
  return longest_wait, index, window_index
end

-- Return the reply of a limit that refuses, and the stamp of its event.
local function describe_limit(charge, index, window_index, wait)
  local window, is_locked = charge.windows[window_index], wait == UNTIL_UNLOCKED
  local locked = string.find(charge.limit, 'PerAccount$') and 'account_locked' or 'number_locked'
  return is_locked and { 'locked', now, index } or { 'refused', now, index, window_index, wait },
    { reason = is_locked and locked or 'rate_limited', limit = charge.limit,
      quota = window[WINDOW_COUNT], period = window[WINDOW_PERIOD_SECONDS],
      wait = not is_locked and wait or nil }
end

-- Return the reply of the refusal with the longest wait, and the stamp of its event; nil if
-- nothing refuses. Reads the absent keys.
--
-- After the wait of a limit the debts may refuse, also those that admit the send now: then it is longer.
local function find_refusal(charges, plan)
  local reason = find_listed_reason()
  if reason then
    return { 'listed', now, reason }, { reason = reason }
  end
  local wait, index, window_index = find_longest_wait(charges)
  local debt_wait = plan and plan.refusal and debts.compute_wait(plan, now)
  if debt_wait and debt_wait >= wait then
    return debts.describe_refusal(plan, debt_wait)
  end
  if index and plan and wait ~= UNTIL_UNLOCKED then
    wait = debts.compute_wait(plan, now + wait)
  end
  if index then
    return describe_limit(charges[index], index, window_index, wait)
  end
end

-- Return `count` elements of a list.
local function take(list, first, count)
  if count == #list then
    return list -- a call of one commit, which may have more keys than `unpack` can return
  end
  return { unpack(list, first, first + count - 1) }
end

local next_key, next_argument = 1, 1 -- of the commit that is loaded next

-- Return what belongs to the commit that is decided.
local function save_commit()
  return { request, keys, arguments, buckets, debts.buckets }
end

-- Make a commit the one that is decided or applied, as `save_commit` has returned it.
local function restore_commit(state)
  request, keys, arguments, buckets, debts.buckets = unpack(state)
  has_archive = request.log_limits[LOG_HAS_ARCHIVE]
  max_stream_entries = request.log_limits[LOG_MAX_STREAM_ENTRIES]
  log, debts.corrected = nil, {}
end

-- Make the next commit of the call the one that is decided. Returns whether there is one.
local function load_next_commit()
  if next_key > 1 and not KEYS[next_key] then
    return false
  end
  local next_request = unpack_request(cmsgpack.unpack(ARGV[next_argument]))
  local next_keys = take(KEYS, next_key, next_request.key_count)
  local next_arguments = take(ARGV, next_argument, next_request.argument_count)
  next_key, next_argument = next_key + #next_keys, next_argument + #next_arguments
  restore_commit({ next_request, next_keys, next_arguments, {}, {} })
  return true
end
