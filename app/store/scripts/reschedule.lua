-- Sends deliveries again, whatever their state: at once, or spread out from a time on.
-- KEYS  retries, dead, redeliveries, changes
-- ARGV  tag, changes_max, start_ms (0: at once), gap_ms, packed time, delivery id…
-- Returns how many were scheduled. One that is in a stream already is on its way: not counted.
-- Derived keys, all with the same tag: outcomes, tally, parked.
local tag, start, gap = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local scheduled = 0
for i = 6, #ARGV do
  local delivery = ARGV[i]
  local post, version, slice, id = string.match(delivery, '^(%w+)%-(%d+)%-(%d+)%-(%w+)$')
  local outcomes = 'outcomes:' .. tag .. ':' .. post .. ':' .. version .. ':' .. slice
  local record = redis.call('HGET', outcomes, id)
  if record then
    local state, attempts, rest = string.match(record, '^(%a)(%d+),([^,]*)')
    local here = false
    if state == 'p' or state == 'r' then
      here = redis.call('ZREM', KEYS[1], delivery) == 1
    elseif state == 'P' or state == 'R' then
      here = true
      redis.call('ZREM', 'parked:' .. tag .. ':' .. id, delivery)
    else
      here = true
      if state == 'x' then redis.call('ZREM', KEYS[2], delivery) end
    end
    if here then
      local new = (state == 'p' or state == 'P') and 'p' or 'r'
      local due = start + gap * scheduled
      if string.lower(state) ~= new then
        local tally = 'tally:' .. tag .. ':' .. post
        redis.call('HINCRBY', tally, state, -1)
        redis.call('HINCRBY', tally, new, 1)
        -- What was final starts its schedule again: the sixth field is the attempts before.
        record = new .. attempts .. ',' .. rest .. ',' .. ARGV[5] .. ',,,' .. attempts
      else
        record = new .. string.sub(record, 2)
      end
      redis.call('HSET', outcomes, id, record)
      if start == 0 then
        redis.call('XADD', KEYS[3], '*', 'd', delivery)
      else
        redis.call('ZADD', KEYS[1], due, delivery)
      end
      scheduled = scheduled + 1
    end
  end
end
if scheduled > 0 and start > 0 then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[2], '*', 'w', '1')
end
return scheduled
