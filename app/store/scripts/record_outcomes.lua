#!lua flags=allow-oom
-- Writes what became of deliveries: ledger, tally, attempt log, and their next place; then
-- acknowledges the stream entries that are done.
-- KEYS  lease, retries, dead, deliveries, redeliveries, probes, batch, endpoint states
-- ARGV  token, group, tag, now_ms, retention_s, log_max, parked_max, dead_max, batch (msgpack),
--       packed time (now, as records hold it), batch id, log_ttl_s; the batch is
--   {slices, done, redone, health}
--   slices  {{post, version, slice, {{endpoint, attempts, state, record, due_ms, log, renew}, …}}, …}
--           attempts: made so far, this one included; log: '' when no request was made
--           renew: 1 when it is a quarter of the retention since the log's end was put off
--   done    entry ids of `deliveries` to acknowledge; redone those of `redeliveries`
--   health  {{endpoint, {field, value, …}, probe_ms, notice}, …}
--           probe_ms: when to look after the endpoint next, 0: no more, -1: as it is
--           notice: {post id, event, author, type, data, audience} or nothing; it is posted when
--           this batch disables the endpoint, in the same step: so once each time
-- Returns {accepted, refused, parked ones that became dead letters because their list was full,
-- dead letters dropped for the same reason, next due_ms or '', when to look after endpoints that
-- were woken, or ''}.
-- Derived keys, all with the same tag: outcomes, tally, attempts, parked, endpoint, post, posts.
--
-- An owner's batch whose answer was lost comes again under its id and is not written twice. What a
-- former owner may write can be written twice without harm, so its batches leave no id: the
-- owner's, which may have to come again, must not be forgotten for them.
--
-- What is parked by a sender that has not heard yet that its endpoint is active again would be set
-- free by nobody: that endpoint is woken, in the same step, and looked after at once.
--
-- The fence: the holder of the lease alone decides where a delivery goes next. An outcome from a
-- former holder counts only if it says "delivered", which is true whoever says it.
--
-- It runs in a full store too: nothing in hand would ever be put down otherwise, and
-- acknowledging is what makes room.
local owner = redis.call('GET', KEYS[1]) == ARGV[1]
local tag, now, retention = ARGV[3], ARGV[4], ARGV[5]
local log_max, parked_max, dead_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local PART = 1000 -- even: names and values stay together; Lua's stack takes 8,000 at once
local function next_due()
  return redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or ''
end
if redis.call('GET', KEYS[7]) == ARGV[11] then
  return {0, 0, 0, 0, next_due(), now}
end
if owner then
  redis.call('SET', KEYS[7], ARGV[11], 'EX', retention)
end
local batch = cmsgpack.unpack(ARGV[9])
local accepted, refused, unparked, dropped = 0, 0, 0, 0
local filled = {} -- parked lists that grew
local woken = {} -- endpoints that were active when something was parked for them

