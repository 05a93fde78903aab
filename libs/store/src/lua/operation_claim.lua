-- operation_claim: gives a bulk operation to a runner for a lease, unless another one has it.
-- KEYS  log, operation
-- ARGV  runner, lease ms
-- Returns {'yours', field, value, …} | {'held'} | {'ended'}
local o = redis.call('HMGET', KEYS[2], 'state', 'runner', 'until')
if o[1] ~= 'running' then return {'ended'} end
local now = now_ms(KEYS[1])
if o[2] and o[2] ~= ARGV[1] and tonumber(o[3]) > now then return {'held'} end
allow_when_full(KEYS[1])
redis.call('HSET', KEYS[2], 'runner', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]))
local out = redis.call('HGETALL', KEYS[2])
table.insert(out, 1, 'yours')
return out
