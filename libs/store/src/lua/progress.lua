-- progress: a running attempt tells how far it is.
-- KEYS  log, then per task: record
-- ARGV  per task: id, attempt, holder, body of Progressed
-- Returns per task: 'done' | 'lost'
allow_when_full(KEYS[1])
local out, a, k = {}, 0, 1
while ARGV[a + 1] do
  local record = KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'a', 'h')
  if r[1] == 'processing' and r[4] == ARGV[a + 2] and r[5] == ARGV[a + 3] then
    local position = append(KEYS[1], 'Progressed.1', ARGV[a + 1], r[2] + 1, r[3], ARGV[a + 4])
    redis.call('HSET', record, 'v', r[2] + 1, 'e', position)
    out[#out + 1] = 'done'
  else
    out[#out + 1] = 'lost'
  end
  a, k = a + 4, k + 1
end
return out
