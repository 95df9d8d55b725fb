-- Gives a lease back if it is ours.
-- KEYS  lease        ARGV  token
-- Returns 1, or 0 when it was another's or gone.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
