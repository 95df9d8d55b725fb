-- Adds members to one set of the graph, up to a bound.
-- KEYS  set        ARGV  max (0: none), member…
-- Returns one number for each member: 1 added, 0 there before, -1 refused: the set is full.
local max = tonumber(ARGV[1])
local size = redis.call('ZCARD', KEYS[1])
local result = {}
for i = 2, #ARGV do
  if max > 0 and size >= max and not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    result[i - 1] = -1
  else
    local added = redis.call('ZADD', KEYS[1], 0, ARGV[i])
    size = size + added
    result[i - 1] = added
  end
end
return result
