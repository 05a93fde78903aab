-- promote: moves tasks whose time has come from `due` to their ready stream. Racing promoters are
-- harmless: the first one takes the task out of `due`.
-- KEYS  log, due, ready stream × S, then per task: record
-- ARGV  S, then per task: id, stream (1..S)
-- Returns per task: 'done' | 'early' | 'absent' (not in due) | 'stale' (no such waiting task; removed from due)
local log, due, streams = KEYS[1], KEYS[2], tonumber(ARGV[1])
allow_when_full(log)
local now = now_ms(log)
local out, a, k = {}, 1, 2 + streams
while ARGV[a + 1] do
  local id, record = ARGV[a + 1], KEYS[k + 1]
  local at = redis.call('ZSCORE', due, id)
  if not at then
    out[#out + 1] = 'absent'
  elseif tonumber(at) > now then
    out[#out + 1] = 'early'
  else
    redis.call('ZREM', due, id)
    local r = redis.call('HMGET', record, 's', 'v', 'e', 't', 'l')
    if r[1] == 'scheduled' or r[1] == 'retrying' then
      local version = r[2] + 1
      local position = append(log, 'Requeued.1', id, version, r[3], '{}')
      local work = make_ready(KEYS[2 + ARGV[a + 2]], id, r[4], '', '', r[5])
      redis.call('HSET', record, 's', 'pending', 'v', version, 'e', position, 'w', work)
      out[#out + 1] = 'done'
    else
      out[#out + 1] = 'stale'
    end
  end
  a, k = a + 2, k + 1
end
return out
