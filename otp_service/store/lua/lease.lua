#!lua
-- Acquire, renew or release the lease of the sealer. One holder has it at a time, until the
-- instant that it last asked for.
-- KEYS: 1 the lease. ARGV: 1 holder, 2 milliseconds to hold it (0: release it), 3 a fence that is
-- certainly in the past, 4 the status of the holder, for other processes.
-- Reply: the fence, which only grows, or 0 if another holder has the lease.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder, expires_at, fence = unpack(redis.call('HMGET', KEYS[1], 'holder', 'until', 'fence'))
expires_at = tonumber(expires_at or 0)
if holder ~= ARGV[1] and now < expires_at then
  -- A lease that ends later than a new one was acquired while the clock was ahead.
  if expires_at > now + tonumber(ARGV[2]) then
    redis.call('HSET', KEYS[1], 'until', now + tonumber(ARGV[2]))
  end
  return 0
end
-- Redis may have lost the fence with its last writes; the archive folder has it.
fence = tonumber(fence or 0)
if holder ~= ARGV[1] or fence <= tonumber(ARGV[3]) then
  fence = math.max(fence, tonumber(ARGV[3])) + 1
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', now + tonumber(ARGV[2]), 'fence', fence,
  'status', ARGV[4])
return fence
