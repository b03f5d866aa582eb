-- KEYS: 1 meta, then the queue's six. ARGV: 4 now, 5 most items, 6 length of the lease in microseconds.
-- Result: 0, revision, microseconds until the next item becomes due by itself or -1, then five per item: key, priority, attempt, enqueued at, lease.
for from = 2, 3 do
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2 + from], '-inf', string.format('%.0f', now()), 'LIMIT', 0, 1000)) do ready(2, from, key) end
end
local out = {0, rev, -1}
for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, tonumber(ARGV[5]) - 1)) do
  local key = string.match(name, '^%d+:%d+:(.*)$')
  local item = read(2, key)
  redis.call('ZREM', KEYS[3], name)
  if item then
    item.attempt = item.attempt + 1
    item.lease = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'lease', 1))
    write(2, key, item)
    redis.call('ZADD', KEYS[5], string.format('%.0f', now() + tonumber(ARGV[6])), key)
    local o = #out
    out[o + 1], out[o + 2], out[o + 3], out[o + 4], out[o + 5] = key, item.priority, item.attempt, item.at, item.lease
  end
end
for from = 2, 3 do
  local next = redis.call('ZRANGE', KEYS[2 + from], 0, 0, 'WITHSCORES')
  if next[2] then
    local left = math.max(0, tonumber(next[2]) - now())
    if out[3] < 0 or left < out[3] then out[3] = left end
  end
end
return out
