-- Sends deliveries again, whatever their state: at once, or spread out from a time on.
-- KEYS  retries, dead, redeliveries, changes, shift
-- ARGV  tag, changes_max, start_ms (0: at once), gap_ms, packed time, delivery id…
-- Returns {scheduled, forgotten}. One that is in a stream already is on its way: not counted. One
-- whose record is gone, because its retention is over, is taken out of wherever it still stood.
-- Either way it is in no set of dead or parked ones afterwards.
-- Derived keys, all with the same tag: outcomes, tally, parked.
local tag, start, gap = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
-- Times are the wall clock's; the schedule goes on when that is set, and is behind it by so much.
local shift = start > 0 and tonumber(redis.call('GET', KEYS[5]) or 0) or 0
local scheduled, forgotten = 0, 0

-- Takes a delivery out of every place it can stand at; true when it stood at one.
local function take_out(delivery, endpoint)
  return redis.call('ZREM', KEYS[1], delivery)
    + redis.call('ZREM', KEYS[2], delivery)
    + redis.call('ZREM', 'parked:' .. tag .. ':' .. endpoint, delivery) > 0
end

-- Its record as one that is on its way, and the state it has in that.
local function renew(record, due)
  local state, attempts, status, error, base =
    string.match(record, '^(%a)(%d+),(%d*),%x*,?([^,]*),?%x*,?(%d*)$')
  local new = string.lower(state)
  if new ~= 'p' and new ~= 'r' then
    -- What was final starts its schedule again: the last field is the attempts before.
    new = attempts == '0' and 'p' or 'r'
    error, base = '', attempts
  end
  local at = due > 0 and string.format('%x', due) or ''
  local fields = table.concat({new .. attempts, status, ARGV[5], error, at, base}, ',')
  return new, (string.gsub(fields, ',+$', ''))
end

for i = 6, #ARGV do
  local delivery = ARGV[i]
  local post, version, slice, id = string.match(delivery, '^(%w+)%-(%d+)%-(%d+)%-(%w+)$')
  local outcomes = 'outcomes:' .. tag .. ':' .. post .. ':' .. version .. ':' .. slice
  local record = redis.call('HGET', outcomes, id)
  local stood = take_out(delivery, id)
  local state = record and string.sub(record, 1, 1)
  if not record then
    if stood then
      forgotten = forgotten + 1
    end
  elseif stood or (state ~= 'p' and state ~= 'r') then
    local due = start > 0 and start + gap * scheduled or 0
    local new, renewed = renew(record, due)
    redis.call('HSET', outcomes, id, renewed)
    if string.lower(state) ~= new then
      local tally = 'tally:' .. tag .. ':' .. post
      redis.call('HINCRBY', tally, state, -1)
      redis.call('HINCRBY', tally, new, 1)
    end
    if start == 0 then
      redis.call('XADD', KEYS[3], '*', 'd', delivery)
    else
      redis.call('ZADD', KEYS[1], due - shift, delivery)
    end
    scheduled = scheduled + 1
  end
end
if scheduled > 0 and start > 0 then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[2], '*', 'w', '1')
end
return {scheduled, forgotten}
