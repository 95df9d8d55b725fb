#!lua flags=allow-oom
-- Moves users' cursors forward: never back, never past the newest offset.
-- KEYS  cursors, trimmed, repushes
-- ARGV  tag, user, offset, user, offset …
-- Returns the cursors as they stand, one for each user.  Derived keys, all with the same tag: inbox.
local result, writes, settled = {}, {}, {}
for i = 2, #ARGV, 2 do
  local user, offset = ARGV[i], tonumber(ARGV[i + 1])
  local cursor = tonumber(redis.call('HGET', KEYS[1], user) or '0')
  if offset > cursor then
    local head = redis.call('LLEN', 'inbox:' .. ARGV[1] .. ':' .. user)
      + tonumber(redis.call('HGET', KEYS[2], user) or '0')
    offset = math.min(offset, head)
    if offset > cursor then
      cursor = offset
      writes[#writes + 1] = user
      writes[#writes + 1] = cursor
      settled[#settled + 1] = user
    end
  end
  result[#result + 1] = cursor
end
if #writes > 0 then
  redis.call('HSET', KEYS[1], unpack(writes))
  redis.call('HDEL', KEYS[3], unpack(settled))
end
return result
