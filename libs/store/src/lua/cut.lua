-- cut: moves the base to a later position with everything that hangs on it, or does nothing: the
-- tasks that live on into the base, those that ended out of records and views, and the log cut.
-- KEYS  log, checkpoint, holds, base, V view keys (the base among them), then per task whose payload
--       is kept: record, data; then keys to delete
-- ARGV  expected base, next base, first position kept, V, number of payloads, payloads,
--       then operations as for apply
-- Returns {'done' | 'moved' (another cut was faster) | 'held' (somebody reads the whole log) |
--       'ahead' (the views have not come so far)}
local log, holds = KEYS[1], KEYS[3]
local views, payloads = tonumber(ARGV[4]), tonumber(ARGV[5])
local function parts(position)
  local ms, seq = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
if (redis.call('HGET', KEYS[4], 'position') or '0-0') ~= ARGV[1] then return {'moved'} end
local ms, seq = parts(ARGV[2])
local view_ms, view_seq = parts(redis.call('GET', KEYS[2]) or '0-0')
if view_ms < ms or (view_ms == ms and view_seq < seq) then return {'ahead'} end
allow_when_full(log)
redis.call('ZREMRANGEBYSCORE', holds, '-inf', '(' .. now_ms(log))
if redis.call('EXISTS', holds) == 1 then return {'held'} end
for i = 1, payloads do
  local record, data = KEYS[2 + views + 2 * i + 1], KEYS[2 + views + 2 * i + 2]
  -- Without a record nobody can ask for it; with one that ends, it ends too.
  local left = redis.call('PTTL', record)
  if left ~= -2 and redis.call('SET', data, ARGV[5 + i], 'NX') and left > 0 then
    redis.call('PEXPIRE', data, left)
  end
end
for i = 5 + views + 2 * payloads, #KEYS do redis.call('UNLINK', KEYS[i]) end
write_views(4, 6 + payloads)
redis.call('XTRIM', log, 'MINID', '=', ARGV[3])
return {'done'}
