-- Work queues. Six keys each, from KEYS[q]: items (key -> 'inverted-priority priority sequence enqueued-at attempt lease'), ready (all scores 0; members
-- 'inverted-priority:sequence:key', so their order is the order of service), delayed and leased (scores: when due, in microseconds), age
-- (scores: when enqueued), wake (a stream of length 1 that waiting workers read). A key is in exactly one of ready, delayed, leased.
-- ARGV[4]: now in microseconds, or '' for the server's clock.
local clock
local function now()
  if not clock then
    if ARGV[4] ~= '' then
      clock = tonumber(ARGV[4])
    else
      local t = redis.call('TIME')
      clock = tonumber(t[1]) * 1000000 + tonumber(t[2])
    end
  end
  return clock
end
local function read(q, key)
  local item = redis.call('HGET', KEYS[q], key)
  if not item then return nil end
  local inverted, priority, sequence, at, attempt, lease = string.match(item, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {inverted = inverted, priority = priority, sequence = sequence, at = at, attempt = tonumber(attempt), lease = lease}
end
local function write(q, key, item)
  redis.call('HSET', KEYS[q], key, table.concat({item.inverted, item.priority, item.sequence, item.at, string.format('%.0f', item.attempt), item.lease}, ' '))
end
local function member(key, item) return item.inverted .. ':' .. item.sequence .. ':' .. key end
local function wake(q) redis.call('XADD', KEYS[q + 5], 'MAXLEN', '1', '*', 'w', '') end
local function enqueue(q, key, inverted, priority)
  if redis.call('HEXISTS', KEYS[q], key) == 1 then return end
  local item = {
    inverted = inverted, priority = priority, sequence = string.format('%016.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1)),
    at = string.format('%.0f', now()), attempt = 0, lease = '0'
  }
  write(q, key, item)
  redis.call('ZADD', KEYS[q + 1], 0, member(key, item))
  redis.call('ZADD', KEYS[q + 4], item.at, key)
  wake(q)
end
local function remove(q, key)
  local item = read(q, key)
  if not item then return end
  redis.call('HDEL', KEYS[q], key)
  redis.call('ZREM', KEYS[q + 1], member(key, item))
  redis.call('ZREM', KEYS[q + 2], key)
  redis.call('ZREM', KEYS[q + 3], key)
  redis.call('ZREM', KEYS[q + 4], key)
end
local function ready(q, from, key)
  redis.call('ZREM', KEYS[q + from], key)
  local item = read(q, key)
  if item then redis.call('ZADD', KEYS[q + 1], 0, member(key, item)) end
end
local function holds(q, key, lease)
  local item = read(q, key)
  if not item or item.lease ~= lease then return nil end
  local due = redis.call('ZSCORE', KEYS[q + 3], key)
  if not due or tonumber(due) <= now() then return nil end
  return item
end
