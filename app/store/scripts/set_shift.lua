-- Notes by how much the wall clock is ahead of a shard's schedule.
-- KEYS  lease, shift
-- ARGV  token, milliseconds
-- Returns 1, or 'lost' when the lease is another's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'lost'
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
