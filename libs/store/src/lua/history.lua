-- history: walks tasks' events along their back-links, newest first, as far as the budget goes.
-- KEYS  log, base, then per task: record
-- ARGV  most events in all, then per task: position to begin at ('' = the record's latest), id
-- Returns {position of the base, {record as flat pairs, entries as XRANGE gives them, where to go on
--       ('' = nowhere), the task in the base ('' = its events reach back to the first, or it has none)} …}
local out, left = { redis.call('HGET', KEYS[2], 'position') or '0-0' }, tonumber(ARGV[1])
for i = 3, #KEYS do
  local record = redis.call('HGETALL', KEYS[i])
  local at, entries, base = ARGV[2 * i - 4], {}, ''
  if at == '' then
    for f = 1, #record, 2 do
      if record[f] == 'e' then at = record[f + 1] end
    end
  end
  while at ~= '' and left > 0 do
    local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
    left = left - 1
    -- A missing link: the log was cut there.
    if not entry then
      at, base = '', redis.call('HGET', KEYS[2], ARGV[2 * i - 3]) or ''
      break
    end
    entries[#entries + 1] = entry
    at = entry[2][8] or ''
  end
  out[#out + 1] = {record, entries, at, base}
end
return out
