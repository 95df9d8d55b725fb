#!lua flags=allow-oom
-- Cancels what is still pending of one slice of one version of a deleted post.
-- KEYS  roster, outcomes, tally, retries
-- ARGV  tag, post, version, slice, packed time, retention_s
-- Returns how many deliveries were cancelled.  Derived keys, all with the same tag: parked.
local packed = redis.call('GET', KEYS[1])
if not packed then
  return 0
end
local cancelled = 0
for _, ids in ipairs(cmsgpack.unpack(packed)[3]) do
  for id in string.gmatch(ids, '..........') do
    local old = redis.call('HGET', KEYS[2], id)
    local state, attempts, status = 'none', '0', ''
    if old then
      state, attempts, status = string.match(old, '^(%a)(%d+),(%d*)')
    end
    if state == 'none' or state == 'p' or state == 'r' or state == 'P' or state == 'R' then
      local delivery = ARGV[2] .. '-' .. ARGV[3] .. '-' .. ARGV[4] .. '-' .. id
      redis.call('HSET', KEYS[2], id, 'c' .. attempts .. ',' .. status .. ',' .. ARGV[5])
      redis.call('ZREM', KEYS[4], delivery)
      if state == 'P' or state == 'R' then
        redis.call('ZREM', 'parked:' .. ARGV[1] .. ':' .. id, delivery)
      end
      if state ~= 'none' then
        redis.call('HINCRBY', KEYS[3], string.lower(state), -1)
      end
      cancelled = cancelled + 1
    end
  end
end
if cancelled > 0 then
  redis.call('HINCRBY', KEYS[3], 'c', cancelled)
  redis.call('EXPIRE', KEYS[2], ARGV[6], 'NX')
  redis.call('EXPIRE', KEYS[3], ARGV[6], 'NX')
end
return cancelled
