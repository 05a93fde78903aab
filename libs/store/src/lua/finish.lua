-- finish: settles attempts, fenced by (attempt, holder). The same settlement again answers
-- 'repeated'; one by a worker that lost the task is refused, once with an event.
-- A task may stand in a batch twice, by an old and by its present attempt; one attempt, once.
-- KEYS  log, due, tick, ready stream × S, dead-letter stream × S (of the same queue), then per task: record, data, result,
--       unique key (its record where it has none)
-- ARGV  group, retention ms, S, then per task:
--       id, stream (1..S), attempt, holder,
--       'C' completed | 'F' failed, to be retried | 'D' dead | 'K' failed while being cancelled,
--       body of the event, delay ms (F), result for the result key
--       'K' needs a cancel request and 'F' and 'D' need none: otherwise the caller must decide again
-- Returns per task: 'done' | 'repeated' | 'late' (refused) | 'gone' (no record) | 'changed' (decide again)
local log, due, tick = KEYS[1], KEYS[2], KEYS[3]
local group, retention, streams = ARGV[1], ARGV[2], tonumber(ARGV[3])
allow_when_full(log)
local out, accepted, entries = {}, {}, {}
local a, k, n = 3, 3 + 2 * streams, 0
while ARGV[a + 1] do
  n = n + 1
  local record, attempt, holder, mode = KEYS[k + 1], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'a', 'h', 'x', 'f', 'k', 'z')
  local mine = r[5] == attempt and r[6] == holder
  if not r[1] then
    out[n] = 'gone'
  elseif r[1] == 'processing' and mine then
    if mode ~= 'C' and (mode == 'K') ~= (r[7] ~= false) then
      out[n] = 'changed'
    else
      local s = tonumber(ARGV[a + 2])
      local list = entries[s] or {}
      entries[s] = list
      list[#list + 1] = r[4]
      accepted[n] = r
      out[n] = 'done'
    end
  elseif mine or r[9] == attempt .. ':' .. holder then
    out[n] = 'repeated'
  else
    out[n] = 'late'
  end
  a, k = a + 8, k + 4
end
for s, list in pairs(entries) do
  redis.call('XACK', KEYS[3 + s], group, unpack(list))
  redis.call('XDEL', KEYS[3 + s], unpack(list))
end
a, k = 3, 3 + 2 * streams
for i = 1, n do
  local r = accepted[i]
  if r then
    local id, record, mode, body = ARGV[a + 1], KEYS[k + 1], ARGV[a + 5], ARGV[a + 6]
    local version, ends = r[2] + 1, true
    if mode == 'C' then
      local position = append(log, 'Completed.1', id, version, r[3], body)
      redis.call('HSET', record, 's', 'completed', 'v', version, 'e', position)
      if ARGV[a + 8] ~= '' then redis.call('SET', KEYS[k + 3], ARGV[a + 8], 'PX', retention) end
    elseif mode == 'D' then
      local position = append(log, 'DeadLettered.1', id, version, r[3], body)
      local work = redis.call('XADD', KEYS[3 + streams + ARGV[a + 2]], '*', 'i', id, 'e', position)
      redis.call('HSET', record, 's', 'failed', 'v', version, 'e', position, 'w', work, 'k', ARGV[a + 3] .. ':' .. ARGV[a + 4])
      ends = false
    else
      local position = append(log, 'AttemptFailed.1', id, version, r[3], body)
      if mode == 'K' then
        redis.call('HSET', record, 's', 'cancelled', 'v', version, 'e', position, 'f', (r[8] or 0) + 1)
      else
        local at = ms_of(position) + ARGV[a + 7]
        redis.call('ZADD', due, at, id)
        redis.call('HSET', record, 's', 'retrying', 'v', version, 'e', position, 'w', '', 'f', (r[8] or 0) + 1,
          'd', at, 'k', ARGV[a + 3] .. ':' .. ARGV[a + 4])
        tick_if_next(due, tick, id)
        ends = false
      end
    end
    if ends or mode == 'D' then free_unique(KEYS[k + 4], record, id) end
    if ends then
      redis.call('PEXPIRE', record, retention)
      redis.call('PEXPIRE', KEYS[k + 2], retention)
    end
  end
  a, k = a + 8, k + 4
end
-- Refusals last, each from the record as it is then: an old attempt may stand beside the present one.
a, k = 3, 3 + 2 * streams
for i = 1, n do
  local record, attempt, holder = KEYS[k + 1], ARGV[a + 3], ARGV[a + 4]
  if out[i] == 'late' and redis.call('HSETNX', record, 'z' .. attempt .. ':' .. holder, '1') == 1 then
    local r = redis.call('HMGET', record, 'v', 'e', 'q')
    local outcome = ARGV[a + 5] == 'C' and 'completed' or 'failed'
    local body = '{"attempt":' .. attempt .. ',"holder":"' .. holder .. '","queue":"' .. r[3] .. '","outcome":"' .. outcome .. '"}'
    local position = append(log, 'LateCompletionRefused.1', ARGV[a + 1], r[1] + 1, r[2], body)
    redis.call('HSET', record, 'v', r[1] + 1, 'e', position)
  end
  a, k = a + 8, k + 4
end
return out
