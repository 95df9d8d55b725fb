-- Revokes an API key. That of the settings leaves a mark, so that the next start does not make it
-- again.
-- KEYS  api keys        ARGV  digest
-- Returns 1, or 0 when there is no such key, or not any more.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then
  return 0
end
row = cjson.decode(row)
if row.revoked then
  return 0
end
if row.settings then
  redis.call('HSET', KEYS[1], ARGV[1], '{"settings":true,"revoked":true}')
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
