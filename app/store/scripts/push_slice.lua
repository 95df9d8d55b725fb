-- Tells the gateways of a slice's recipients about its event, once the slice is safe.
-- KEYS  roster, routes
-- ARGV  tag, event, sockets_max, sockets_ttl_s [, traceparent of a slice that is traced]
-- Returns how many gateways were told. One that is told twice pushes nothing twice.
-- Derived keys, all with the same tag: sockets.
local packed = redis.call('GET', KEYS[1])
if not packed then
  return 0
end
local roster = cmsgpack.unpack(packed)
local users, offsets = roster[1], roster[2]
local routes = redis.call('HMGET', KEYS[2], unpack(users))
local nodes, told = {}, 0
for i = 1, #users do
  for node in string.gmatch(routes[i] or '', '@(%S+)') do
    local recipients = nodes[node] or {}
    nodes[node] = recipients
    recipients[#recipients + 1] = users[i]
    recipients[#recipients + 1] = offsets[i]
  end
end
for node, recipients in pairs(nodes) do
  local stream = 'sockets:' .. ARGV[1] .. ':' .. node
  -- As in fan_out: a full stream is replaced by one mark.
  if redis.call('XLEN', stream) >= tonumber(ARGV[3]) then
    redis.call('XTRIM', stream, 'MAXLEN', 0)
    redis.call('XADD', stream, '*', 'o', '1')
  elseif ARGV[5] then
    redis.call('XADD', stream, '*', 'e', ARGV[2], 'r', cmsgpack.pack(recipients), 't', ARGV[5])
  else
    redis.call('XADD', stream, '*', 'e', ARGV[2], 'r', cmsgpack.pack(recipients))
  end
  redis.call('EXPIRE', stream, ARGV[4])
  told = told + 1
end
return told
