-- The commit script, part 1 of 4: what all parts share, and the event log.
--
-- commit_request.py joins the parts. It generates a function for a struct that it packs, which
-- returns the fields by name (`unpack_request`). In the smaller structs it replaces the names of
-- fields (`WRITE_EXPIRES_AT`) with their indexes.

local MAX_REFUSAL_ENTRIES = 5000 -- of a partition: one eviction reads all of them
local EVICTED_PART = 16 -- an eviction deletes up to a sixteenth of them

local OPERATION, LOG, EVENTS, REFUSALS, FOLDS, DUE = 1, 2, 3, 4, 5, 6 -- indexes in KEYS

local request = unpack_request(cmsgpack.unpack(ARGV[1]))
local has_archive = request.log_limits[LOG_HAS_ARCHIVE]
local max_stream_entries = request.log_limits[LOG_MAX_STREAM_ENTRIES]

-- The time of the decision in milliseconds. commit.lua reads it once, after the previous reply.
local now

-- The state of the log, while it is open. The id of an entry is its time and its place in the
-- epoch: `1763814000123-42`. `archived` is the id of the last entry that the archive has.
-- `waiting` counts the events after that (mark_archived.lua); without it, all events may wait.
local log -- {server, epoch, seq, ms, unrecorded, waiting, archived}

-- Append an event to a stream of this partition. Advances `log`.
local function append_event(stream, event, stamp)
  log.seq = log.seq + 1
  log.waiting = log.waiting + (stream == EVENTS and 1 or 0)
  redis.call('XADD', KEYS[stream], log.ms .. '-' .. log.seq,
    'event', event[EVENT_BODY], 'mac', event[EVENT_MAC], 'epoch', log.epoch, 'stamp', stamp or '')
end

-- Read LOG into `log`. Begin an epoch, and append its event, if this server has not written
-- here before: a restart or a failover may have lost the last entries, so the sequence must not
-- continue as if it had not. The replication id of Redis is new in both cases.
local function open_log()
  local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  local stored = redis.call('HMGET', KEYS[LOG], 'server', 'epoch', 'seq', 'ms', 'unrecorded',
    'waiting', 'archived')
  local last_ms = tonumber(stored[4] or 0)
  log = { server = server, epoch = tonumber(stored[2] or 0), seq = tonumber(stored[3] or 0),
    ms = math.max(now, last_ms), unrecorded = tonumber(stored[5] or 0),
    waiting = tonumber(stored[6] or '')
      or has_archive and redis.call('XLEN', KEYS[EVENTS]) or 0,
    archived = string.match(stored[7] or '0', '%d+') }
  if stored[1] ~= server then
    log.ms = math.max(now, last_ms + 1)
    log.epoch, log.seq = log.ms, 0
    append_event(EVENTS, request.epoch_event)
  end
end

-- Write `log` to LOG, and trim EVENTS and REFUSALS by age and count. With an archive, keep each
-- entry that the archive does not have.
local function close_log()
  local retention_ms = request.log_limits[LOG_RETENTION_MS]
  redis.call('HSET', KEYS[LOG], 'server', log.server, 'epoch', log.epoch, 'seq', log.seq,
    'ms', log.ms, 'unrecorded', log.unrecorded, 'waiting', has_archive and log.waiting or '')
  local oldest = has_archive and math.min(now - retention_ms, log.archived) or now - retention_ms
  for _, stream in ipairs({ EVENTS, REFUSALS }) do
    redis.call('XTRIM', KEYS[stream], 'MINID', '~', oldest)
    if has_archive then
      redis.call('PERSIST', KEYS[stream])
    else
      redis.call('PEXPIRE', KEYS[stream], retention_ms)
    end
  end
  local max_entries = math.max(max_stream_entries, has_archive and log.waiting or 0)
  redis.call('XTRIM', KEYS[EVENTS], 'MAXLEN', '~', max_entries)
end

-- Return what may fill REFUSALS: the type and the tenant of an event. A worker wrote the body, in
-- which a quote inside a value is escaped.
local function find_source(body)
  return (string.match(body, '"type":"([^"]*)"') or '') .. ':'
    .. (string.match(body, '"tenant":"([^"]*)"') or '')
end

-- Delete the oldest entries of the source that has most entries in REFUSALS, and count them in
-- `log`. So a source that has less than its share loses nothing, whatever the others append. Many
-- are deleted at once, because this reads the stream.
local function evict_largest_source(max_entries)
  local entries_by_source, largest = {}, nil
  for _, entry in ipairs(redis.call('XRANGE', KEYS[REFUSALS], '-', '+')) do
    local source = find_source(entry[2][2] or '')
    local entries = entries_by_source[source] or {}
    entries_by_source[source] = entries
    entries[#entries + 1] = entry
    if not largest or #entries > #largest then
      largest = entries
    end
  end
  for i = 1, math.min(#largest, math.ceil(max_entries / EVICTED_PART)) do
    local id, stamp = largest[i][1], largest[i][2][8] or ''
    log.unrecorded = log.unrecorded + (tonumber(string.match(stamp, '"folded":(%d+)')) or 1)
      + (tonumber(string.match(stamp, '"unrecorded":(%d+)')) or 0)
    redis.call('XDEL', KEYS[REFUSALS], id)
  end
end

-- Return whether REFUSALS has space. What is in it costs the caller nothing, so it may fill no
-- more than half of the log. Without an archive, older entries make room. With one, only archived
-- entries do: deleting others would leave a gap in the sequence.
local function make_room_for_refusal()
  local max_entries = math.min(max_stream_entries / 2, MAX_REFUSAL_ENTRIES)
  if redis.call('XLEN', KEYS[REFUSALS]) < max_entries then
    return true
  end
  if has_archive then
    redis.call('XTRIM', KEYS[REFUSALS], 'MINID', log.archived)
    return redis.call('XLEN', KEYS[REFUSALS]) < max_entries
  end
  evict_largest_source(max_entries)
  return true
end

-- Append the event of a refusal to REFUSALS, which must have space. Its stamp has the count of
-- those before it that are only counted.
local function append_refusal_event(event, stamp)
  if log.unrecorded > 0 then
    stamp.unrecorded = log.unrecorded
    log.unrecorded = 0
  end
  append_event(REFUSALS, event, next(stamp) and cjson.encode(stamp) or '')
end
