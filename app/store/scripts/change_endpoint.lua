-- Changes fields of an endpoint that exists, and its word in the route when one is given.
-- KEYS  endpoint, routes, changes, endpoint states
-- ARGV  id, user, route word ('' leaves it), changes_max, removed field count, removed…, field, value…
-- Returns 1, or 0 when there is no such endpoint.
local before = redis.call('HGET', KEYS[1], 'state')
if not before then
  return 0
end
local id, user, word = ARGV[1], ARGV[2], ARGV[3]
local removed = tonumber(ARGV[5])
if removed > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 6, 5 + removed))
end
if #ARGV > 5 + removed then
  redis.call('HSET', KEYS[1], unpack(ARGV, 6 + removed))
end
local after = redis.call('HGET', KEYS[1], 'state')
if after ~= before then
  redis.call('HINCRBY', KEYS[4], before, -1)
  redis.call('HINCRBY', KEYS[4], after, 1)
end
if word ~= '' then
  local words = {}
  for old in string.gmatch(redis.call('HGET', KEYS[2], user) or '', '%S+') do
    words[#words + 1] = (string.sub(old, 1, 10) == id) and word or old
  end
  redis.call('HSET', KEYS[2], user, table.concat(words, ' '))
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', 'e', id)
return 1
