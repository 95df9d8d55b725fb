-- Changes fields of an endpoint that exists, and its word in the route when one is given.
-- KEYS  endpoint, routes, changes, endpoint states, probes
-- ARGV  id, user, route word ('' leaves it), changes_max, secrets as the caller knows them ('' when
--       it does not matter), verify (1: another url is to be verified), removed field count,
--       removed…, field, value…
-- Returns 1, 0 when there is no such endpoint, 'moved': the secrets are others by now, or
-- 'unverified': an endpoint that has to echo a challenge is not made active by a call.
local before = redis.call('HMGET', KEYS[1], 'state', 'secrets', 'url', 'verify')
if not before[1] then
  return 0
end
local id, user, word = ARGV[1], ARGV[2], ARGV[3]
if ARGV[5] ~= '' and ARGV[5] ~= before[2] then
  return 'moved'
end
local removed = tonumber(ARGV[7])
local given = {}
for i = 8 + removed, #ARGV, 2 do
  given[ARGV[i]] = ARGV[i + 1]
end
if given.state and before[1] == 'unverified' then
  return 'unverified'
end
if removed > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 8, 7 + removed))
end
if #ARGV > 7 + removed then
  redis.call('HSET', KEYS[1], unpack(ARGV, 8 + removed))
end
local is_aimed_anew = given.url and given.url ~= before[3] and (ARGV[6] == '1' or before[4])
if is_aimed_anew then
  -- In the same step as the address, so that nobody ever sees the one without the other.
  redis.call('HDEL', KEYS[1], 'disabled_reason', 'first_failure_at', 'failure_days', 'open_until',
    'challenges', 'challenge_error', 'challenge_due')
  redis.call('HSET', KEYS[1], 'state', 'unverified', 'verify', '1', 'consecutive_failures', 0)
end
local after = redis.call('HGET', KEYS[1], 'state')
if after ~= before[1] then
  redis.call('HINCRBY', KEYS[4], before[1], -1)
  redis.call('HINCRBY', KEYS[4], after, 1)
end
if is_aimed_anew or (after == 'active' and before[1] ~= after) then
  -- Due at once: it is to be sent a challenge, or what is parked is to be set free.
  redis.call('ZADD', KEYS[5], 0, id)
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
