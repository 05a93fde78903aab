-- hold: lets retention wait for a reader of the whole log, or no longer.
-- KEYS  log, holds
-- ARGV  nonce of the reader, ms from now (0 = no longer)
-- Returns 'done'
allow_when_full(KEYS[1])
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], now_ms(KEYS[1]) + ARGV[2], ARGV[1])
end
return 'done'
