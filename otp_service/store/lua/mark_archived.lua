#!lua
-- Says that an archive has a partition's entries up to an id. KEYS: 1 log, 2 events, 3 refusals.
-- ARGV: 1 fence, 2 `archived` as it was when they were read, 3 the id (the same one if there was
-- nothing to read), 4 `place`, which it came to with that, 5 how many of them were events ('' if they
-- were read from the beginning), 6 the most entries of a stream.
-- Reply: 1, or 0 if somebody else was there, or Redis is another one now.
local COUNTED = 64

local archived, fence, waiting = unpack(redis.call('HMGET', KEYS[1], 'archived', 'fence', 'waiting'))
local function has(stream)
  return #redis.call('XRANGE', stream, ARGV[3], ARGV[3]) > 0
end
-- A replica that was promoted may not have the entry. What it tells from now on may then have
-- lower ids, and would never be read.
if (archived or '') ~= ARGV[2] or tonumber(fence or 0) > tonumber(ARGV[1])
  or not (ARGV[3] == ARGV[2] or has(KEYS[2]) or has(KEYS[3])) then
  return 0
end
-- What is left is counted as soon as that costs little: entries that somebody deleted, or that were
-- there before anybody counted, would wait for ever.
local from = ARGV[3] == '' and '-' or '(' .. ARGV[3]
local rest = #redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', COUNTED)
if rest < COUNTED then
  waiting = rest
elseif ARGV[5] == '' then
  waiting = ''
elseif tonumber(waiting or '') then
  waiting = math.max(rest, waiting - ARGV[5])
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'place', ARGV[4], 'waiting', waiting or '')
if ARGV[3] == '' then
  return 1
end
redis.call('HSET', KEYS[1], 'archived', ARGV[3])
-- Refusals that are archived make room for others; the events' own limit is commit.lua's.
if redis.call('XLEN', KEYS[3]) >= ARGV[6] / 2 then
  redis.call('XTRIM', KEYS[3], 'MINID', ARGV[3])
end
return 1
