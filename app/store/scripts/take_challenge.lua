-- Counts a challenge to a host, if it may be sent one more in this span of time.
-- KEYS  challenges        ARGV  max, span_ms
-- Returns 0, or after how many ms to ask again.
local sent = tonumber(redis.call('GET', KEYS[1]) or 0)
if sent >= tonumber(ARGV[1]) then
  return math.max(redis.call('PTTL', KEYS[1]), 1)
end
if redis.call('INCR', KEYS[1]) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
