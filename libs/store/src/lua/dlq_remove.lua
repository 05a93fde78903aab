-- dlq_remove: takes tasks out of the dead letters for good; their history stays until retention.
-- KEYS  log, then per task: record, data, dead-letter stream
-- ARGV  retention ms, then per task: id, nonce, body of DlqRemoved
-- Returns per task: 'done' (also for the same nonce again) | 'changed' (it is not among the dead letters)
allow_when_full(KEYS[1])
local out, a, k = {}, 1, 1
while ARGV[a + 1] do
  local id, record = ARGV[a + 1], KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'c')
  if r[5] == ARGV[a + 2] .. ':removed' then
    out[#out + 1] = 'done'
  elseif r[1] ~= 'failed' then
    out[#out + 1] = 'changed'
  else
    redis.call('XDEL', KEYS[k + 3], r[4])
    local version = r[2] + 1
    local position = append(KEYS[1], 'DlqRemoved.1', id, version, r[3], ARGV[a + 3])
    redis.call('HSET', record, 's', 'removed', 'v', version, 'e', position, 'c', ARGV[a + 2] .. ':removed')
    redis.call('PEXPIRE', record, ARGV[1])
    redis.call('PEXPIRE', KEYS[k + 2], ARGV[1])
    out[#out + 1] = 'done'
  end
  a, k = a + 3, k + 3
end
return out
