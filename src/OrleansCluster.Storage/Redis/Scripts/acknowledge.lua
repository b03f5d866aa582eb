-- KEYS: 1 meta, 2 acknowledgements. ARGV: 4 group, 5 revision or '' to ask. Result: 0, revision, and the group's revision if it has one.
local present = redis.call('HGET', KEYS[2], ARGV[4])
if ARGV[5] ~= '' and (not present or tonumber(ARGV[5]) > tonumber(present)) then
  present = ARGV[5]
  redis.call('HSET', KEYS[2], ARGV[4], present)
end
if not present then return {0, rev} end
return {0, rev, tonumber(present)}
