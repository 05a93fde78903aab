-- leave: forgets a worker that is gone. Its consumers are deleted only where nothing is pending,
-- because deleting one throws its pending entries away.
-- KEYS  workers, signal list of the worker, ready streams
-- ARGV  worker, group
-- Returns 1 when it is forgotten, 0 while something is still pending
local clean = true
for i = 3, #KEYS do
  local pending = redis.pcall('XPENDING', KEYS[i], ARGV[2], '-', '+', 1, ARGV[1])
  -- A stream without the group has no consumers to clean.
  if not pending.err then
    if pending[1] then
      clean = false
    else
      redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[2], ARGV[1])
    end
  end
end
if not clean then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
