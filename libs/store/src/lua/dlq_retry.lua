-- dlq_retry: brings tasks back from the dead letters with a fresh budget. Twice at once: one wins.
-- KEYS  log, then per task: record, dead-letter stream, ready stream, unique key (its record where it has none)
-- ARGV  per task: id, nonce, body of DlqRetried
-- Returns per task: {'done'} (also for the same nonce again) | {'changed'} (it is not among the dead letters) |
--       {'taken', id} (another task holds its unique key)
allow_when_full(KEYS[1])
local out, a, k = {}, 0, 1
while ARGV[a + 1] do
  local id, record, unique = ARGV[a + 1], KEYS[k + 1], KEYS[k + 4]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 't', 'c')
  local holder = unique ~= record and redis.call('GET', unique)
  if r[6] == ARGV[a + 2] .. ':retried' then
    out[#out + 1] = {'done'}
  elseif r[1] ~= 'failed' then
    out[#out + 1] = {'changed'}
  elseif holder and holder ~= id then
    out[#out + 1] = {'taken', holder}
  else
    redis.call('XDEL', KEYS[k + 2], r[4])
    local version = r[2] + 1
    local position = append(KEYS[1], 'DlqRetried.1', id, version, r[3], ARGV[a + 3])
    if unique ~= record then redis.call('SET', unique, id) end
    redis.call('HSET', record, 's', 'pending', 'v', version, 'e', position, 'h', '',
      'w', make_ready(KEYS[k + 3], id, r[5], '', ''), 'c', ARGV[a + 2] .. ':retried')
    -- Whoever retries it wants it run, however late.
    redis.call('HDEL', record, 'f', 'l', 'j', 'y')
    out[#out + 1] = {'done'}
  end
  a, k = a + 3, k + 4
end
return out
