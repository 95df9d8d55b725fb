#!lua flags=allow-oom
-- Writes a key that has no TTL once more, as it is. A caller may wait until a replica or the disk
-- has what it wrote: this one waits for all that anybody has written to this server before.
-- KEYS  a key without a TTL
-- Returns 1, or 0 when there is no such key: then there is nothing to wait for.
local there = redis.call('EXPIRE', KEYS[1], 60)
redis.call('PERSIST', KEYS[1])
return there
