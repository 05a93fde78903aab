-- membership: reads records together with where their tasks stand, in one step. Changes nothing.
-- KEYS  due, then per task: record, ready stream, parked set, dead-letter stream
-- ARGV  ids
-- Returns per task: {record as flat pairs, in due, entry in its ready stream, parked, entry among the dead letters} (0 | 1)
local out = {}
-- Entries of different streams may share an id: the entry must be this task's.
local function has(stream, entry, id)
  local found = string.find(entry, '-', 1, true) and redis.call('XRANGE', stream, entry, entry)[1]
  return found and found[2][2] == id and 1 or 0
end
for i = 1, #ARGV do
  local k = 4 * i - 2
  local work = redis.call('HGET', KEYS[k], 'w') or ''
  out[i] = {
    redis.call('HGETALL', KEYS[k]),
    redis.call('ZSCORE', KEYS[1], ARGV[i]) and 1 or 0,
    has(KEYS[k + 1], work, ARGV[i]),
    redis.call('ZSCORE', KEYS[k + 2], ARGV[i]) and 1 or 0,
    has(KEYS[k + 3], work, ARGV[i]),
  }
end
return out
