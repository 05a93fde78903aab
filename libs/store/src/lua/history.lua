-- history: walks tasks' events along their back-links, newest first, as far as the budget goes.
-- KEYS  log, then per task: record
-- ARGV  most events in all, then per task: position to begin at ('' = the record's latest)
-- Returns per task: {record as flat pairs, entries as XRANGE gives them, where to go on ('' = nowhere)}
local out, left = {}, tonumber(ARGV[1])
for i = 2, #KEYS do
  local record = redis.call('HGETALL', KEYS[i])
  local at, entries = ARGV[i], {}
  if at == '' then
    for f = 1, #record, 2 do
      if record[f] == 'e' then at = record[f + 1] end
    end
  end
  while at ~= '' and left > 0 do
    local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
    left = left - 1
    -- A missing link: the log was cut there.
    if not entry then at = '' break end
    entries[#entries + 1] = entry
    at = entry[2][8] or ''
  end
  out[#out + 1] = {record, entries, at}
end
return out
