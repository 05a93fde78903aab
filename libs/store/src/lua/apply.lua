-- apply: moves a projection from one checkpoint to the next with all its changes, or does nothing.
-- KEYS  log, checkpoint, view keys
-- ARGV  expected checkpoint, next checkpoint, then operations: code, view key (1..), count, arguments
--       'Z' ZADD (score, member)… · 'z' ZREM member… · 'H' HSET (field, value)… · 'h' HDEL field… ·
--       'I' HINCRBY field, delta (count 2)
-- Returns {'applied' | 'moved', checkpoint}
local current = redis.call('GET', KEYS[2]) or '0-0'
if current ~= ARGV[1] then return {'moved', current} end
allow_when_full(KEYS[1])
local commands = {Z = 'ZADD', z = 'ZREM', H = 'HSET', h = 'HDEL', I = 'HINCRBY'}
local a = 3
while ARGV[a] do
  local count = tonumber(ARGV[a + 2])
  redis.call(commands[ARGV[a]], KEYS[2 + ARGV[a + 1]], unpack(ARGV, a + 3, a + 2 + count))
  a = a + 3 + count
end
redis.call('SET', KEYS[2], ARGV[2])
return {'applied', ARGV[2]}
