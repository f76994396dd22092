-- The inspection script: what the commit script would decide of charges now. It changes nothing, and
-- Redis refuses a write of it (no-writes). commit_request.py joins it with the parts that decide.
--
-- KEYS and ARGV: those of commit.lua. A commit is decided as if the others of the call were not there.
-- Reply: a list with {now, refusal, charge…} for each commit. `refusal` is the reply of commit.lua, or nil.
--        A charge is {wait, window, used…}: nil if no time ends the wait, and the index of the window
--        with that wait, from 1; how many units of each window are used.

-- Return a charge as the reply has it.
local function describe_charge(charge)
  local wait, window_index = charge.algorithm.compute_wait(charge)
  local reply = { wait ~= UNTIL_UNLOCKED and wait, window_index }
  for i, window in ipairs(charge.windows) do
    reply[#reply + 1] = charge.algorithm.count_used(charge, window, i)
  end
  return reply
end

-- Decide one commit, and return its reply. Settled buckets are not stored.
local function inspect_commit()
  now = now or read_clock()
  local charges = {}
  for i, packed in ipairs(request.charges) do
    charges[i] = unpack_operation(packed)
    charges[i].algorithm.settle(charges[i])
  end
  local reply = { now, find_refusal(charges) or false }
  for _, charge in ipairs(charges) do
    reply[#reply + 1] = describe_charge(charge)
  end
  return reply
end

local replies = {}
repeat
  load_next_commit()
  replies[#replies + 1] = inspect_commit()
until not KEYS[next_key]
return replies
