#!lua flags=allow-oom
-- Deletes an endpoint with its log, and takes it out of its user's route.
-- KEYS  endpoint, routes, changes, endpoint states, probes, attempts, parked
-- ARGV  id, user, changes_max
-- Returns 1, or 0 when there was none. What is parked for it is suppressed by the sender, bit by
-- bit: there may be a lot.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[6])
redis.call('HINCRBY', KEYS[4], state, -1)
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
if redis.call('EXISTS', KEYS[7]) == 1 then
  redis.call('ZADD', KEYS[5], 0, ARGV[1])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[1])
return 1
