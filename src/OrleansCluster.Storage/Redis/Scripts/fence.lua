-- KEYS: 1 meta, 2 fences. ARGV: 4 name. Result: 0, revision, the fence's new value.
local value = math.max(tonumber(redis.call('HGET', KEYS[2], ARGV[4]) or '0'), tonumber(m[5])) + 1
redis.call('HSET', KEYS[2], ARGV[4], string.format('%.0f', value))
return {0, rev, value}
