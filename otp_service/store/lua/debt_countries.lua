-- The commit script, part 5 of 9: the buckets of the brake on SMS pumping that count countries.
--
-- Such a bucket has a window of a day for each country, with the number of its messages. It is a flat
-- list: the number of the newest slot of all windows, then of each country its name, its unverified
-- messages from the newest slot on, and how many have verified in the same slots.

-- Whether a bucket counts countries. Another one has an amount in the place of the first name.
function debts.counts_countries(bucket)
  return type(bucket[2]) ~= 'number'
end

-- Return the bucket as `debts.settle` does.
function debts.settle_countries(bucket, instant)
  local newest = math.floor(instant / debts.SLOT_MS[2])
  local passed = newest - bucket[1]
  if passed == 0 then
    return bucket, false
  end
  local settled = { newest }
  for start = 2, #bucket, debts.VALUES do
    settled[start] = bucket[start]
    debts.shift_slots(bucket, settled, start, math.max(0, passed))
  end
  return settled, passed < 0
end

-- Return how many messages to the country at an index have not verified, and how many have.
function debts.sum_country(bucket, start)
  return debts.sum_slots(bucket, start + 1), debts.sum_slots(bucket, start + 1 + debts.SLOTS)
end

-- Return to how many countries but this one messages went, of which none has verified; 0 if one to
-- this country has.
function debts.count_other_countries(bucket, country)
  local count = 0
  for start = 2, #bucket, debts.VALUES do
    local unverified, verified = debts.sum_country(bucket, start)
    if bucket[start] == country and verified > 0 then
      return 0
    end
    if bucket[start] ~= country and verified == 0 and unverified > 0 then
      count = count + 1
    end
  end
  return count
end

-- Add amounts to a slot of a country, counted from the newest one; none is under 0.
function debts.add_to_country(bucket, country, slot, unverified, verified)
  local start = 2
  while bucket[start] and bucket[start] ~= country do
    start = start + debts.VALUES
  end
  if not bucket[start] then
    bucket[start] = country
    for i = start + 1, start + 2 * debts.SLOTS do
      bucket[i] = 0
    end
  end
  local owed, paid = start + 1 + slot, start + 1 + debts.SLOTS + slot
  bucket[owed] = math.max(0, bucket[owed] + unverified)
  bucket[paid] = bucket[paid] + verified
end

-- Take messages from the slot of a country in which they were charged.
function debts.repay_country(bucket, country, charged_at, messages, verified)
  local slot = math.max(0, bucket[1] - math.floor(charged_at / debts.SLOT_MS[2]))
  if slot < debts.SLOTS then
    debts.add_to_country(bucket, country, slot, -messages, verified)
  end
end

-- Return the bucket without the countries that have no message.
function debts.drop_empty_countries(bucket)
  local kept = { bucket[1] }
  for start = 2, #bucket, debts.VALUES do
    local unverified, verified = debts.sum_country(bucket, start)
    if unverified + verified > 0 then
      for i = start, start + debts.VALUES - 1 do
        kept[#kept + 1] = bucket[i]
      end
    end
  end
  return kept
end
