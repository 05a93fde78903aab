-- Stands before every script.
-- One event per change: five fields in fixed order, so that Redis stores their names once per node. The migration makes
-- the log, and nothing takes it away but who empties Redis: then no task may begin a log of its own.
local function append(log, kind, id, version, previous, body)
  local position = redis.call('XADD', log, 'NOMKSTREAM', '*', 't', kind, 'i', id, 'n', version, 'b', previous, 'd', body)
  if not position then error('LAYOUTGONE the log is gone') end
  return position
end
-- The time of an event is the first half of its position.
local function ms_of(position)
  return tonumber(string.match(position, '^%d+'))
end
-- Time that a clock stepped back cannot reverse: the later of the server's clock and the log's end.
local function now_ms(log)
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if last then return math.max(now, ms_of(last[1])) end
  -- Retention has cut all of it: the stream itself still knows its last position.
  if redis.call('EXISTS', log) == 1 then
    local about = redis.call('XINFO', 'STREAM', log)
    for i = 1, #about, 2 do
      if about[i] == 'last-generated-id' then now = math.max(now, ms_of(about[i + 1])) end
    end
  end
  return now
end
-- A write that is allowed when memory is full and changes nothing: as the first write of a script
-- it lets the others pass, so that a full queue drains.
local function allow_when_full(log)
  redis.call('XACK', log, '-', '0-0')
end
-- Wakes the scheduler if this task is now the next one due.
local function tick_if_next(due, tick, id)
  if redis.call('ZRANGE', due, 0, 0)[1] == id then
    redis.call('RPUSH', tick, '1')
    redis.call('LTRIM', tick, 0, 0)
  end
end
-- A ready entry: id, type, since (empty where the entry's own time is it), payload where it is at hand, and how
-- many workers died with the task, where any did: with two, a worker takes it with care.
local function make_ready(stream, id, kind, since, data, losses)
  if losses and tonumber(losses) > 0 then
    return redis.call('XADD', stream, '*', 'i', id, 't', kind, 's', since, 'd', data, 'l', losses)
  end
  return redis.call('XADD', stream, '*', 'i', id, 't', kind, 's', since, 'd', data)
end
-- Since when an entry waits, and its payload. The entry may be gone: then the caller's default.
local function read_entry(stream, entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if not found then return '', '' end
  local f = found[2]
  local since, data = f[6] or '', f[8] or ''
  if since == '' then since = string.format('%.0f', ms_of(entry)) end
  return since, data
end
local function drop_entry(stream, group, entry)
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end
-- How many tasks of a queue are parked, whatever their types: kept beside the sets, for the limit of the queue.
local function parked_in(meta, queue)
  return math.max(0, tonumber(redis.call('HGET', meta, 'parked:' .. queue) or 0))
end
local function count_parked(meta, queue, by)
  if by ~= 0 and redis.call('HINCRBY', meta, 'parked:' .. queue, by) <= 0 then
    redis.call('HDEL', meta, 'parked:' .. queue)
  end
end
-- Frees a unique key, if this task holds it. A task without one passes its record's key.
local function free_unique(unique, record, id)
  if unique ~= record and redis.call('GET', unique) == id then redis.call('DEL', unique) end
end
-- Writes views: operations to the end of ARGV, each of code, key (1 = the one after `keys`), count of
-- arguments, arguments. 'Z' ZADD (score, member)… · 'z' ZREM member… · 'H' HSET (field, value)… ·
-- 'h' HDEL field… · 'I' HINCRBY field, delta · 'R' ZREMRANGEBYLEX from, to
local function write_views(keys, a)
  local commands = {Z = 'ZADD', z = 'ZREM', H = 'HSET', h = 'HDEL', I = 'HINCRBY', R = 'ZREMRANGEBYLEX'}
  while ARGV[a] do
    local count = tonumber(ARGV[a + 2])
    local key = KEYS[keys + ARGV[a + 1]]
    local now = redis.call(commands[ARGV[a]], key, unpack(ARGV, a + 3, a + 2 + count))
    -- A count of nothing is no count: names that are no more leave nothing behind.
    if ARGV[a] == 'I' and now == 0 then redis.call('HDEL', key, ARGV[a + 3]) end
    a = a + 3 + count
  end
end
