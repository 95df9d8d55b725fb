-- Writes what became of deliveries: ledger, tally, attempt log, and their next place; then
-- acknowledges the stream entries that are done.
-- KEYS  lease, retries, dead, deliveries, redeliveries, probes, batch, endpoint states
-- ARGV  token, group, tag, now_ms, retention_s, log_max, parked_max, dead_max, batch (msgpack),
--       packed time (now, as records hold it), batch id; the batch is
--   {slices, done, redone, health}
--   slices  {{post, version, slice, {{endpoint, attempts, state, record, due_ms, log}, …}}, …}
--           attempts: made so far, this one included; log: '' when no request was made
--   done    entry ids of `deliveries` to acknowledge; redone those of `redeliveries`
--   health  {{endpoint, {field, value, …}, probe_ms}, …}
--           probe_ms: when to look after the endpoint next, 0: no more, -1: as it is
-- Returns {accepted, refused, dropped to dead for a full list, next due_ms or ''}.
-- Derived keys, all with the same tag: outcomes, tally, attempts, parked, endpoint.
--
-- A batch whose answer was lost comes again under its id and is not written twice.
--
-- The fence: the holder of the lease alone decides where a delivery goes next. An outcome from a
-- former holder counts only if it says "delivered", which is true whoever says it.
local owner = redis.call('GET', KEYS[1]) == ARGV[1]
local tag, now, retention = ARGV[3], ARGV[4], ARGV[5]
local log_max, parked_max, dead_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function next_due()
  return redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or ''
end
if redis.call('GET', KEYS[7]) == ARGV[11] then
  return {0, 0, 0, next_due()}
end
redis.call('SET', KEYS[7], ARGV[11], 'EX', retention)
local batch = cmsgpack.unpack(ARGV[9])
local accepted, refused, dropped = 0, 0, 0

local function keep_dead_bounded()
  local over = redis.call('ZCARD', KEYS[3]) - dead_max
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, over - 1)
    dropped = dropped + over
  end
end

-- The oldest delivery of a full parked list becomes a dead letter.
local function keep_parked_bounded(parked)
  while redis.call('ZCARD', parked) > parked_max do
    local delivery = redis.call('ZPOPMIN', parked)[1]
    local place, endpoint = string.match(delivery, '^(.*)%-(%w+)$')
    local post, version, slice = string.match(place, '^(%w+)%-(%d+)%-(%d+)$')
    local outcomes = 'outcomes:' .. tag .. ':' .. post .. ':' .. version .. ':' .. slice
    local record = redis.call('HGET', outcomes, endpoint)
    if record then
      local state, rest = string.sub(record, 1, 1), string.match(record, '^%a([^,]*,[^,]*)')
      local tally = 'tally:' .. tag .. ':' .. post
      redis.call('HSET', outcomes, endpoint, 'x' .. rest .. ',' .. ARGV[10] .. ',parked_full')
      redis.call('HINCRBY', tally, string.lower(state), -1)
      redis.call('HINCRBY', tally, 'x', 1)
      redis.call('ZADD', KEYS[3], now, delivery)
    end
    dropped = dropped + 1
  end
end

local final = {d = true, x = true, s = true, c = true}
for _, slice in ipairs(batch[1]) do
  local post, version, number, rows = slice[1], slice[2], slice[3], slice[4]
  local prefix = post .. '-' .. version .. '-' .. number .. '-'
  local outcomes = 'outcomes:' .. tag .. ':' .. post .. ':' .. version .. ':' .. number
  local tally = 'tally:' .. tag .. ':' .. post
  local fields = {}
  for i, row in ipairs(rows) do
    fields[i] = row[1]
  end
  local olds = redis.call('HMGET', outcomes, unpack(fields))
  local change, writes = {}, {}
  for i, row in ipairs(rows) do
    local id, attempts, state, record, due, log = row[1], row[2], row[3], row[4], row[5], row[6]
    local old, old_attempts = nil, 0
    if olds[i] then
      old, old_attempts = string.match(olds[i], '^(%a)(%d+)')
      old_attempts = tonumber(old_attempts)
    end
    local ok
    if state == 'd' then
      ok = old ~= 'd'
    elseif not owner or final[old] then
      ok = false
    else
      ok = attempts >= old_attempts
    end
    if ok then
      accepted = accepted + 1
      local delivery = prefix .. id
      writes[#writes + 1] = id
      writes[#writes + 1] = record
      if old then
        local gone = string.lower(old)
        change[gone] = (change[gone] or 0) - 1
        if state == 'd' then
          -- Wherever a stale outcome had put it, delivered is the end of it.
          redis.call('ZREM', KEYS[2], delivery)
          if old == 'x' then redis.call('ZREM', KEYS[3], delivery) end
          if old == 'P' or old == 'R' then
            redis.call('ZREM', 'parked:' .. tag .. ':' .. id, delivery)
          end
        end
      end
      local came = string.lower(state)
      change[came] = (change[came] or 0) + 1
      if state == 'r' or state == 'p' then
        redis.call('ZADD', KEYS[2], due, delivery)
      elseif state == 'x' then
        redis.call('ZADD', KEYS[3], now, delivery)
      elseif state == 'P' or state == 'R' then
        local parked = 'parked:' .. tag .. ':' .. id
        redis.call('ZADD', parked, now, delivery)
        keep_parked_bounded(parked)
      end
    else
      refused = refused + 1
    end
    if log ~= '' then
      local key = 'attempts:' .. tag .. ':' .. id
      -- Trimmed in steps: a trim for every attempt would double the cost of the log.
      local length = redis.call('LPUSH', key, log)
      if length == 1 or length > log_max + 16 then
        redis.call('LTRIM', key, 0, log_max - 1)
        redis.call('EXPIRE', key, retention)
      end
    end
  end
  if #writes > 0 then
    redis.call('HSET', outcomes, unpack(writes))
    redis.call('EXPIRE', outcomes, retention, 'NX')
    for state, by in pairs(change) do
      if by ~= 0 then
        redis.call('HINCRBY', tally, state, by)
      end
    end
    redis.call('EXPIRE', tally, retention, 'NX')
  end
end
keep_dead_bounded()

if owner then
  if #batch[2] > 0 then
    redis.call('XACK', KEYS[4], ARGV[2], unpack(batch[2]))
    redis.call('XDEL', KEYS[4], unpack(batch[2]))
  end
  if #batch[3] > 0 then
    redis.call('XACK', KEYS[5], ARGV[2], unpack(batch[3]))
    redis.call('XDEL', KEYS[5], unpack(batch[3]))
  end
  for _, update in ipairs(batch[4]) do
    local endpoint = 'endpoint:' .. tag .. ':' .. update[1]
    local before = redis.call('HGET', endpoint, 'state')
    if before then
      if #update[2] > 0 then
        redis.call('HSET', endpoint, unpack(update[2]))
        local after = redis.call('HGET', endpoint, 'state')
        if after ~= before then
          redis.call('HINCRBY', KEYS[8], before, -1)
          redis.call('HINCRBY', KEYS[8], after, 1)
        end
      end
      if update[3] > 0 then redis.call('ZADD', KEYS[6], update[3], update[1]) end
    end
    if update[3] == 0 then redis.call('ZREM', KEYS[6], update[1]) end
  end
end
return {accepted, refused, dropped, next_due()}
