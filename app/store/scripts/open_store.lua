-- Reads what the store was made for; an empty one is made for what is asked.
-- KEYS  meta
-- ARGV  schema, shards, epoch
-- Returns {schema, shards, epoch} as they stand in the store.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'shards', ARGV[2], 'epoch', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'schema', 'shards', 'epoch')
