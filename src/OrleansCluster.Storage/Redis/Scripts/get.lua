-- KEYS: 1 meta, 2 objects, 3 values. ARGV: 4 key. Result: 0, revision, and if the object exists its revision and value.
local at = redis.call('HGET', KEYS[2], ARGV[4])
if not at then return {0, rev} end
return {0, rev, at, redis.call('HGET', KEYS[3], at)}
