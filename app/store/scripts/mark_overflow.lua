-- Replaces all of a node's stream by the mark of an overflow.
-- KEYS  sockets        ARGV  ttl_s
redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
redis.call('XADD', KEYS[1], '*', 'o', '1')
return redis.call('EXPIRE', KEYS[1], ARGV[1])
