-- Stores a post and puts its creation on the author's stream, once per idempotency key.
-- KEYS  post, posts stream [, idempotency]
-- ARGV  event, author, retention_s, backlog_max, idempotency ttl_s, id, fingerprint, field, value…
--       Of a post that is traced the last field is `trace`: its version, a space, its traceparent.
-- Returns {'new'}, {'seen', id, fingerprint}, {'taken'} (the id exists already) or {'full'}.

-- Writes what is there already. A caller may wait until a replica or the disk has what it wrote;
-- one that comes again, on another connection, has to wait for what was written the first time.
local function write_again(key)
  local ends_at = redis.call('PEXPIRETIME', key)
  if ends_at > 0 then
    redis.call('PEXPIREAT', key, ends_at)
  end
end

if KEYS[3] then
  local seen = redis.call('GET', KEYS[3])
  if seen then
    write_again(KEYS[3])
    local id, fingerprint = string.match(seen, '^(%S+) (%S+)$')
    return {'seen', id, fingerprint}
  end
end
local there = redis.call('HMGET', KEYS[1], 'author', 'data')
if there[1] then
  -- Sent twice because the first answer was lost: the same post. The fields come in this order:
  -- author, type, version, created_at, updated_at, data.
  if there[1] == ARGV[9] and there[2] == ARGV[19] then
    write_again(KEYS[1])
    return {'new'}
  end
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
if ARGV[#ARGV - 1] == 'trace' then
  redis.call('XADD', KEYS[2], '*', 'e', ARGV[1], 'a', ARGV[2], 't', string.sub(ARGV[#ARGV], 3))
else
  redis.call('XADD', KEYS[2], '*', 'e', ARGV[1], 'a', ARGV[2])
end
return {'new'}
