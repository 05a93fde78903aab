-- unclaim: gives entries back that were received and will not be started. No event, no loss.
-- KEYS  log, ready stream × S, then per task: record
-- ARGV  group, consumer, S, then per task: id, stream (1..S), entry
-- Returns per task: 'done' | 'held' (another holder runs it) | 'not_mine' | 'stale' (removed)
local group, consumer, streams = ARGV[1], ARGV[2], tonumber(ARGV[3])
allow_when_full(KEYS[1])
local out, a, k = {}, 3, 1 + streams
while ARGV[a + 1] do
  local id, stream, entry, record = ARGV[a + 1], KEYS[1 + ARGV[a + 2]], ARGV[a + 3], KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'w', 't', 'l')
  if r[2] ~= entry or not (r[1] == 'pending' or r[1] == 'processing') then
    drop_entry(stream, group, entry)
    out[#out + 1] = 'stale'
  elseif r[1] == 'processing' then
    out[#out + 1] = 'held'
  elseif not redis.call('XPENDING', stream, group, entry, entry, 1, consumer)[1] then
    out[#out + 1] = 'not_mine'
  else
    local since, data = read_entry(stream, entry)
    drop_entry(stream, group, entry)
    redis.call('HSET', record, 'w', make_ready(stream, id, r[3], since, data, r[4]))
    out[#out + 1] = 'done'
  end
  a, k = a + 3, k + 1
end
return out
