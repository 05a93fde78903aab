-- unpark: brings parked tasks of a type back to their ready streams. No event.
-- KEYS  log, meta, parked set, ready stream × S, then per task: record
-- ARGV  S, queue, then per task: id, stream (1..S)
-- Returns per task: 'done' | 'absent' (not parked any more) | 'stale' (removed from the set)
local streams = tonumber(ARGV[1])
allow_when_full(KEYS[1])
local out, a, k = {}, 2, 3 + streams
while ARGV[a + 1] do
  local id, record = ARGV[a + 1], KEYS[k + 1]
  local since = redis.call('ZSCORE', KEYS[3], id)
  if not since then
    out[#out + 1] = 'absent'
  else
    redis.call('ZREM', KEYS[3], id)
    count_parked(KEYS[2], ARGV[2], -1)
    local r = redis.call('HMGET', record, 's', 'w', 't', 'l')
    if r[1] == 'pending' and r[2] == 'parked' then
      redis.call('HSET', record, 'w', make_ready(KEYS[3 + ARGV[a + 2]], id, r[3], since, '', r[4]))
      out[#out + 1] = 'done'
    else
      out[#out + 1] = 'stale'
    end
  end
  a, k = a + 2, k + 1
end
return out
