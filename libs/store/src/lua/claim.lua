-- claim: takes entries for a consumer, never more than n in all (COUNT counts per stream).
-- Each stream first gives its share of the lottery; what is left over goes down the order.
-- KEYS  ready streams in lottery order
-- ARGV  group, consumer, n, share per stream
-- Returns {stream (1..), entries} per read that found something
local left, out, full = tonumber(ARGV[3]), {}, {}
local function read(i, want)
  if want <= 0 then return end
  local got = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', want, 'STREAMS', KEYS[i], '>')
  if got and got[1] then
    local entries = got[1][2]
    left = left - #entries
    full[i] = #entries == want
    out[#out + 1] = {i, entries}
  end
end
for i = 1, #KEYS do
  local share = tonumber(ARGV[3 + i])
  full[i] = share == 0
  read(i, math.min(share, left))
end
for i = 1, #KEYS do
  if full[i] then read(i, left) end
end
return out
