-- reclaim: takes tasks from workers that said nothing for a lease. XCLAIM is the compare-and-swap:
-- it answers the entry only if it is still idle for so long. The lease is the one the worker
-- wrote into the record; for an entry that was never started, the caller's.
-- KEYS  log, ready stream × S, dead-letter stream × S, expiry, then per task: record, data,
--       unique key (its record where it has none)
-- ARGV  group, consumer, lease ms, retention ms, S, then per task:
--       id, stream (1..S), entry, expected status, expected attempt, expected holder, expected losses,
--       '1' if being cancelled, 'Q' requeue | 'D' dead | 'K' cancelled, body of LeaseExpired or DeadLettered
-- Returns per task: 'done' | 'busy' (not idle long enough) | 'changed' (decide again) | 'stale' (entry removed)
local log, group, streams = KEYS[1], ARGV[1], tonumber(ARGV[5])
allow_when_full(log)
local out, a, k = {}, 5, 2 + 2 * streams
while ARGV[a + 1] do
  local id, s, entry, record = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3], KEYS[k + 1]
  local stream = KEYS[1 + s]
  local r = redis.call('HMGET', record, 's', 'v', 'e', 'w', 'a', 'h', 'l', 'x', 't', 'L')
  local named = r[4] == entry and (r[1] == 'pending' or r[1] == 'processing')
  local expected = r[1] == ARGV[a + 4] and (r[5] or '0') == ARGV[a + 5] and (r[7] or '0') == ARGV[a + 7]
    and (r[1] == 'pending' or ((r[6] or '') == ARGV[a + 6] and (r[8] or '0') == ARGV[a + 8]))
  -- A cancel request makes every loss the end, and never a dead letter.
  local fits = (ARGV[a + 9] == 'K') == (r[1] == 'processing' and r[8] ~= false)
  if named and not (expected and fits) then
    out[#out + 1] = 'changed'
  else
    local lease = ARGV[3]
    if named and r[1] == 'processing' then lease = r[10] end
    if #redis.call('XCLAIM', stream, group, ARGV[2], lease, entry, 'JUSTID') == 0 then
      out[#out + 1] = 'busy'
    elseif not named then
      drop_entry(stream, group, entry)
      out[#out + 1] = 'stale'
    else
      local since, data = read_entry(stream, entry)
      drop_entry(stream, group, entry)
      local version, mode, losses = r[2] + 1, ARGV[a + 9], (r[7] or 0) + 1
      if mode ~= 'Q' then free_unique(KEYS[k + 3], record, id) end
      if mode ~= 'Q' and not r[5] then redis.call('ZREM', KEYS[2 + 2 * streams], id) end
      if mode == 'D' then
        local position = append(log, 'DeadLettered.1', id, version, r[3], ARGV[a + 10])
        local work = redis.call('XADD', KEYS[1 + streams + s], '*', 'i', id, 'e', position)
        redis.call('HSET', record, 's', 'failed', 'v', version, 'e', position, 'w', work, 'h', '')
      else
        local position = append(log, 'LeaseExpired.1', id, version, r[3], ARGV[a + 10])
        if mode == 'K' then
          redis.call('HSET', record, 's', 'cancelled', 'v', version, 'e', position, 'l', losses, 'h', '')
          redis.call('PEXPIRE', record, ARGV[4])
          redis.call('PEXPIRE', KEYS[k + 2], ARGV[4])
        else
          redis.call('HSET', record, 's', 'pending', 'v', version, 'e', position, 'l', losses, 'h', '',
            'w', make_ready(stream, id, r[9], since, data, losses))
        end
      end
      out[#out + 1] = 'done'
    end
  end
  a, k = a + 10, k + 3
end
return out
