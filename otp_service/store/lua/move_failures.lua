#!lua
-- Move consecutive failures from one bucket to another, which may be on another server. Four calls:
--   add     to the destination: what the source has. It notes the move, so that readers do not count
--           it twice (rotating_store.py) while the source has it too.
--   take    from the source: what was added. It notes the move, also in a bucket that is then empty.
--   finish  at the destination: subtract what the source had no longer, and delete the note.
--   forget  at the source: delete the note, and an empty bucket.
-- Each may be repeated, also by a later run after this one was interrupted.
-- KEYS: 1 the bucket. ARGV: 1 the call, 2 the move (msgpack of FailureMove, limit_key_move.py), then of
-- `add` 3 failures, 4 the last one's instant, 5 the sealed subject, 6 milliseconds to keep a bucket
-- after its last failure; of `take` 3 failures; of `finish` 3 failures to subtract.
-- Reply: of `add` the move that the bucket notes, which may be an earlier one; of `take` how many
-- failures were taken; of the others 1.
local calls = {}

function calls.add(move, failures, last, subject, ttl_ms)
  local stored = redis.call('HMGET', KEYS[1], 'count', 'last', 'move')
  if stored[3] then
    return stored[3]
  end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  last = math.max(tonumber(last), tonumber(stored[2] or 0))
  redis.call('HSET', KEYS[1], 'count', tonumber(stored[1] or 0) + failures, 'last', last,
    'subject', subject, 'move', move)
  local kept_ms = math.max(1, math.min(ttl_ms, last + ttl_ms - now))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', kept_ms))
  return move
end

function calls.take(move, failures)
  local stored = redis.call('HMGET', KEYS[1], 'count', 'taken', 'taken_failures')
  if not stored[1] then
    return 0 -- reset
  end
  if stored[2] == move then
    return tonumber(stored[3])
  end
  -- Those that were charged since stay: nothing has added them to the destination.
  local taken = math.min(stored[1], failures)
  redis.call('HSET', KEYS[1], 'count', stored[1] - taken, 'taken', move, 'taken_failures', taken)
  return taken
end

function calls.finish(move, failures)
  local stored = redis.call('HMGET', KEYS[1], 'count', 'move')
  if stored[2] == move then
    local count = stored[1] - failures
    if count <= 0 then
      redis.call('DEL', KEYS[1])
    else
      redis.call('HSET', KEYS[1], 'count', count)
      redis.call('HDEL', KEYS[1], 'move')
    end
  end
  return 1
end

function calls.forget(move)
  local stored = redis.call('HMGET', KEYS[1], 'count', 'taken')
  if stored[2] == move then
    if tonumber(stored[1]) == 0 then
      redis.call('DEL', KEYS[1])
    else
      redis.call('HDEL', KEYS[1], 'taken', 'taken_failures')
    end
  end
  return 1
end

return calls[ARGV[1]](unpack(ARGV, 2))
