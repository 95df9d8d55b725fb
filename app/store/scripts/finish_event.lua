#!lua flags=allow-oom
-- Closes an event whose last slice is fanned out: its entry is acknowledged and deleted.
-- KEYS  lease, posts stream, post, newest posts
-- ARGV  token, group, entry id, version, slices fanned out, post id, newest_max, retention_s
-- Returns 1, or 'lost' when the lease is another's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'lost'
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('HSET', KEYS[3], 'fanned:' .. ARGV[4], 'done')
  if ARGV[4] == '1' then
    redis.call('HSETNX', KEYS[3], 'slices', ARGV[5])
    redis.call('ZADD', KEYS[4], 0, ARGV[6])
    redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -ARGV[7] - 1)
    redis.call('EXPIRE', KEYS[4], ARGV[8])
  end
end
redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[2], ARGV[3])
return 1
