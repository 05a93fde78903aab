-- history: walks tasks' events along their back-links, newest first.
-- KEYS  log, then per task: record
-- ARGV  most events per task, then per task: position to begin at ('' = the record's latest)
-- Returns per task: {record as flat pairs, entries as XRANGE gives them}
local out, most = {}, tonumber(ARGV[1])
for i = 2, #KEYS do
  local record = redis.call('HGETALL', KEYS[i])
  local at, entries = ARGV[i], {}
  if at == '' then
    for f = 1, #record, 2 do
      if record[f] == 'e' then at = record[f + 1] end
    end
  end
  while at ~= '' and #entries < most do
    local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
    if not entry then break end
    entries[#entries + 1] = entry
    at = entry[2][8] or ''
  end
  out[#out + 1] = {record, entries}
end
return out
