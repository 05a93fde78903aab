-- discard: removes malformed ready entries, each counted once: nothing names them and no task is behind them.
-- KEYS  log, meta, ready streams
-- ARGV  group, then per entry: stream (1 = KEYS[3]), entry, queue
-- Returns how many were removed
allow_when_full(KEYS[1])
local removed = 0
for a = 2, #ARGV, 3 do
  local stream, entry = KEYS[2 + ARGV[a]], ARGV[a + 1]
  redis.call('XACK', stream, ARGV[1], entry)
  if redis.call('XDEL', stream, entry) == 1 then
    removed = removed + 1
    redis.call('HINCRBY', KEYS[2], 'malformed:ready:' .. ARGV[a + 2], 1)
    redis.call('HSET', KEYS[2], 'malformed_ms:ready:' .. ARGV[a + 2], string.format('%.0f', now_ms(KEYS[1])))
  end
end
return removed
