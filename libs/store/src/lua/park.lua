-- park: puts tasks of a type nobody here knows aside. One event per life; parking again is none.
-- KEYS  log, meta, ready stream × S, then per task: record, parked set of its queue and type
-- ARGV  group, S, then per task: id, stream (1..S), entry, body of Released
-- Returns per task: 'done' | 'repeated' | 'held' | 'stale' (entry removed)
local log, meta, group, streams = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
allow_when_full(log)
local out, a, k = {}, 2, 2 + streams
while ARGV[a + 1] do
  local id, stream, entry, record = ARGV[a + 1], KEYS[2 + ARGV[a + 2]], ARGV[a + 3], KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'j', 'q')
  if r[1] == 'pending' and r[4] == 'parked' then
    out[#out + 1] = 'repeated'
  elseif r[4] ~= entry or not (r[1] == 'pending' or r[1] == 'processing') then
    drop_entry(stream, group, entry)
    out[#out + 1] = 'stale'
  elseif r[1] == 'processing' then
    out[#out + 1] = 'held'
  else
    local since = read_entry(stream, entry)
    if since == '' then since = ms_of(entry) end
    drop_entry(stream, group, entry)
    count_parked(meta, r[6], redis.call('ZADD', KEYS[k + 2], since, id))
    redis.call('HSET', record, 'w', 'parked')
    if not r[5] then
      local position = append(log, 'Released.1', id, r[2] + 1, r[3], ARGV[a + 4])
      redis.call('HSET', record, 'v', r[2] + 1, 'e', position, 'j', '1')
    end
    out[#out + 1] = 'done'
  end
  a, k = a + 4, k + 2
end
return out
