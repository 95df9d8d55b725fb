-- Notes what came of a challenge: in the endpoint, unless it was aimed elsewhere since, in its
-- attempt log, and for whoever asked.
-- KEYS  endpoint, endpoint states, probes, changes, attempts, reply
-- ARGV  id, the url that was challenged, result (echoed, failed, later: none was sent), error,
--       challenges so far, next time by the schedule ('' for none, '-' leaves it), the same by the
--       wall clock, attempt or '', log_max, log_ttl_s, changes_max, reply or '', reply_ttl_s
-- Returns 1 when this has verified the endpoint, else 0. Nobody's lease is asked for: an echo proves
-- the address whoever has heard it.
local id, result, due = ARGV[1], ARGV[3], ARGV[6]
if ARGV[8] ~= '' then
  redis.call('LPUSH', KEYS[5], ARGV[8])
  redis.call('LTRIM', KEYS[5], 0, ARGV[9] - 1)
  redis.call('EXPIRE', KEYS[5], ARGV[10])
end
if ARGV[12] ~= '' then
  redis.call('RPUSH', KEYS[6], ARGV[12])
  redis.call('EXPIRE', KEYS[6], ARGV[13])
end
local now = redis.call('HMGET', KEYS[1], 'state', 'url')
if now[1] ~= 'unverified' or now[2] ~= ARGV[2] then
  return 0
end
-- Whoever owns the shard reads it anew, and sees when to look after it next.
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[11], '*', 'e', id)
if result == 'echoed' then
  redis.call('HSET', KEYS[1], 'state', 'active')
  redis.call('HDEL', KEYS[1], 'challenges', 'challenge_error', 'challenge_due')
  redis.call('HINCRBY', KEYS[2], 'unverified', -1)
  redis.call('HINCRBY', KEYS[2], 'active', 1)
  -- Due at once: what is parked is to be set free. Not 0, which is the time of the first challenge:
  -- whoever began that may put it off in this moment, if the time is still the one that was read.
  redis.call('ZADD', KEYS[3], 1, id)
  return 1
end
if result == 'failed' then
  redis.call('HSET', KEYS[1], 'challenges', ARGV[5], 'challenge_error', ARGV[4])
end
if due == '' then
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[1], 'challenge_due')
elseif due ~= '-' then
  redis.call('ZADD', KEYS[3], due, id)
  redis.call('HSET', KEYS[1], 'challenge_due', ARGV[7])
end
return 0
