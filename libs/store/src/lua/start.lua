-- start: begins an attempt. The same holder and entry again answer the same attempt.
-- KEYS  log, meta, expiry, ready stream × S, then per task: record, data
-- ARGV  group, holder, lease ms, rest of the body of Started after the attempt, S, queue × S,
--       then per task: id, stream (1..S), entry, '1' if the payload is needed
-- Returns per task: {'started', attempt, failures, losses, limits, source, payload, hash of its unique key, traceparent},
--       source: 'none' (not asked for) | 'data' (the payload itself) | 'body' (the body of Submitted) |
--       'lost';
--       {'expired'} (too late to start: to be ended by expire) | {'paused'} |
--       {'held'} (another holder runs it) | {'stale'} (entry removed)
local log, meta, expiry, group, holder = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local streams, now = tonumber(ARGV[5]), nil
allow_when_full(log)
local paused = {}
for i = 1, streams do paused[i] = redis.call('HGET', meta, 'pause:' .. ARGV[5 + i]) end
local out, a, k = {}, 5 + streams, 3 + streams
while ARGV[a + 1] do
  local id, s, entry, record = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3], KEYS[k + 1]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'a', 'h', 'f', 'l', 'r', 'o', 'u', 'y', 'T')
  local named = r[4] == entry
  local attempt
  if named and r[1] == 'pending' then
    local waits = r[12] and not r[5]
    if waits then now = now or now_ms(log) end
    if waits and now > tonumber(r[12]) then
      out[#out + 1] = {'expired'}
    elseif paused[s] then
      out[#out + 1] = {'paused'}
    else
      if waits then redis.call('ZREM', expiry, id) end
      attempt = (r[5] or 0) + 1
      local version = r[2] + 1
      local position = append(log, 'Started.1', id, version, r[3], '{"attempt":' .. attempt .. ARGV[4])
      redis.call('HSET', record, 's', 'processing', 'v', version, 'e', position, 'a', attempt, 'h', holder, 'L', ARGV[3])
    end
  elseif named and r[1] == 'processing' then
    if r[6] == holder then attempt = tonumber(r[5]) else out[#out + 1] = {'held'} end
  else
    drop_entry(KEYS[3 + s], group, entry)
    out[#out + 1] = {'stale'}
  end
  if attempt then
    local source, payload = 'none', ''
    if ARGV[a + 4] == '1' then
      local stored = redis.call('GET', KEYS[k + 2])
      if stored then
        source, payload = 'data', stored
      else
        local first = redis.call('XRANGE', log, r[10], r[10])[1]
        if first then source, payload = 'body', first[2][10] else source = 'lost' end
      end
    end
    out[#out + 1] = {'started', attempt, r[7] or 0, r[8] or 0, r[9], source, payload, r[11] or '', r[13] or ''}
  end
  a, k = a + 4, k + 2
end
return out
