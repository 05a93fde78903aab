-- cancel: ends waiting tasks at once; asks the worker of a running one. The nonce makes a repeat
-- answer the first outcome.
-- KEYS  log, due, expiry, meta, then per task: record, data, ready stream, parked set, signal list of its
--       worker, unique key (its record where it has none)
-- ARGV  group, retention ms, then per task:
--       id, nonce, expected status, expected work entry, body of Cancelled or CancelRequested, signal
-- Returns per task: 'cancelled' | 'requested' | 'changed' (decide again)
local log, due, group, retention = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
allow_when_full(log)
local out, a, k = {}, 2, 4
while ARGV[a + 1] do
  local id, record = ARGV[a + 1], KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'x', 'c', 'q')
  local version = (r[2] or 0) + 1
  if r[6] and string.sub(r[6], 1, #ARGV[a + 2] + 1) == ARGV[a + 2] .. ':' then
    out[#out + 1] = string.sub(r[6], #ARGV[a + 2] + 2)
  elseif r[1] ~= ARGV[a + 3] or (r[4] or '') ~= ARGV[a + 4] or r[5] then
    out[#out + 1] = 'changed'
  elseif r[1] == 'processing' then
    local position = append(log, 'CancelRequested.1', id, version, r[3], ARGV[a + 5])
    redis.call('HSET', record, 'x', '1', 'v', version, 'e', position, 'c', ARGV[a + 2] .. ':requested')
    redis.call('RPUSH', KEYS[k + 5], ARGV[a + 6])
    redis.call('PEXPIRE', KEYS[k + 5], 3600000)
    out[#out + 1] = 'requested'
  elseif r[1] == 'pending' or r[1] == 'scheduled' or r[1] == 'retrying' then
    if r[1] ~= 'pending' then
      redis.call('ZREM', due, id)
    elseif r[4] == 'parked' then
      count_parked(KEYS[4], r[7], -redis.call('ZREM', KEYS[k + 4], id))
    else
      drop_entry(KEYS[k + 3], group, r[4])
    end
    local position = append(log, 'Cancelled.1', id, version, r[3], ARGV[a + 5])
    redis.call('HSET', record, 's', 'cancelled', 'v', version, 'e', position, 'c', ARGV[a + 2] .. ':cancelled')
    redis.call('PEXPIRE', record, retention)
    redis.call('PEXPIRE', KEYS[k + 2], retention)
    redis.call('ZREM', KEYS[3], id)
    free_unique(KEYS[k + 6], record, id)
    out[#out + 1] = 'cancelled'
  else
    out[#out + 1] = 'changed'
  end
  a, k = a + 6, k + 6
end
return out
