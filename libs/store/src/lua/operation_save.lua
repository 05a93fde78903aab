-- operation_save: how far a bulk operation is, told by the runner that has it; at its end it is kept for a while.
-- KEYS  log, operation, operations that run
-- ARGV  runner, lease ms, id, partition, cursor, planned, done, skipped, 'running' or 'completed', ms to keep it
-- Returns 'done' | 'lost' (another one has it) | 'stopped' (a person stopped it, or it has ended)
local o = redis.call('HMGET', KEYS[2], 'state', 'runner')
if o[1] == 'running' and o[2] ~= ARGV[1] then return 'lost' end
if o[1] ~= 'running' and o[1] ~= 'stopped' then return 'stopped' end
allow_when_full(KEYS[1])
local now = now_ms(KEYS[1])
if o[2] == ARGV[1] then
  redis.call('HSET', KEYS[2], 'until', string.format('%.0f', now + ARGV[2]), 'partition', ARGV[4], 'cursor', ARGV[5],
    'planned', ARGV[6], 'done', ARGV[7], 'skipped', ARGV[8])
end
if o[1] == 'stopped' then return 'stopped' end
if ARGV[9] == 'completed' then
  redis.call('HSET', KEYS[2], 'state', 'completed', 'ended', string.format('%.0f', now))
  redis.call('SREM', KEYS[3], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[10])
end
return 'done'
