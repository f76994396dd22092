-- The commit script, part 1 of 4: what all parts share, and the event log.
--
-- commit_request.py joins the parts. It generates a function for a struct that it packs, which
-- returns the fields by name (`unpack_request`). In the smaller structs it replaces the names of
-- fields (`WRITE_EXPIRES_AT`) with their indexes.

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

-- Append the event of a refusal to REFUSALS, or only count it in `log`. Refusals cost the
-- attacker nothing, so they may fill no more than half of the log. The next one that fits
-- carries the count in its stamp.
local function append_refusal_event(event, stamp)
  if redis.call('XLEN', KEYS[REFUSALS]) >= max_stream_entries / 2 then
    log.unrecorded = log.unrecorded + (stamp.folded or 1)
    return
  end
  if log.unrecorded > 0 then
    stamp.unrecorded = log.unrecorded
    log.unrecorded = 0
  end
  append_event(REFUSALS, event, next(stamp) and cjson.encode(stamp) or '')
end
