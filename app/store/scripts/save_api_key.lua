-- Saves an API key, up to a bound.
-- KEYS  api keys        ARGV  digest, row, max
-- Returns 1, or 0 when there are as many already.
local max = tonumber(ARGV[3])
if redis.call('HLEN', KEYS[1]) >= max and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
