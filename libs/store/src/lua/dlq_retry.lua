-- dlq_retry: brings tasks back from the dead letters with a fresh budget. Twice at once: one wins.
-- KEYS  log, then per task: record, dead-letter stream, ready stream
-- ARGV  per task: id, nonce, body of DlqRetried
-- Returns per task: 'done' (also for the same nonce again) | 'changed' (it is not among the dead letters)
allow_when_full(KEYS[1])
local out, a, k = {}, 0, 1
while ARGV[a + 1] do
  local id, record = ARGV[a + 1], KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 't', 'c')
  if r[6] == ARGV[a + 2] .. ':retried' then
    out[#out + 1] = 'done'
  elseif r[1] ~= 'failed' then
    out[#out + 1] = 'changed'
  else
    redis.call('XDEL', KEYS[k + 2], r[4])
    local version = r[2] + 1
    local position = append(KEYS[1], 'DlqRetried.1', id, version, r[3], ARGV[a + 3])
    redis.call('HSET', record, 's', 'pending', 'v', version, 'e', position, 'h', '',
      'w', make_ready(KEYS[k + 3], id, r[5], '', ''), 'c', ARGV[a + 2] .. ':retried')
    redis.call('HDEL', record, 'f', 'l', 'j')
    out[#out + 1] = 'done'
  end
  a, k = a + 3, k + 3
end
return out
