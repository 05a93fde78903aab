-- pause: sets or clears the pause flag of queues. Partition 0 decides and its event's position is
-- the epoch; the other partitions take only a higher epoch, so that they end as partition 0 did.
-- KEYS  log, meta, queues
-- ARGV  per queue: queue, 'QueuePaused.1' | 'QueueResumed.1', nonce, epoch ('' on partition 0), body
-- Returns per queue: {'done' | 'repeated' | 'unchanged' (it is so already), epoch}
local log, meta = KEYS[1], KEYS[2]
allow_when_full(log)
-- Whether a position is at or behind another.
local function reaches(a, b)
  if ms_of(a) ~= ms_of(b) then return ms_of(a) > ms_of(b) end
  return tonumber(string.match(a, '%d+$')) >= tonumber(string.match(b, '%d+$'))
end
local out, a = {}, 0
while ARGV[a + 1] do
  local queue, kind, nonce, epoch = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local r = redis.call('HMGET', meta, 'pause:' .. queue, 'epoch:' .. queue, 'version:' .. queue, 'last:' .. queue, 'nonce:' .. queue)
  local wanted = kind == 'QueuePaused.1'
  local current = r[2] or ''
  local older = epoch ~= '' and current ~= '' and reaches(current, epoch)
  if r[5] == nonce or older then
    out[#out + 1] = {'repeated', current}
  elseif epoch == '' and (r[1] and true or false) == wanted then
    out[#out + 1] = {'unchanged', current}
  else
    local version = (r[3] or 0) + 1
    local position = append(log, kind, 'q:' .. queue, version, r[4] or '', ARGV[a + 5])
    if epoch == '' then
      epoch = position
      -- Learned from another partition, whose clock was ahead: what is decided now comes behind it all the same.
      if current ~= '' and reaches(current, position) then
        local ms, seq = string.match(current, '^(%d+)-(%d+)$')
        epoch = ms .. '-' .. string.format('%.0f', seq + 1)
      end
    end
    redis.call('HSET', meta, 'epoch:' .. queue, epoch, 'version:' .. queue, version, 'last:' .. queue, position,
      'nonce:' .. queue, nonce)
    redis.call('ZADD', KEYS[3], 0, queue)
    if wanted then redis.call('HSET', meta, 'pause:' .. queue, epoch) else redis.call('HDEL', meta, 'pause:' .. queue) end
    out[#out + 1] = {'done', epoch}
  end
  a = a + 5
end
return out
