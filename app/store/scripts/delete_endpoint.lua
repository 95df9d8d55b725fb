-- Deletes an endpoint with its log, and takes it out of its user's route.
-- KEYS  endpoint, routes, changes, endpoint states, attempts
-- ARGV  id, user, changes_max
-- Returns 1, or 0 when there was none. What is parked is suppressed by the janitor afterwards.
local state = redis.call('HGET', KEYS[1], 'state')
if state then
  redis.call('HINCRBY', KEYS[4], state, -1)
end
local existed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[5])
local words = {}
for word in string.gmatch(redis.call('HGET', KEYS[2], ARGV[2]) or '', '%S+') do
  if string.sub(word, 1, 10) ~= ARGV[1] then
    words[#words + 1] = word
  end
end
if #words == 0 then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], table.concat(words, ' '))
end
if existed == 1 then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[1])
end
return existed
