-- KEYS: 1 meta, then the queue's six. ARGV: 4 now, 5 '1' for all, then keys.
local keys
if ARGV[5] == '1' then
  keys = redis.call('ZRANGE', KEYS[4], 0, 999)
else
  keys = {}
  for i = 6, #ARGV do if redis.call('ZSCORE', KEYS[4], ARGV[i]) then keys[#keys + 1] = ARGV[i] end end
end
for _, key in ipairs(keys) do ready(2, 2, key) end
if #keys > 0 then wake(2) end
return {0, rev, #keys}
