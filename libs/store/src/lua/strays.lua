-- strays: of entries of a queue or set, those that their task's record does not name and that still
-- stand there. Changes nothing.
-- KEYS  queue or set, then per entry: record
-- ARGV  'due' | 'expiry' | 'parked' | 'ready' | 'dead', then per entry: entry (streams only), id
-- Returns indexes (1..) of the stray ones
local kind, out = ARGV[1], {}
for i = 1, #KEYS - 1 do
  local entry, id = ARGV[2 * i], ARGV[2 * i + 1]
  local r = redis.call('HMGET', KEYS[1 + i], 's', 'w', 'a')
  local status, work = r[1], r[2]
  local named, stands
  if kind == 'ready' or kind == 'dead' then
    named = work == entry and (status == 'failed') == (kind == 'dead')
      and (kind == 'dead' or status == 'pending' or status == 'processing')
    stands = not named and #redis.call('XRANGE', KEYS[1], entry, entry) == 1
  else
    if kind == 'due' then named = status == 'scheduled' or status == 'retrying'
    elseif kind == 'parked' then named = status == 'pending' and work == 'parked'
    else named = (status == 'scheduled' or status == 'pending') and not r[3] end
    stands = not named and redis.call('ZSCORE', KEYS[1], id)
  end
  if stands then out[#out + 1] = i end
end
return out
