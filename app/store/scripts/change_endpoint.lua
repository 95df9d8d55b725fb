-- Changes fields of an endpoint that exists, and its word in the route when one is given.
-- KEYS  endpoint, routes, changes, endpoint states, probes
-- ARGV  id, user, route word ('' leaves it), changes_max, secrets as the caller knows them ('' when
--       it does not matter), removed field count, removed…, field, value…
-- Returns 1, 0 when there is no such endpoint, or 'moved': the secrets are others by now.
local before = redis.call('HMGET', KEYS[1], 'state', 'secrets')
if not before[1] then
  return 0
end
local id, user, word = ARGV[1], ARGV[2], ARGV[3]
if ARGV[5] ~= '' and ARGV[5] ~= before[2] then
  return 'moved'
end
local removed = tonumber(ARGV[6])
if removed > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 7, 6 + removed))
end
if #ARGV > 6 + removed then
  redis.call('HSET', KEYS[1], unpack(ARGV, 7 + removed))
end
local after = redis.call('HGET', KEYS[1], 'state')
if after ~= before[1] then
  redis.call('HINCRBY', KEYS[4], before[1], -1)
  redis.call('HINCRBY', KEYS[4], after, 1)
end
if after == 'active' and before[1] ~= after then
  redis.call('ZADD', KEYS[5], 0, id) -- due at once: what is parked is to be set free
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
