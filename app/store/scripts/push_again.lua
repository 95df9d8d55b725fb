-- Has an offset pushed once more to every gateway that holds a socket of its user.
-- KEYS  routes
-- ARGV  tag, user, offset, sockets_max, sockets_ttl_s
-- Returns how many were told. One whose stream is full is not: it is behind with newer things.
-- Derived keys, all with the same tag: sockets.
local told = 0
for node in string.gmatch(redis.call('HGET', KEYS[1], ARGV[2]) or '', '@(%S+)') do
  local stream = 'sockets:' .. ARGV[1] .. ':' .. node
  if redis.call('XLEN', stream) < tonumber(ARGV[4]) then
    redis.call('XADD', stream, '*', 'u', ARGV[2], 'n', ARGV[3])
    redis.call('EXPIRE', stream, ARGV[5])
    told = told + 1
  end
end
return told
