-- KEYS: 1 meta, then the queue's six. ARGV: 4 now. Result: 0, revision, ready, leased, delayed, microseconds since the oldest was enqueued.
local t = string.format('%.0f', now())
local delayed, leased = redis.call('ZCOUNT', KEYS[4], '-inf', t), redis.call('ZCOUNT', KEYS[5], '-inf', t)
local oldest = redis.call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')
return {
  0, rev, redis.call('ZCARD', KEYS[3]) + delayed + leased, redis.call('ZCARD', KEYS[5]) - leased, redis.call('ZCARD', KEYS[4]) - delayed,
  oldest[2] and math.max(0, now() - tonumber(oldest[2])) or 0
}
