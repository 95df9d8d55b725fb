#!lua flags=allow-oom
-- Takes a gateway out of users' routes.
-- KEYS  routes
-- ARGV  node, user…
-- Returns how many routes changed.
local gone, changed = '@' .. ARGV[1], 0
for i = 2, #ARGV do
  local route = redis.call('HGET', KEYS[1], ARGV[i])
  if route then
    local words, found = {}, false
    for word in string.gmatch(route, '%S+') do
      if word == gone then found = true else words[#words + 1] = word end
    end
    if found then
      changed = changed + 1
      if #words == 0 then
        redis.call('HDEL', KEYS[1], ARGV[i])
      else
        redis.call('HSET', KEYS[1], ARGV[i], table.concat(words, ' '))
      end
    end
  end
end
return changed
