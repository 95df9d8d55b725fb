-- Renews a lease while it is ours.
-- KEYS  lease        ARGV  token, life_ms
-- Returns 1, or 0 when it is another's or gone.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
