-- Answers whoever asked for a ping, and notes it in the endpoint's attempt log.
-- KEYS  reply, attempts
-- ARGV  entry, reply_ttl_s, log_max, log_ttl_s
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], 0, ARGV[3] - 1)
return redis.call('EXPIRE', KEYS[2], ARGV[4])
