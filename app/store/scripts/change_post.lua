-- Edits or deletes a post and puts that on the author's stream.
-- KEYS  post, posts stream
-- ARGV  kind ('u' or 'd'), id, data, versions_max, backlog_max, now_ms, request (random)
--       [, traceparent of a change that is traced]
-- Returns {'ok', version, author, type, created_at, updated_at}, {'missing'}, {'deleted'},
-- {'versions'} or {'full'}.
local post = redis.call(
  'HMGET', KEYS[1], 'version', 'deleted', 'author', 'type', 'created_at', 'updated_at', 'request')
if not post[1] then
  return {'missing'}
end

-- As it is, but written again: who waits for a replica or the disk has to wait for what was written
-- the first time, perhaps on another connection.
local function unchanged()
  local ends_at = redis.call('PEXPIRETIME', KEYS[1])
  if ends_at > 0 then
    redis.call('PEXPIREAT', KEYS[1], ends_at)
  end
  return {'ok', post[1], post[3], post[4], post[5], post[6]}
end

if post[7] == ARGV[7] then -- sent twice because the first answer was lost
  return unchanged()
end
if post[2] then
  if ARGV[1] == 'd' then -- deleting is idempotent
    return unchanged()
  end
  return {'deleted'}
end
local version = tonumber(post[1]) + 1
-- A deletion is always let through: an author must be able to take a post back.
if ARGV[1] ~= 'd' then
  if version > tonumber(ARGV[4]) then
    return {'versions'}
  end
  if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[5]) then
    return {'full'}
  end
end
redis.call(
  'HSET', KEYS[1], 'version', version, 'data', ARGV[3], 'updated_at', ARGV[6], 'request', ARGV[7])
if ARGV[1] == 'd' then
  redis.call('HSET', KEYS[1], 'deleted', '1')
end
local event = ARGV[1] .. version .. '.' .. ARGV[2]
if ARGV[8] then
  redis.call('HSET', KEYS[1], 'trace', version .. ' ' .. ARGV[8])
  redis.call('XADD', KEYS[2], '*', 'e', event, 'a', post[3], 't', ARGV[8])
else
  redis.call('XADD', KEYS[2], '*', 'e', event, 'a', post[3])
end
return {'ok', version, post[3], post[4], post[5], ARGV[6]}
