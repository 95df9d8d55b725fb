-- Sets when an endpoint is looked after next, unless that was set anew since it was read.
-- KEYS  probes
-- ARGV  endpoint, the time that was read, the next time ('' for none)
-- Returns 1, or 0 when it was set anew: outcomes are written by another task meanwhile, and a probe
-- or a drain that they ask for must not be forgotten.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
