-- KEYS: 1 meta, then the queue's six. ARGV: 4 now, 5 key, 6 lease, 7 delay in microseconds.
local item = holds(2, ARGV[5], ARGV[6])
if item then
  redis.call('ZREM', KEYS[5], ARGV[5])
  item.lease = '0'
  write(2, ARGV[5], item)
  if tonumber(ARGV[7]) <= 0 then
    redis.call('ZADD', KEYS[3], 0, member(ARGV[5], item))
  else
    redis.call('ZADD', KEYS[4], string.format('%.0f', now() + tonumber(ARGV[7])), ARGV[5])
  end
  wake(2)
end
return {0, rev}
