-- Puts fields of an endpoint, sealed anew, where the old ones are, as far as those are still there.
-- KEYS  endpoint
-- ARGV  field, old value, new value, field, …
-- Returns how many were replaced. Nobody is told: what is in them is the same.
local replaced = 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    replaced = replaced + 1
  end
end
return replaced
