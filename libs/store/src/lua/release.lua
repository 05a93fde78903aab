-- release: a worker that stops gives back what it runs. Costs neither a retry nor a loss.
-- KEYS  log, ready stream × S, then per task: record, data,
--       unique key (its record where it has none)
-- ARGV  group, retention ms, S, then per task:
--       id, stream (1..S), attempt, holder, '1' if the caller knows of a cancel request, body of Released
-- Returns per task: 'done' | 'repeated' | 'late' (not held any more) | 'changed' (decide again)
local log, group, retention, streams = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
allow_when_full(log)
local out, a, k = {}, 3, 1 + streams
while ARGV[a + 1] do
  local id, stream, record = ARGV[a + 1], KEYS[1 + ARGV[a + 2]], KEYS[k + 1]
  local settled = ARGV[a + 3] .. ':' .. ARGV[a + 4]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'a', 'h', 'x', 't', 'k', 'l')
  if r[9] == settled then
    out[#out + 1] = 'repeated'
  elseif r[1] ~= 'processing' or r[5] ~= ARGV[a + 3] or r[6] ~= ARGV[a + 4] then
    out[#out + 1] = 'late'
  elseif (r[7] or '0') ~= ARGV[a + 5] then
    out[#out + 1] = 'changed'
  else
    local since, data = read_entry(stream, r[4])
    drop_entry(stream, group, r[4])
    local version = r[2] + 1
    local position = append(log, 'Released.1', id, version, r[3], ARGV[a + 6])
    if r[7] then
      redis.call('HSET', record, 's', 'cancelled', 'v', version, 'e', position, 'h', '', 'k', settled)
      redis.call('PEXPIRE', record, retention)
      redis.call('PEXPIRE', KEYS[k + 2], retention)
      free_unique(KEYS[k + 3], record, id)
    else
      redis.call('HSET', record, 's', 'pending', 'v', version, 'e', position, 'h', '', 'k', settled,
        'w', make_ready(stream, id, r[8], since, data, r[10]))
    end
    out[#out + 1] = 'done'
  end
  a, k = a + 6, k + 3
end
return out
