-- reserve: holds an idempotency key whose task lives in another partition, before and after its submit.
-- KEYS  idempotency key
-- ARGV  id, hash of the body, 'before' | 'after' | 'refused' (what was held before is free again)
-- Returns {'mine' | 'reserved' (by an earlier try, to be finished under its id) | 'same' | 'conflict', id}
local used = redis.call('GET', KEYS[1])
if ARGV[3] == 'after' then
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', 86400000)
  return {'mine', ARGV[1]}
end
if ARGV[3] == 'refused' then
  if used == ARGV[1] .. '?' .. ARGV[2] then redis.call('DEL', KEYS[1]) end
  return {'mine', ARGV[1]}
end
if not used then
  redis.call('SET', KEYS[1], ARGV[1] .. '?' .. ARGV[2], 'PX', 86400000)
  return {'mine', ARGV[1]}
end
local id, mark, hash = string.sub(used, 1, 26), string.sub(used, 27, 27), string.sub(used, 28)
if hash ~= ARGV[2] then return {'conflict', id} end
return {mark == '?' and 'reserved' or 'same', id}
