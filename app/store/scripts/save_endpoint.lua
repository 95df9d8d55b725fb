-- Makes an endpoint, and names it in its user's route.
-- KEYS  endpoint, routes, changes, endpoint states, probes
-- ARGV  id, user, route word, endpoints_max, changes_max, field, value…
-- Returns 'ok', 'taken' (the id exists) or 'full' (the user has endpoints_max already).
local there = redis.call('HMGET', KEYS[1], 'user', 'created_at')
if there[1] then
  -- Sent twice because the first answer was lost. Fields: user, created_at, …
  if there[1] == ARGV[7] and there[2] == ARGV[9] then
    return 'ok'
  end
  return 'taken'
end
local route = redis.call('HGET', KEYS[2], ARGV[2]) or ''
local count = 0
for word in string.gmatch(route, '%S+') do
  if string.byte(word) ~= 64 then count = count + 1 end
end
if count >= tonumber(ARGV[4]) then
  return 'full'
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
local state = redis.call('HGET', KEYS[1], 'state')
redis.call('HINCRBY', KEYS[4], state, 1)
if state == 'unverified' then
  redis.call('ZADD', KEYS[5], 0, ARGV[1]) -- due at once: it is to be sent a challenge
end
redis.call('HSET', KEYS[2], ARGV[2], route == '' and ARGV[3] or (route .. ' ' .. ARGV[3]))
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'e', ARGV[1])
return 'ok'
