-- apply: moves a projection from one checkpoint to the next with all its changes, or does nothing.
-- KEYS  log, checkpoint, view keys
-- ARGV  expected checkpoint, next checkpoint, then operations: see write_views
-- Returns {'applied' | 'moved', checkpoint}
local current = redis.call('GET', KEYS[2]) or '0-0'
if current ~= ARGV[1] then return {'moved', current} end
allow_when_full(KEYS[1])
write_views(2, 3)
redis.call('SET', KEYS[2], ARGV[2])
return {'applied', ARGV[2]}
