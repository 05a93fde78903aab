-- swap_views: puts rebuilt views with their checkpoint in the place of the live ones.
-- KEYS  live checkpoint, rebuilt checkpoint, then by turns: live view, rebuilt view
-- ARGV  expected live checkpoint, expected rebuilt checkpoint
-- Returns {'swapped' | 'moved' | 'gone', live checkpoint}
local live = redis.call('GET', KEYS[1]) or '0-0'
-- Gone: another rebuild began, or this is the repeat of a call whose reply was lost.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return {'gone', live} end
if live ~= ARGV[1] then return {'moved', live} end
for i = 3, #KEYS, 2 do
  redis.call('UNLINK', KEYS[i])
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then redis.call('RENAME', KEYS[i + 1], KEYS[i]) end
end
redis.call('RENAME', KEYS[2], KEYS[1])
return {'swapped', ARGV[2]}
