-- expire: ends tasks that were not started in time.
-- KEYS  log, expiry, due, meta, then per task: record, data, ready stream, parked set, unique key (its record where none)
-- ARGV  group, retention ms, then per task: id
-- Returns per task: 'done' | 'early' | 'absent' (not in expiry) | 'stale' (it has started or ended; removed)
local log, expiry, due, group, retention = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
allow_when_full(log)
local now = now_ms(log)
local out, k = {}, 4
for a = 3, #ARGV do
  local id, record = ARGV[a], KEYS[k + 1]
  local at = redis.call('ZSCORE', expiry, id)
  if not at then
    out[#out + 1] = 'absent'
  elseif tonumber(at) > now then
    out[#out + 1] = 'early'
  else
    redis.call('ZREM', expiry, id)
    local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'a', 'q')
    if (r[1] == 'scheduled' or r[1] == 'pending') and not r[5] then
      if r[1] == 'scheduled' then
        redis.call('ZREM', due, id)
      elseif r[4] == 'parked' then
        count_parked(KEYS[4], r[6], -redis.call('ZREM', KEYS[k + 4], id))
      else
        drop_entry(KEYS[k + 3], group, r[4])
      end
      local position = append(log, 'Expired.1', id, r[2] + 1, r[3], '{}')
      redis.call('HSET', record, 's', 'expired', 'v', r[2] + 1, 'e', position)
      redis.call('PEXPIRE', record, retention)
      redis.call('PEXPIRE', KEYS[k + 2], retention)
      free_unique(KEYS[k + 5], record, id)
      out[#out + 1] = 'done'
    else
      out[#out + 1] = 'stale'
    end
  end
  k = k + 5
end
return out
