-- scan: a step of SCAN on the node that holds this partition.
-- KEYS  log
-- ARGV  cursor, pattern, count
-- Returns {next cursor, keys}
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
