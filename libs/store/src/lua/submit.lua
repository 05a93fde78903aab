-- submit: makes tasks. Repeats are harmless: an id that exists answers where it began, an idempotency
-- key that was used answers the task it made.
-- KEYS  log, due, tick, meta, expiry, queues, ready stream × 3 per queue (high, normal, low),
--       then per task: record, data, unique key, idempotency key (its record where it has none)
-- ARGV  Q, most ready and parked tasks of a queue (0 = any, -1 = no memory left for any), most queues (0 = any),
--       queue name × Q, then per task:
--       id, queue (1..Q), stream (1..3Q), body of Submitted, type, priority, limits, 'ready' | 'later',
--       delay ms, run-at ms (0 = none), payload for the ready entry, payload for the data key,
--       expires-in ms (0 = never), hash of the unique key, hash of the body under the idempotency key,
--       traceparent (empty: none)
-- Returns per task: {'accepted' | 'repeated', first position}
--       {'same' | 'conflict', id} the idempotency key was used, with the same body or another
--       {'duplicate', id} another task holds the unique key; {'full', length} the queue is;
--       {'over', 0} Redis' memory is; {'crowded', 0} there are as many queues as may be, and this would be one more
local log, due, tick, meta, expiry, directory = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local queues, most, most_queues = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local out, length, known = {}, {}, {}
-- A queue begins with the first task that is taken into it.
local function is_crowded(q)
  if most_queues == 0 then return false end
  if known[q] == nil then known[q] = redis.call('ZSCORE', directory, ARGV[3 + q]) and true or false end
  return not known[q] and redis.call('ZCARD', directory) >= most_queues
end
local noted = {}
local function note(q)
  if not noted[q] then
    redis.call('ZADD', directory, 0, ARGV[3 + q])
    noted[q], known[q] = true, true
  end
end
-- Entries that no worker holds.
local function waiting(stream)
  local count = redis.call('XLEN', stream)
  if count == 0 then return 0 end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    for i = 1, #group, 2 do
      if group[i] == 'pending' then count = count - group[i + 1] end
    end
  end
  return math.max(0, count)
end
local function is_full(q)
  if most == 0 then return false end
  if not length[q] then
    length[q] = waiting(KEYS[4 + 3 * q]) + waiting(KEYS[5 + 3 * q]) + waiting(KEYS[6 + 3 * q])
      + parked_in(meta, ARGV[3 + q])
  end
  return length[q] >= most
end
local a, k = 3 + queues, 6 + 3 * queues
while ARGV[a + 1] do
  local id, q, record, unique, idem = ARGV[a + 1], tonumber(ARGV[a + 2]), KEYS[k + 1], KEYS[k + 3], KEYS[k + 4]
  local used = idem ~= record and redis.call('GET', idem)
  local first = redis.call('HGET', record, 'o')
  local holder = unique ~= record and redis.call('GET', unique)
  if first then
    out[#out + 1] = {'repeated', first}
  elseif used and string.sub(used, 28) ~= ARGV[a + 15] then
    out[#out + 1] = {'conflict', string.sub(used, 1, 26)}
  elseif used then
    out[#out + 1] = {'same', string.sub(used, 1, 26)}
  elseif holder then
    out[#out + 1] = {'duplicate', holder}
  elseif most == -1 then
    out[#out + 1] = {'over', 0}
  elseif is_crowded(q) then
    out[#out + 1] = {'crowded', 0}
  elseif is_full(q) then
    out[#out + 1] = {'full', length[q]}
  else
    local kind, stored = ARGV[a + 5], ARGV[a + 12]
    local position = append(log, 'Submitted.1', id, 1, '', ARGV[a + 4])
    note(q)
    if stored ~= '' then redis.call('SET', KEYS[k + 2], stored) end
    local at = ms_of(position)
    if ARGV[a + 8] == 'ready' then
      local work = make_ready(KEYS[6 + ARGV[a + 3]], id, kind, '', ARGV[a + 11])
      if length[q] then length[q] = length[q] + 1 end
      redis.call('HSET', record, 's', 'pending', 'v', 1, 'e', position, 'o', position, 'w', work,
        'q', ARGV[3 + q], 't', kind, 'p', ARGV[a + 6], 'r', ARGV[a + 7])
    else
      at = math.max(at + ARGV[a + 9], tonumber(ARGV[a + 10]))
      redis.call('ZADD', due, at, id)
      redis.call('HSET', record, 's', 'scheduled', 'v', 1, 'e', position, 'o', position, 'd', at,
        'q', ARGV[3 + q], 't', kind, 'p', ARGV[a + 6], 'r', ARGV[a + 7])
      tick_if_next(due, tick, id)
    end
    if ARGV[a + 13] ~= '0' then
      redis.call('HSET', record, 'y', at + ARGV[a + 13])
      redis.call('ZADD', expiry, at + ARGV[a + 13], id)
    end
    if ARGV[a + 16] ~= '' then redis.call('HSET', record, 'T', ARGV[a + 16]) end
    if unique ~= record then
      redis.call('SET', unique, id)
      redis.call('HSET', record, 'u', ARGV[a + 14])
    end
    if idem ~= record then redis.call('SET', idem, id .. ' ' .. ARGV[a + 15], 'PX', 86400000) end
    out[#out + 1] = {'accepted', position}
  end
  a, k = a + 16, k + 4
end
return out
