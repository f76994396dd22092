#!lua flags=no-writes
-- Read the entries of a partition that are not archived, and the state of its log, in one step.
-- KEYS: 1 log, 2 events, 3 refusals. ARGV: 1 the most entries to read of each stream, 2 '1' to
-- read from the beginning.
-- Reply: {now, epoch, seq, ms, archived, sequence_id, waiting, events, refusals}
local time = redis.call('TIME')
local log = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'ms', 'archived', 'sequence_id', 'waiting')
local from = (log[4] and ARGV[2] ~= '1') and '(' .. log[4] or '-'
local reply = { time[1] * 1000 + math.floor(time[2] / 1000), tonumber(log[1] or 0),
  tonumber(log[2] or 0), tonumber(log[3] or 0), log[4] or '', log[5] or '',
  tonumber(log[6] or '') or redis.call('XLEN', KEYS[2]) }
for _, stream in ipairs({ KEYS[2], KEYS[3] }) do
  reply[#reply + 1] = redis.call('XRANGE', stream, from, '+', 'COUNT', ARGV[1])
end
return reply
