#!lua
-- Who seals: one holder at a time, for as long as he says so again in time. KEYS: 1 the lease.
-- ARGV: 1 holder, 2 for how many milliseconds (0: no longer), 3 a fence that is surely over, 4 what
-- he tells of himself. Reply: the fence, which only grows, or 0 if somebody else has it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder, until_, fence = unpack(redis.call('HMGET', KEYS[1], 'holder', 'until', 'fence'))
if holder ~= ARGV[1] and now < tonumber(until_ or 0) then
  return 0
end
-- Redis may have lost the number with its tail, the folder has not.
fence = tonumber(fence or 0)
if holder ~= ARGV[1] or fence <= tonumber(ARGV[3]) then
  fence = math.max(fence, tonumber(ARGV[3])) + 1
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', now + tonumber(ARGV[2]), 'fence', fence,
  'told', ARGV[4])
return fence
