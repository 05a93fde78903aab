-- view_content: reads whole view keys together with the checkpoint at which they stand. Changes nothing.
-- KEYS  checkpoint, view keys
-- ARGV  none
-- Returns {checkpoint, flat pairs per hash, members each followed by '' per sorted set}
local out = { redis.call('GET', KEYS[1]) or '0-0' }
for i = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind == 'hash' then
    out[i] = redis.call('HGETALL', KEYS[i])
  else
    local flat = {}
    if kind == 'zset' then
      for j, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
        flat[2 * j - 1] = member
        flat[2 * j] = ''
      end
    end
    out[i] = flat
  end
end
return out
