#!lua
-- Note that the archive has the entries of a partition up to an id.
-- KEYS: 1 log, 2 events, 3 refusals. ARGV: 1 fence, 2 `archived` when the entries were read, 3 the
-- id (the same if there was no entry), 4 epoch and sequence at that id, 5 how many of the entries
-- were events ('' if they were read from the beginning), 6 the most entries of a stream.
-- Reply: 1, or 0 if another sealer or another Redis has taken over.
local MAX_COUNTED_ENTRIES = 64

local log = redis.call('HMGET', KEYS[1], 'archived', 'fence', 'waiting')
local archived, fence, waiting = log[1], log[2], log[3]
-- Whether a stream has the entry. Reads the stream.
local function has_entry(stream)
  return #redis.call('XRANGE', stream, ARGV[3], ARGV[3]) > 0
end
-- A promoted replica may not have the entry. Entries that it appends may then have lower ids, and
-- would never be read.
if (archived or '') ~= ARGV[2] or tonumber(fence or 0) > tonumber(ARGV[1])
  or not (ARGV[3] == ARGV[2] or has_entry(KEYS[2]) or has_entry(KEYS[3])) then
  return 0
end
-- Count what remains as soon as that is cheap. Entries that were deleted, or appended before the
-- count began, would otherwise be counted for ever.
local from = ARGV[3] == '' and '-' or '(' .. ARGV[3]
local remaining = #redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', MAX_COUNTED_ENTRIES)
if remaining < MAX_COUNTED_ENTRIES then
  waiting = remaining
elseif ARGV[5] == '' then
  waiting = ''
elseif tonumber(waiting or '') then
  waiting = math.max(remaining, waiting - ARGV[5])
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'sequence_id', ARGV[4], 'waiting', waiting or '')
if ARGV[3] == '' then
  return 1
end
redis.call('HSET', KEYS[1], 'archived', ARGV[3])
-- Archived refusals make room for others. log.lua has the limit of the events.
if redis.call('XLEN', KEYS[3]) >= ARGV[6] / 2 then
  redis.call('XTRIM', KEYS[3], 'MINID', ARGV[3])
end
return 1
