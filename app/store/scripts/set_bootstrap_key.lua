-- Makes the key of the settings the only one that came from settings. One that was revoked by call
-- stays so: its row says no more than that.
-- KEYS  api keys        ARGV  digest (empty: the settings have none), row
-- Returns the row that holds now, or nothing without a digest.
local rows = redis.call('HGETALL', KEYS[1])
local kept = false
for i = 1, #rows, 2 do
  if cjson.decode(rows[i + 1]).settings then
    if rows[i] == ARGV[1] then
      kept = rows[i + 1]
    else
      redis.call('HDEL', KEYS[1], rows[i])
    end
  end
end
if kept or ARGV[1] == '' then
  return kept
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
