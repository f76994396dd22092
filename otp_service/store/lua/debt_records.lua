-- The commit script, part 6 of 9: what the brake on SMS pumping keeps apart from debts.
--
-- The record of a known number is a list: the id of the limit key that names it, the instant of the
-- verification, and those of the exempt sends since then, which are unpaid.
-- The totals of a country are a hash, whose fields store/README.md lists.

--------------------------------------------------------------------------------- known numbers

-- Return the record of a known number, or nil.
function debts.read_known(key_index)
  local stored = key_index > 0 and redis.call('GET', keys[key_index])
  return stored and cmsgpack.unpack(stored) or nil
end

-- Return how many of the unpaid sends of a known number were within a day.
function debts.count_today(known)
  local count = 0
  for i = 3, #known do
    count = count + (known[i] > now - debts.PERIOD_MS[2] and 1 or 0)
  end
  return count
end

function debts.is_exempt(known)
  return known ~= nil and debts.count_today(known) < debts.MAX_DAILY_EXEMPT_SENDS
    and #known - 2 < debts.MAX_UNPAID_SENDS
end

-- Return when sends to a number are exempt, {from an instant on, until another one}, as find_exempt_time
-- of core/pumping/known_number.py does. Nil for never; without the second, no time ends it.
function debts.find_exempt_time(known, is_assumed)
  if not known then
    return is_assumed and { 0 } or nil
  end
  local expires_at = known[2] + debts.KNOWN_TTL_MS
  local starts_at, unpaid = expires_at, { unpack(known, 3) }
  if #unpaid < debts.MAX_UNPAID_SENDS then
    table.sort(unpaid)
    local last = unpaid[#unpaid - debts.MAX_DAILY_EXEMPT_SENDS + 1]
    starts_at = math.min(last and last + debts.PERIOD_MS[2] or 0, expires_at)
  end
  if is_assumed then
    return { starts_at }
  end
  return starts_at < expires_at and { starts_at, expires_at } or nil
end

-- Write the record of a number that is known from now on, without its unpaid sends or with one.
function debts.write_known(key_index, unpaid_at)
  local record = { request.limit_key_id, now, unpaid_at }
  redis.call('SET', keys[key_index], cmsgpack.pack(record), 'PX', debts.KNOWN_TTL_MS)
end

-- Note an exempt send. The record is new if a caller has said that the number is known.
function debts.note_exempt_send(plan)
  if plan.known then
    plan.known[#plan.known + 1] = now
    redis.call('SET', keys[plan.known_key], cmsgpack.pack(plan.known), 'KEEPTTL')
  else
    debts.write_known(plan.known_key, now)
  end
end

-- Take back the note of an exempt send. A record that a caller's word has begun with it is deleted.
function debts.remove_exempt_send(key_index, noted_at, is_assumed)
  local known = debts.read_known(key_index)
  for i = known and #known or 0, 3, -1 do
    if known[i] == noted_at then
      table.remove(known, i)
      if is_assumed and #known == 2 and known[2] == noted_at then
        redis.call('DEL', keys[key_index])
      else
        redis.call('SET', keys[key_index], cmsgpack.pack(known), 'KEEPTTL')
      end
      return
    end
  end
end

--------------------------------------------------------------------------------- hourly totals

-- Add to the total of an hour, or to a count of a slot of ten minutes: an outage that exempt sends show
-- would else be noticed up to an hour later. One that is used up is deleted.
function debts.add_traffic(traffic, instant, kind, amount)
  local key = keys[traffic[TRAFFIC_KEY_INDEX]]
  local span_ms = (kind == 'e' or kind == 'p') and debts.SLOT_MS[1] or debts.PERIOD_MS[1]
  local field = string.format('%d:%s', math.floor(instant / span_ms), kind)
  if redis.call('HINCRBY', key, field, amount) <= 0 then
    redis.call('HDEL', key, field)
  end
  debts.keep_traffic(traffic)
end

-- Keep the totals for their time to live, and in the index.
function debts.keep_traffic(traffic)
  redis.call('PEXPIRE', keys[traffic[TRAFFIC_KEY_INDEX]], debts.TRAFFIC_TTL_MS)
  redis.call('SADD', keys[traffic[TRAFFIC_INDEX_KEY_INDEX]], traffic[TRAFFIC_MEMBER])
end

-- Count a send, or take it back (`sign` -1). One that is over a limit that only records has no total.
function debts.count_send(traffic, cause, is_over, instant, sign)
  if cause == debts.EXEMPT then
    debts.add_traffic(traffic, instant, 'e', sign)
  elseif cause == debts.CHARGED and not is_over then
    debts.add_traffic(traffic, instant, traffic[TRAFFIC_KIND], sign * traffic[TRAFFIC_AMOUNT])
  end
end

-- Note in the hour that the country itself was full: nothing is learned from such a day.
function debts.note_full_country(plan)
  local full = plan and (plan.refusal or plan.over)
  local traffic = full and plan.traffic
  if traffic and plan.operations[full[1]].limit == 'UnverifiedPerCountryAndTenant' then
    local field = string.format('%d:r', math.floor(now / debts.PERIOD_MS[1]))
    redis.call('HSET', keys[traffic[TRAFFIC_KEY_INDEX]], field, 1)
    debts.keep_traffic(traffic)
  end
end
