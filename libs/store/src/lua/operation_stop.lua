-- operation_stop: ends a bulk operation before its time. What it has done stays done.
-- KEYS  log, operation, operations that run
-- ARGV  id, actor, ms to keep it
-- Returns 'done' (also where it was stopped before) | 'ended' | 'missing'
local state = redis.call('HGET', KEYS[2], 'state')
if not state then return 'missing' end
if state == 'completed' then return 'ended' end
if state == 'running' then
  allow_when_full(KEYS[1])
  redis.call('HSET', KEYS[2], 'state', 'stopped', 'stopped_by', ARGV[2], 'ended', string.format('%.0f', now_ms(KEYS[1])))
  redis.call('SREM', KEYS[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return 'done'
