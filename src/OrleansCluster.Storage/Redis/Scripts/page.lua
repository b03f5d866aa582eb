-- A page of the objects. KEYS: 1 meta, 2 objects, 3 values. ARGV: 4 cursor, 5 about how many.
-- Result: 0, revision, next cursor ('0' at the end), keys and revisions in turn, values.
local page = redis.call('HSCAN', KEYS[2], ARGV[4], 'COUNT', ARGV[5])
local found, revisions = page[2], {}
for i = 2, #found, 2 do revisions[#revisions + 1] = found[i] end
return {0, rev, page[1], found, #revisions > 0 and redis.call('HMGET', KEYS[3], unpack(revisions)) or {}}
