-- presence: a worker says that it lives, and hears what people want: cancellations and pauses.
-- KEYS  log, workers, signal list of the worker, meta
-- ARGV  worker, its description (JSON), number of its queues, their names, then signals that were handled
-- Returns {signals, those of its queues that are paused}
if redis.call('EXISTS', KEYS[1]) == 0 then error('LAYOUTGONE the log is gone') end
allow_when_full(KEYS[1])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
local queues = tonumber(ARGV[3])
for i = 4 + queues, #ARGV do redis.call('LREM', KEYS[3], 1, ARGV[i]) end
local paused = {}
for i = 4, 3 + queues do
  if redis.call('HEXISTS', KEYS[4], 'pause:' .. ARGV[i]) == 1 then paused[#paused + 1] = ARGV[i] end
end
return {redis.call('LRANGE', KEYS[3], 0, 999), paused}
