-- submit: makes tasks. Repeats are harmless: an id that exists answers where it began.
-- KEYS  log, due, tick, meta, ready stream × S, then per task: record, data
-- ARGV  S, Q, queue name × Q, then per task:
--       id, stream (1..S), body of Submitted, queue, type, priority, limits,
--       'ready' | 'later', delay ms, run-at ms (0 = none), payload for the ready entry, payload for the data key
-- Returns per task: {'accepted' | 'repeated', first position}
local log, due, tick, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local streams, queues = tonumber(ARGV[1]), tonumber(ARGV[2])
local out = {}
for q = 1, queues do redis.call('HSETNX', meta, 'queue:' .. ARGV[2 + q], '1') end
local a, k = 2 + queues, 4 + streams
while ARGV[a + 1] do
  local id, record, data_key = ARGV[a + 1], KEYS[k + 1], KEYS[k + 2]
  local first = redis.call('HGET', record, 'o')
  if first then
    out[#out + 1] = {'repeated', first}
  else
    local kind, stored = ARGV[a + 5], ARGV[a + 12]
    local position = append(log, 'Submitted.1', id, 1, '', ARGV[a + 3])
    if stored ~= '' then redis.call('SET', data_key, stored) end
    local status, work, at = 'pending', '', ''
    if ARGV[a + 8] == 'ready' then
      work = make_ready(KEYS[4 + ARGV[a + 2]], id, kind, '', ARGV[a + 11])
      redis.call('HSET', record, 's', 'pending', 'v', 1, 'e', position, 'o', position, 'w', work,
        'q', ARGV[a + 4], 't', kind, 'p', ARGV[a + 6], 'r', ARGV[a + 7])
    else
      at = math.max(ms_of(position) + ARGV[a + 9], tonumber(ARGV[a + 10]))
      redis.call('ZADD', due, at, id)
      redis.call('HSET', record, 's', 'scheduled', 'v', 1, 'e', position, 'o', position, 'd', at,
        'q', ARGV[a + 4], 't', kind, 'p', ARGV[a + 6], 'r', ARGV[a + 7])
      tick_if_next(due, tick, id)
    end
    out[#out + 1] = {'accepted', position}
  end
  a, k = a + 12, k + 2
end
return out
