-- Names a gateway in the routes of users who have a socket there.
-- KEYS  routes
-- ARGV  node, user…
-- Returns how many routes changed.
local word, changed = '@' .. ARGV[1], 0
for i = 2, #ARGV do
  local route = redis.call('HGET', KEYS[1], ARGV[i])
  if not route then
    redis.call('HSET', KEYS[1], ARGV[i], word)
    changed = changed + 1
  elseif not string.find(' ' .. route .. ' ', ' ' .. word .. ' ', 1, true) then
    redis.call('HSET', KEYS[1], ARGV[i], route .. ' ' .. word)
    changed = changed + 1
  end
end
return changed
