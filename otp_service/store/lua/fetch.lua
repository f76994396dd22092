#!lua flags=no-writes
-- Read the time and values in one step. ARGV[1]: milliseconds to add to the clock of Redis (0
-- except in tests).
local time = redis.call('TIME')
local reply = { time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1]) }
for _, key in ipairs(KEYS) do
  reply[#reply + 1] = redis.call('GET', key)
end
return reply
