-- 0001: the layout begins. Writes how many partitions there are and the suffix of each one's hash
-- tag, once and for all.
-- KEYS  schema
-- ARGV  number of partitions, suffixes separated by spaces
if redis.call('HEXISTS', KEYS[1], 'suffixes') == 0 then
  redis.call('HSET', KEYS[1], 'partitions', ARGV[1], 'suffixes', ARGV[2])
end
