#!lua
-- Says that an archive has a partition's entries up to an id. KEYS: 1 log, 2 events, 3 refusals.
-- ARGV: 1 fence, 2 `archived` as it was when they were read, 3 the id, 4 `place`, which it came to
-- with that, 5 how many of them were events ('' if they were read from the beginning), 6 the most
-- entries of a stream. Reply: 1, or 0 if somebody else was there, or Redis is another one now.
local archived, fence, epoch, seq, waiting = unpack(redis.call('HMGET', KEYS[1], 'archived', 'fence',
  'epoch', 'seq', 'waiting'))
local function has(stream)
  return #redis.call('XRANGE', stream, ARGV[3], ARGV[3]) > 0
end
-- A replica that was promoted may not have the entry. What it tells from now on may then have
-- lower ids, and would never be read.
if (archived or '') ~= ARGV[2] or tonumber(fence or 0) > tonumber(ARGV[1])
  or not (has(KEYS[2]) or has(KEYS[3])) then
  return 0
end
if ARGV[4] == (epoch or '') .. '-' .. (seq or '') then
  waiting = 0
elseif ARGV[5] == '' then
  waiting = ''
elseif tonumber(waiting or '') then
  waiting = math.max(0, waiting - ARGV[5])
end
redis.call('HSET', KEYS[1], 'archived', ARGV[3], 'fence', ARGV[1], 'place', ARGV[4],
  'waiting', waiting or '')
-- Refusals that are archived make room for others; the events' own limit is commit.lua's.
if redis.call('XLEN', KEYS[3]) >= ARGV[6] / 2 then
  redis.call('XTRIM', KEYS[3], 'MINID', ARGV[3])
end
return 1
