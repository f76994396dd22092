#!lua flags=no-writes
-- The time and some values, read in one step. ARGV[1]: milliseconds to add to Redis's clock
-- (0; tests move it).
local time = redis.call('TIME')
local reply = { time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1]) }
for _, key in ipairs(KEYS) do
  reply[#reply + 1] = redis.call('GET', key)
end
return reply
