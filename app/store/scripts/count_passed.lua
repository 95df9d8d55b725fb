-- Counts the recipients of one roster whose cursor has passed the offset they were given.
-- KEYS  roster, cursors
-- Returns {recipients, passed}; {0, 0} when there is no such roster.
local packed = redis.call('GET', KEYS[1])
if not packed then
  return {0, 0}
end
local roster = cmsgpack.unpack(packed)
local users, offsets = roster[1], roster[2]
local cursors = redis.call('HMGET', KEYS[2], unpack(users))
local passed = 0
for i = 1, #users do
  if cursors[i] and tonumber(cursors[i]) >= offsets[i] then
    passed = passed + 1
  end
end
return {#users, passed}
