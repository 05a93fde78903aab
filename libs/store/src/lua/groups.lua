-- groups: makes the consumer group of ready streams where it is missing, from the beginning: what was added
-- before must be delivered. Also when memory is full, or a new worker could not help to drain.
-- KEYS  log, ready streams
-- ARGV  group
-- Returns how many were made
if redis.call('EXISTS', KEYS[1]) == 0 then error('LAYOUTGONE the log is gone') end
allow_when_full(KEYS[1])
local made = 0
for i = 2, #KEYS do
  local answer = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[1], '0', 'MKSTREAM')
  if not answer.err then
    made = made + 1
  elseif not string.find(answer.err, 'BUSYGROUP', 1, true) then
    return answer
  end
end
return made
