-- operation_create: notes a bulk operation, unless too many are under way. The same one again changes nothing.
-- KEYS  log, operation, operations, operations that run
-- ARGV  id, most under way, body, matching
-- Returns 'done' | 'many'
allow_when_full(KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then return 'done' end
if redis.call('SCARD', KEYS[4]) >= tonumber(ARGV[2]) then return 'many' end
redis.call('HSET', KEYS[2], 'body', ARGV[3], 'state', 'running', 'matching', ARGV[4], 'partition', '0', 'cursor', '',
  'planned', '', 'done', '0', 'skipped', '0')
redis.call('ZADD', KEYS[3], 0, ARGV[1])
-- Ids are in order of time: the list holds the latest.
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1001)
redis.call('SADD', KEYS[4], ARGV[1])
return 'done'
