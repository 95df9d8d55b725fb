-- Reads a work stream as its one consumer, if the caller still holds the lease on it.
-- KEYS  lease, stream
-- ARGV  token, group, consumer, count, from ('>' or the id after which to re-read what is pending)
-- Returns the entries, or 'lost' when the lease is another's.
-- ONCE  What a lost reply told of is pending then: the reader must know, and read it from 0.
-- A reader without the lease would move entries into the pending list unseen by the new owner.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'lost'
end
local function read()
  return redis.pcall('XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', ARGV[4], 'STREAMS', KEYS[2], ARGV[5])
end
local reply = read()
if reply and reply.err then
  if not string.find(reply.err, 'NOGROUP', 1, true) then
    return reply
  end
  -- Acknowledged entries are deleted, so all that is left in the stream is still to be done: 0.
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
  reply = read()
end
if not reply then
  return {}
end
return reply[1][2]
