-- Reads a user's inbox from an offset on.
-- KEYS  inbox, trimmed, cursors
-- ARGV  user, after ('' starts at the acknowledged cursor), limit
-- Returns {trimmed, head, cursor, after, entries}: offsets 1 … trimmed are gone, head is the newest
-- offset, and the first entry has the offset max(after, trimmed) + 1.
local trimmed = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local cursor = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
local length = redis.call('LLEN', KEYS[1])
local after = ARGV[2] == '' and cursor or tonumber(ARGV[2])
local from, limit = math.max(after - trimmed, 0), tonumber(ARGV[3])
local entries = {}
if from < length and limit > 0 then
  entries = redis.call('LRANGE', KEYS[1], from, from + limit - 1)
end
return {trimmed, trimmed + length, cursor, after, entries}
