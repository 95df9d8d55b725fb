#!lua flags=allow-oom
-- Moves the retries that are due to the redelivery stream.
-- KEYS  lease, retries, redeliveries
-- ARGV  token, now_ms, limit, backlog_max
-- Returns {moved, next due_ms or ''}, or 'lost'.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'lost'
end
local room = tonumber(ARGV[4]) - redis.call('XLEN', KEYS[3])
local limit = math.min(tonumber(ARGV[3]), math.max(room, 0))
local moved = {}
if limit > 0 then
  moved = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, limit)
end
if #moved > 0 then
  for _, delivery in ipairs(moved) do
    redis.call('XADD', KEYS[3], '*', 'd', delivery)
  end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, #moved - 1)
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {#moved, next[2] or ''}
