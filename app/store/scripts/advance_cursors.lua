#!lua flags=allow-oom
-- Moves users' cursors forward: never back, never past the newest offset.
-- KEYS  cursors, trimmed, repushes
-- ARGV  tag, {users, offsets} (msgpack); at most 3,000 users, since Lua's stack takes 8,000
-- Returns the cursors as they stand, one for each user.  Derived keys, all with the same tag: inbox.
local users, offsets = unpack(cmsgpack.unpack(ARGV[2]))
local cursors = redis.call('HMGET', KEYS[1], unpack(users))
local trimmed = {}
if redis.call('EXISTS', KEYS[2]) == 1 then
  trimmed = redis.call('HMGET', KEYS[2], unpack(users))
end
local inbox_prefix = 'inbox:' .. ARGV[1] .. ':'
local writes, settled = {}, {}
for i, user in ipairs(users) do
  local cursor = tonumber(cursors[i] or 0)
  if offsets[i] > cursor then
    local head = redis.call('LLEN', inbox_prefix .. user) + (trimmed[i] or 0)
    local offset = math.min(offsets[i], head)
    if offset > cursor then
      cursor = offset
      writes[#writes + 1] = user
      writes[#writes + 1] = offset
      settled[#settled + 1] = user
    end
  end
  users[i] = cursor
end
if #writes > 0 then
  redis.call('HSET', KEYS[1], unpack(writes))
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('HDEL', KEYS[3], unpack(settled))
  end
end
return users
