-- Fans one slice of an event out to its recipients of one shard: inboxes, ledger, streams.
-- KEYS  roster, tally, routes, trimmed, deliveries
-- ARGV  tag, event, event type, slice, retention_s, inbox_max, inbox_keep, sockets_max,
--       sockets_ttl_s, recipients (msgpack list of user ids), an endpoint to be spared or '',
--       1 when the whole event goes to very many [, traceparent of a slice that is traced]
--       sockets_max 0: no gateway is told; push_slice does that, once the slice is safe
-- Returns {recipients, webhook deliveries, inboxes trimmed, recipients at gateways}; zeros when this
-- slice was fanned out before.
-- Derived keys, all with the same tag: inbox, sockets.
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- Written again as it is: see accept_post.
  local ends_at = redis.call('PEXPIRETIME', KEYS[1])
  if ends_at > 0 then
    redis.call('PEXPIREAT', KEYS[1], ends_at)
  end
  return {0, 0, 0, 0}
end
local tag, event, event_type = ARGV[1], ARGV[2], ARGV[3]
local inbox_max, inbox_keep = tonumber(ARGV[6]), tonumber(ARGV[7])
local users, spared = cmsgpack.unpack(ARGV[10]), ARGV[11]
local function of_users(key)
  if #users <= 4000 then
    return redis.call('HMGET', key, unpack(users))
  end
  local values = {} -- see next_slice: a slice can be larger, and Lua's stack takes 8,000 at once
  for first = 1, #users, 4000 do
    local part = redis.call('HMGET', key, unpack(users, first, math.min(first + 3999, #users)))
    for i, value in ipairs(part) do
      values[first + i - 1] = value
    end
  end
  return values
end

local routes = of_users(KEYS[3])
local trimmed = {}
if redis.call('EXISTS', KEYS[4]) == 1 then
  trimmed = of_users(KEYS[4])
end

-- A route is words apart by blanks: an endpoint id, `id=pattern,pattern` (only these types), or
-- `@node` (a gateway that holds a socket of theirs).
local function wants(patterns)
  for pattern in string.gmatch(patterns, '[^,]+') do
    if string.sub(pattern, -1) == '*' then
      local stem = string.sub(pattern, 1, -2)
      if string.sub(event_type, 1, #stem) == stem then
        return true
      end
    elseif pattern == event_type then
      return true
    end
  end
  return false
end

local deliveries, nodes, n_webhook, n_socket = {}, {}, 0, 0

-- Notes the recipient for one word of their route; returns the endpoint's id, or nothing.
local function send_to(word, user, offset)
  if string.byte(word) == 64 then -- @
    local node = nodes[word]
    if not node then
      node = {}
      nodes[word] = node
    end
    node[#node + 1] = user
    node[#node + 1] = offset
    n_socket = n_socket + 1
    return ''
  end
  local id = #word == 10 and word or string.sub(word, 1, 10)
  if id == spared or (#word > 10 and not wants(string.sub(word, 12))) then
    return ''
  end
  n_webhook = n_webhook + 1
  local last = #deliveries
  deliveries[last + 1] = id
  deliveries[last + 2] = user
  deliveries[last + 3] = offset
  return id
end

local inbox_prefix = 'inbox:' .. tag .. ':'
local offsets, endpoints, n_trimmed = {}, {}, 0
for i = 1, #users do
  local user = users[i]
  local length = redis.call('RPUSH', inbox_prefix .. user, event)
  local cut = trimmed[i]
  local offset = length
  if cut then
    offset = offset + cut
  end
  if length >= inbox_max and length > inbox_keep then
    redis.call('LTRIM', inbox_prefix .. user, -inbox_keep, -1)
    redis.call('HINCRBY', KEYS[4], user, length - inbox_keep)
    n_trimmed = n_trimmed + 1
  end
  offsets[i] = offset
  local route = routes[i]
  if not route then
    endpoints[i] = ''
  elseif string.find(route, ' ', 1, true) then
    local ids = ''
    for word in string.gmatch(route, '%S+') do
      ids = ids .. send_to(word, user, offset)
    end
    endpoints[i] = ids
  else -- nearly always
    endpoints[i] = send_to(route, user, offset)
  end
end

local now = redis.call('TIME')
local at_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('SET', KEYS[1], cmsgpack.pack({users, offsets, endpoints, at_ms}), 'EX', ARGV[5])
redis.call('HINCRBY', KEYS[2], 'recipients', #users)
if n_webhook > 0 then
  redis.call('HINCRBY', KEYS[2], 'webhooks', n_webhook)
  local fields = {'e', event, 's', ARGV[4], 'd', cmsgpack.pack(deliveries)}
  if ARGV[12] == '1' then
    fields[7], fields[8] = 'l', '1'
  end
  if ARGV[13] then
    fields[#fields + 1], fields[#fields + 2] = 't', ARGV[13]
  end
  redis.call('XADD', KEYS[5], '*', unpack(fields))
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
local sockets_max = tonumber(ARGV[8])
for word, recipients in pairs(sockets_max > 0 and nodes or {}) do
  local stream = 'sockets:' .. tag .. ':' .. string.sub(word, 2)
  -- A full stream is replaced by one mark, which tells the gateway to go on from the inboxes.
  if redis.call('XLEN', stream) >= sockets_max then
    redis.call('XTRIM', stream, 'MAXLEN', 0)
    redis.call('XADD', stream, '*', 'o', '1')
  elseif ARGV[13] then
    redis.call('XADD', stream, '*', 'e', event, 'r', cmsgpack.pack(recipients), 't', ARGV[13])
  else
    redis.call('XADD', stream, '*', 'e', event, 'r', cmsgpack.pack(recipients))
  end
  redis.call('EXPIRE', stream, ARGV[9])
end
return {#users, n_webhook, n_trimmed, n_socket}
