-- swap_views: puts rebuilt views with their checkpoint in the place of the live ones.
-- KEYS  live checkpoint, rebuilt checkpoint, base, then by turns: live view, rebuilt view
-- ARGV  expected live checkpoint, expected rebuilt checkpoint, base that the rebuilt views began at
-- Returns {'swapped' | 'moved' | 'gone' | 'cut', live checkpoint}
local live = redis.call('GET', KEYS[1]) or '0-0'
-- Gone: another rebuild began, or this is the repeat of a call whose reply was lost.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return {'gone', live} end
-- Retention did not wait: what it has cut since may be missing, or stand where it must not.
if (redis.call('HGET', KEYS[3], 'position') or '0-0') ~= ARGV[3] then return {'cut', live} end
if live ~= ARGV[1] then return {'moved', live} end
for i = 4, #KEYS, 2 do
  redis.call('UNLINK', KEYS[i])
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then redis.call('RENAME', KEYS[i + 1], KEYS[i]) end
end
redis.call('RENAME', KEYS[2], KEYS[1])
return {'swapped', ARGV[2]}
