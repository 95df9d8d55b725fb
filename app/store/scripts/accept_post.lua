-- Stores a post and puts its creation on the author's stream, once per idempotency key.
-- KEYS  post, posts stream [, idempotency]
-- ARGV  event, author, retention_s, backlog_max, idempotency ttl_s, id, fingerprint, field, value…
-- Returns {'new'}, {'seen', id, fingerprint}, {'taken'} (the id exists already) or {'full'}.
if KEYS[3] then
  local seen = redis.call('GET', KEYS[3])
  if seen then
    local id, fingerprint = string.match(seen, '^(%S+) (%S+)$')
    return {'seen', id, fingerprint}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'taken'}
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[4]) then
  return {'full'}
end
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('EXPIRE', KEYS[1], ARGV[3])
if KEYS[3] then
  redis.call('SET', KEYS[3], ARGV[6] .. ' ' .. ARGV[7], 'EX', ARGV[5])
end
redis.call('XADD', KEYS[2], '*', 'e', ARGV[1], 'a', ARGV[2])
return {'new'}
