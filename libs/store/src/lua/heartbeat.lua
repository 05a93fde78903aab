-- heartbeat: renews the lease of what the record says the caller holds. FORCE heals a group that
-- was made anew; JUSTID resets the idle time and counts no delivery.
-- KEYS  ready stream × S, then per task: record
-- ARGV  group, consumer, S, then per task: stream (1..S), entry, attempt, holder
-- Returns per task: 'held' | 'cancelling' (held, and a person asked to cancel it) | 'lost'
local streams = tonumber(ARGV[3])
local out, held, a, k = {}, {}, 3, streams
while ARGV[a + 1] do
  local r = redis.call('HMGET', KEYS[k + 1], 's', 'a', 'h', 'x')
  if r[1] == 'processing' and r[2] == ARGV[a + 3] and r[3] == ARGV[a + 4] then
    local s = tonumber(ARGV[a + 1])
    local list = held[s] or {}
    held[s] = list
    list[#list + 1] = ARGV[a + 2]
    out[#out + 1] = r[4] and 'cancelling' or 'held'
  else
    out[#out + 1] = 'lost'
  end
  a, k = a + 4, k + 1
end
for s, list in pairs(held) do
  list[#list + 1] = 'FORCE'
  list[#list + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[s], ARGV[1], ARGV[2], 0, unpack(list))
end
return out