local function in_parts(list, call)
  for first = 1, #list, PART do
    call(first, math.min(first + PART - 1, #list))
  end
end

local function read_records(outcomes, rows)
  local endpoints, found = {}, {}
  for i, row in ipairs(rows) do
    endpoints[i] = row[1]
  end
  in_parts(endpoints, function(first, last)
    local part = redis.call('HMGET', outcomes, unpack(endpoints, first, last))
    for i = first, last do
      found[endpoints[i]] = part[i - first + 1]
    end
  end)
  return found
end

local function keep_log(endpoint, entry, renew)
  local key = 'attempts:' .. tag .. ':' .. endpoint
  local length = redis.call('LPUSH', key, entry)
  -- Trimmed in steps: a trim for every attempt would add to the cost of each.
  if length > log_max + 16 then
    redis.call('LTRIM', key, 0, log_max - 1)
  end
  -- Put off now and then: for every attempt it would cost as much as the attempt itself.
  if length == 1 or renew == 1 then
    redis.call('EXPIRE', key, ARGV[12])
  end
end

local final = {d = true, x = true, s = true, c = true}
local function may_become(state, attempts, old, old_attempts)
  if state == 'd' then
    return old ~= 'd'
  end
  return owner and not final[old] and attempts >= old_attempts
end

-- Takes a delivery out of wherever an earlier outcome, or a call, had put it.
local function take_out(old, endpoint, delivery)
  if old == 'p' or old == 'r' then
    redis.call('ZREM', KEYS[2], delivery)
  elseif old == 'x' then
    redis.call('ZREM', KEYS[3], delivery)
  elseif old == 'P' or old == 'R' then
    redis.call('ZREM', 'parked:' .. tag .. ':' .. endpoint, delivery)
  end
end

local function put(state, endpoint, delivery, due)
  if state == 'r' or state == 'p' then
    redis.call('ZADD', KEYS[2], due, delivery)
  elseif state == 'x' then
    redis.call('ZADD', KEYS[3], now, delivery)
  elseif state == 'P' or state == 'R' then
    local parked = 'parked:' .. tag .. ':' .. endpoint
    redis.call('ZADD', parked, now, delivery)
    redis.call('EXPIRE', parked, retention)
    filled[parked] = true
  end
end

local function record_slice(post, version, number, rows)
  local prefix = post .. '-' .. version .. '-' .. number .. '-'
  local outcomes = 'outcomes:' .. tag .. ':' .. post .. ':' .. version .. ':' .. number
  local tally = 'tally:' .. tag .. ':' .. post
  local records = read_records(outcomes, rows)
  local change, writes = {}, {}
  for _, row in ipairs(rows) do
    local id, attempts, state, record, due, log = row[1], row[2], row[3], row[4], row[5], row[6]
    local old, old_attempts = nil, '0'
    if records[id] then
      old, old_attempts = string.match(records[id], '^(%a)(%d+)')
    end
    if may_become(state, attempts, old, tonumber(old_attempts)) then
      if state == 'P' or state == 'R' then
        local is = redis.call('HGET', 'endpoint:' .. tag .. ':' .. id, 'state')
        if not is then
          -- Deleted meanwhile: nobody would ever set free what is parked for it.
          state = 's'
          record = 's' .. string.match(record, '^%a([^,]*,[^,]*,[^,]*)') .. ',no_endpoint'
        elseif is == 'active' then
          woken[id] = true
        end
      end
      accepted = accepted + 1
      records[id] = record
      writes[#writes + 1] = id
      writes[#writes + 1] = record
      if old then
        local gone = string.lower(old)
        change[gone] = (change[gone] or 0) - 1
        take_out(old, id, prefix .. id)
      end
      local came = string.lower(state)
      change[came] = (change[came] or 0) + 1
      put(state, id, prefix .. id, due)
    else
      refused = refused + 1
    end
    if log ~= '' then
      keep_log(id, log, row[7])
    end
  end
  if #writes == 0 then
    return
  end
  in_parts(writes, function(first, last)
    redis.call('HSET', outcomes, unpack(writes, first, last))
  end)
  redis.call('EXPIRE', outcomes, retention, 'NX')
  for state, by in pairs(change) do
    if by ~= 0 then
      redis.call('HINCRBY', tally, state, by)
    end
  end
  redis.call('EXPIRE', tally, retention, 'NX')
end

-- The oldest deliveries of a parked list that is too long become dead letters.
local function keep_parked_bounded(parked)
  local over = redis.call('ZCARD', parked) - parked_max
  for _ = 1, over do
    local delivery = redis.call('ZPOPMIN', parked)[1]
    local place, endpoint = string.match(delivery, '^(.*)%-(%w+)$')
    local post, version, slice = string.match(place, '^(%w+)%-(%d+)%-(%d+)$')
    local outcomes = 'outcomes:' .. tag .. ':' .. post .. ':' .. version .. ':' .. slice
    local record = redis.call('HGET', outcomes, endpoint)
    if record then
      local tally = 'tally:' .. tag .. ':' .. post
      local rest = string.match(record, '^%a([^,]*,[^,]*)')
      redis.call('HSET', outcomes, endpoint, 'x' .. rest .. ',' .. ARGV[10] .. ',parked_full')
      redis.call('HINCRBY', tally, string.lower(string.sub(record, 1, 1)), -1)
      redis.call('HINCRBY', tally, 'x', 1)
      redis.call('EXPIRE', tally, retention, 'NX')
      redis.call('ZADD', KEYS[3], now, delivery)
    end
    unparked = unparked + 1
  end
end

local function keep_dead_bounded()
  local over = redis.call('ZCARD', KEYS[3]) - dead_max
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, over - 1)
    dropped = dropped + over
  end
end

local function acknowledge(stream, entries)
  in_parts(entries, function(first, last)
    redis.call('XACK', stream, ARGV[2], unpack(entries, first, last))
    redis.call('XDEL', stream, unpack(entries, first, last))
  end)
end

-- A post of the service itself, on its way like any other.
local function post_notice(endpoint, notice)
  local post, event, author, type, data, audience = unpack(notice)
  local key = 'post:' .. tag .. ':' .. post
  redis.call('HSET', key, 'author', author, 'type', type, 'version', 1, 'created_at', now,
    'updated_at', now, 'data', data, 'audience', audience)
  redis.call('EXPIRE', key, retention)
  redis.call('XADD', 'posts:' .. tag, '*', 'e', event, 'a', author, 'x', endpoint)
end

-- Unless it was this batch that has made it something else than active.
local function look_after_woken()
  local at = ''
  for endpoint in pairs(woken) do
    if redis.call('HGET', 'endpoint:' .. tag .. ':' .. endpoint, 'state') == 'active' then
      redis.call('ZADD', KEYS[6], now, endpoint)
      at = now
    end
  end
  return at
end

local function note_health(endpoint, fields, probe, notice)
  local key = 'endpoint:' .. tag .. ':' .. endpoint
  local before = redis.call('HGET', key, 'state')
  if before == 'unverified' then
    return -- of requests to the address before; and when to challenge this one is not theirs to say
  end
  if before and #fields > 0 then
    redis.call('HSET', key, unpack(fields))
    local after = redis.call('HGET', key, 'state')
    if after ~= before then
      redis.call('HINCRBY', KEYS[8], before, -1)
      redis.call('HINCRBY', KEYS[8], after, 1)
      if after == 'disabled' and notice and #notice > 0 then
        post_notice(endpoint, notice)
      end
    end
  end
  if before and probe > 0 then
    redis.call('ZADD', KEYS[6], probe, endpoint)
  elseif probe == 0 then
    redis.call('ZREM', KEYS[6], endpoint)
  end
end

for _, slice in ipairs(batch[1]) do
  record_slice(slice[1], slice[2], slice[3], slice[4])
end
for parked in pairs(filled) do
  keep_parked_bounded(parked)
end
keep_dead_bounded()
local wake = ''
if owner then
  acknowledge(KEYS[4], batch[2])
  acknowledge(KEYS[5], batch[3])
  for _, update in ipairs(batch[4]) do
    note_health(update[1], update[2], update[3], update[4])
  end
  wake = look_after_woken()
end
return {accepted, refused, unparked, dropped, next_due(), wake}
