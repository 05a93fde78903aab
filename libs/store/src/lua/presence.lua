-- presence: a worker says that it lives, and hears what people want: cancellations and pauses.
-- KEYS  log, workers, signal list of the worker, meta
-- ARGV  worker, its description (JSON), then signals that were handled
-- Returns {signals, meta as flat pairs}
if redis.call('EXISTS', KEYS[1]) == 0 then error('LAYOUTGONE the log is gone') end
allow_when_full(KEYS[1])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
for i = 3, #ARGV do redis.call('LREM', KEYS[3], 1, ARGV[i]) end
return {redis.call('LRANGE', KEYS[3], 0, 999), redis.call('HGETALL', KEYS[4])}
