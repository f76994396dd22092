-- The commit script, part 1 of 9: what all parts share, and the event log.
--
-- commit_request.py joins the parts. It generates a function for a struct that it packs, which
-- returns the fields by name (`unpack_request`). In the smaller structs it replaces the names of
-- fields (`WRITE_EXPIRES_AT`) with their indexes.

local MAX_REFUSAL_ENTRIES = 5000 -- of a partition: one eviction reads all of them
local EVICTED_PART = 16 -- an eviction deletes up to a sixteenth of them

local OPERATION, LOG, EVENTS, REFUSALS, FOLDS, DUE = 1, 2, 3, 4, 5, 6 -- indexes in `keys`

local TRIM_INTERVAL_ENTRIES = 32 -- both streams are trimmed once in so many entries,
local TRIM_INTERVAL_MS = 3600000 -- or with an entry after so long

-- Far less than a record of a last time step outlives the last code of the step (STATE_TTL_MS in
-- service/authenticator_check.py).
local CLOCK_STEP_MS = 60000

-- The commit that is decided now, its keys and its arguments: the request, then the values to write.
-- commit.lua sets these for each commit of a call.
local request, keys, arguments
local has_archive, max_stream_entries

-- The time of the decision in milliseconds. commit.lua reads it once in a call.
local now

-- The state of the log, while it is open. The id of an entry is its time and its place in the
-- epoch: `1763814000123-42`. `archived` is the id of the last entry that the archive has.
-- `waiting` counts the events after that (mark_archived.lua); without it, all events may wait.
-- `is_trim_due` is set by a new epoch and a new stream. `next_due` is when the next fold is due, or
-- earlier; nil without a fold. `since` is the instant since which no record of this partition was lost,
-- by a clock that was not set back after it.
-- {server, epoch, seq, ms, unrecorded, waiting, archived, trimmed_at, is_trim_due, next_due, since}
local log

-- Append an event to a stream of this partition. Advances `log`.
local function append_event(stream, event, stamp)
  log.seq = log.seq + 1
  log.waiting = log.waiting + (stream == EVENTS and 1 or 0)
  redis.call('XADD', keys[stream], log.ms .. '-' .. log.seq,
    'event', event[EVENT_BODY], 'mac', event[EVENT_MAC], 'epoch', log.epoch, 'stamp', stamp or '')
end

-- Return the instant since which no record was lost: the stored one, or now if the clock was set back.
-- While it was ahead, records expired before their time, and an epoch that began then is in the future.
local function find_since(stored_since, stored_clock, is_new_epoch)
  local is_set_back = now + CLOCK_STEP_MS < tonumber(stored_clock or 0)
  if is_new_epoch or is_set_back or not stored_since then
    return now
  end
  return tonumber(stored_since)
end

-- Read LOG into `log`, and return whether the log is open. Begin an epoch, and append its event, if
-- this server has not written here before: a restart or a failover may have lost the last entries, so
-- the sequence must not continue as if it had not. The replication id of Redis is new in both cases.
-- Returns false if the call has no event for a new epoch: commit.lua then asks for one.
local function open_log()
  local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  local stored = redis.call('HMGET', keys[LOG], 'server', 'epoch', 'seq', 'ms', 'unrecorded',
    'waiting', 'archived', 'trimmed_at', 'next_due', 'since', 'clock')
  local is_new_epoch = stored[1] ~= server
  if is_new_epoch and not request.epoch_event then
    return false
  end
  local last_ms = tonumber(stored[4] or 0)
  log = { server = server, epoch = tonumber(stored[2] or 0), seq = tonumber(stored[3] or 0),
    ms = math.max(now, last_ms), unrecorded = tonumber(stored[5] or 0),
    waiting = tonumber(stored[6] or '')
      or has_archive and redis.call('XLEN', keys[EVENTS]) or 0,
    archived = string.match(stored[7] or '0', '%d+'), trimmed_at = tonumber(stored[8] or 0),
    is_trim_due = is_new_epoch, next_due = tonumber(stored[9] or ''),
    since = find_since(stored[10], stored[11], is_new_epoch) }
  if is_new_epoch then
    log.ms = math.max(now, last_ms + 1)
    log.epoch, log.seq = log.ms, 0
    append_event(EVENTS, request.epoch_event)
  end
  log.first_seq = log.seq
  return true
end

-- Trim EVENTS and REFUSALS by age and count, and let them expire. With an archive, keep each entry
-- that the archive does not have. An entry is kept for its retention at least: it may be appended until
-- TRIM_INTERVAL_MS after this.
local function trim_streams()
  local retention_ms = request.log_limits[LOG_RETENTION_MS]
  local oldest = has_archive and math.min(now - retention_ms, log.archived) or now - retention_ms
  for _, stream in ipairs({ EVENTS, REFUSALS }) do
    redis.call('XTRIM', keys[stream], 'MINID', '~', oldest)
    if has_archive then
      redis.call('PERSIST', keys[stream])
    else
      redis.call('PEXPIRE', keys[stream], retention_ms + TRIM_INTERVAL_MS)
    end
  end
  local max_entries = math.max(max_stream_entries, has_archive and log.waiting or 0)
  redis.call('XTRIM', keys[EVENTS], 'MAXLEN', '~', max_entries)
end

-- Whether the streams were not trimmed for an interval of entries or of time. A trim in the future
-- was done while the clock was ahead.
local function is_trim_due()
  local since_ms = now - log.trimmed_at
  return log.is_trim_due or since_ms < 0 or since_ms >= TRIM_INTERVAL_MS
    or math.floor(log.first_seq / TRIM_INTERVAL_ENTRIES)
      < math.floor(log.seq / TRIM_INTERVAL_ENTRIES)
end

-- Write `log` to LOG. Trims the streams if that is due.
local function close_log()
  if is_trim_due() then
    trim_streams()
    log.trimmed_at = now
  end
  redis.call('HSET', keys[LOG], 'server', log.server, 'epoch', log.epoch, 'seq', log.seq,
    'ms', log.ms, 'unrecorded', log.unrecorded, 'waiting', has_archive and log.waiting or '',
    'trimmed_at', log.trimmed_at, 'next_due', log.next_due or '', 'since', log.since, 'clock', now)
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
  for _, entry in ipairs(redis.call('XRANGE', keys[REFUSALS], '-', '+')) do
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
    redis.call('XDEL', keys[REFUSALS], id)
  end
end

-- Return whether REFUSALS has space. What is in it costs the caller nothing, so it may fill no
-- more than half of the log. Without an archive, older entries make room. With one, only archived
-- entries do: deleting others would leave a gap in the sequence.
local function make_room_for_refusal()
  local max_entries = math.min(max_stream_entries / 2, MAX_REFUSAL_ENTRIES)
  local entries = redis.call('XLEN', keys[REFUSALS])
  log.is_trim_due = log.is_trim_due or entries == 0
  if entries < max_entries then
    return true
  end
  if has_archive then
    redis.call('XTRIM', keys[REFUSALS], 'MINID', log.archived)
    return redis.call('XLEN', keys[REFUSALS]) < max_entries
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
