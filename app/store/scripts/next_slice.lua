-- Records that a slice of an event is fanned out and gives the next one.
-- KEYS  lease, post, friends, followers, blocks, blockers   (all of the author's shard)
-- ARGV  token, version, slice just finished (-1: none, resume where the last owner was), limit
-- Returns 'lost' (lease), 'missing' (no such post), or
--   {slice, last, deleted, type, audience, size, member, member, …}
-- size: about how many the whole event goes to. slice is -1 when nothing is left. For versions above 1 there are no members: the recipients
-- are those in the rosters of version 1.
--
-- The range of a slice is stored before it is fanned out. A second run after a crash re-reads
-- that very range, so that a friend made meanwhile cannot shift somebody into two slices.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'lost'
end
local version, limit = ARGV[2], tonumber(ARGV[4])
local field = 'fanned:' .. version
local post = redis.call('HMGET', KEYS[2], 'type', 'audience', 'deleted', field, 'slices')
if not post[1] then
  return 'missing'
end
local deleted = post[3] and 1 or 0
local result = {-1, 1, deleted, post[1], post[2] or '', 0}

local slice, from, to = -1, '', ''
if post[4] == 'done' then
  return result
elseif post[4] then
  slice, from, to = string.match(post[4], '^(%d+) (%S*) (%S*)$')
  slice = tonumber(slice)
end
local resume = tonumber(ARGV[3]) ~= slice

if version ~= '1' then
  local slices = tonumber(post[5] or '0')
  if not resume then
    slice = slice + 1
  end
  if slice >= slices then
    return result
  end
  redis.call('HSET', KEYS[2], field, slice .. '  ')
  result[1], result[2], result[6] = slice, (slice + 1 >= slices) and 1 or 0, slices * limit
  return result
end

local only, unasked = nil, false
if post[2] then
  local audience = cmsgpack.unpack(post[2])
  only, unasked = audience.only, audience.unasked
end
-- `<` compares by the server's locale, the sets are in the order of bytes.
local function is_before(x, y)
  for i = 1, math.min(#x, #y) do
    local a, b = string.byte(x, i), string.byte(y, i)
    if a ~= b then
      return a < b
    end
  end
  return #x < #y
end

local page, last, size = {}, 1, 0
if only then
  size = #only
  if not resume then
    slice = slice + 1
  end
  local first = slice * limit
  for i = first + 1, math.min(first + limit, #only) do
    if unasked or redis.call('ZSCORE', KEYS[3], only[i])
      or redis.call('ZSCORE', KEYS[4], only[i]) then
      page[#page + 1] = only[i]
    end
  end
  last = (first + limit >= #only) and 1 or 0
  if first >= #only then
    return result
  end
  redis.call('HSET', KEYS[2], 'fanned:1', slice .. '  ')
else
  size = redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4])
  local low, high = '-', '+'
  if resume then
    if from ~= '' then low = '(' .. from end
    high = '[' .. to
    limit = -1
  elseif to ~= '' then
    low = '(' .. to
  end
  local a = redis.call('ZRANGE', KEYS[3], low, high, 'BYLEX', 'LIMIT', 0, limit)
  local b = redis.call('ZRANGE', KEYS[4], low, high, 'BYLEX', 'LIMIT', 0, limit)
  local i, j = 1, 1
  if #b == 0 then -- nobody follows who is not a friend
    page, i = a, #a + 1
  end
  while (a[i] or b[j]) and (limit < 0 or #page < limit) do
    local x, y = a[i], b[j]
    if x == y then
      page[#page + 1], i, j = x, i + 1, j + 1
    elseif not y or (x and is_before(x, y)) then
      page[#page + 1], i = x, i + 1
    else
      page[#page + 1], j = y, j + 1
    end
  end
  if limit < 0 then
    last = 0
    redis.call('HSET', KEYS[2], field, post[4]) -- for whoever waits for a replica: see accept_post
  else
    last = (#a < limit and #b < limit and not a[i] and not b[j]) and 1 or 0
    if #page == 0 then
      return result
    end
    slice, from, to = slice + 1, to, page[#page]
    redis.call('HSET', KEYS[2], 'fanned:1', slice .. ' ' .. from .. ' ' .. to)
  end
end
result[1], result[2], result[6] = slice, last, size
if #page == 0 then
  return result
end
-- In parts: a slice that is given again has all who have come into its range meanwhile, and Lua's
-- stack takes 8,000 at once.
local function excluder(key)
  local scores = {}
  if redis.call('EXISTS', key) == 1 then
    for first = 1, #page, 1000 do
      local part = redis.call('ZMSCORE', key, unpack(page, first, math.min(first + 999, #page)))
      for i, score in ipairs(part) do
        scores[first + i - 1] = score
      end
    end
  end
  return scores
end
local blocked, blocking = excluder(KEYS[5]), excluder(KEYS[6])
local length = #result
for i = 1, #page do
  if not blocked[i] and not blocking[i] then
    length = length + 1
    result[length] = page[i]
  end
end
return result
