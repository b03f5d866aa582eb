-- Decides atomically whether this resource goes on where it was or enters a new epoch; see RedisEpochs for the rules.
-- KEYS[1]: meta, KEYS[2]: log. ARGV: 1 highest revision the caller knows, 2 its epoch, 3 the run that last fed it, 4 '1' if a restart may lose a tail
-- (durability not shown, or a topology that fails over), 5 '1' to begin a new epoch whatever is found.
-- A run is a life of the server's process and of its history: a master that was demoted and promoted again has the same process, another history.
local process = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local replication = redis.call('INFO', 'replication')
local run = process .. '-' .. string.match(replication, 'master_replid:(%x+)')
local m = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'rev', 'adopted', 'importing')
if m[5] then return redis.error_reply('IMPORT an import into this store has not ended') end
local known, knownEpoch = tonumber(ARGV[1]), tonumber(ARGV[2])
local rev, epoch = tonumber(m[3] or '0'), tonumber(m[2] or '0')
local lost
if ARGV[5] == '1' or known > rev or knownEpoch > epoch then
  lost = true
elseif m[1] == run then
  -- Seen from an earlier run, in this epoch, above what this run began with: the numbers have been overtaken, what they named is gone.
  lost = knownEpoch == epoch and ARGV[3] ~= '' and ARGV[3] ~= run and known > tonumber(m[4] or '0')
elseif not m[2] then
  lost = false
else
  -- Promoted from a replica, this time or before; or another process where one can take over from another, or whose log is not durable.
  lost = string.match(replication, 'second_repl_offset:(%-?%d+)') ~= '-1' or
    (ARGV[4] == '1' and (not m[1] or string.sub(m[1], 1, #process) ~= process))
end
if not lost then
  if m[1] ~= run then
    if not m[2] then
      epoch = 1
      redis.call('HSET', KEYS[1], 'epoch', '1', 'rev', '0', 'compact', '0', 'swept', '0', 'floor', '0', 'bytes', '0')
    end
    redis.call('HSET', KEYS[1], 'run', run, 'adopted', string.format('%.0f', rev))
  end
  return {run, epoch, rev, 0}
end
-- Above every revision ever given out: those known here, those found here, and those of any earlier epoch, because none counts 2^21 a second.
local start = math.max(rev + 1, known + 1, tonumber(redis.call('TIME')[1]) * 2097152)
epoch = math.max(epoch, knownEpoch) + 1
local text = string.format('%.0f', start)
-- The marker first: it wakes tails, and Redis refuses it if the log were already above.
redis.call('XADD', KEYS[2], text .. '-0', '', 'e0')
if not m[2] then redis.call('HSET', KEYS[1], 'swept', '0', 'bytes', '0') end
redis.call('HSET', KEYS[1], 'run', run, 'adopted', text, 'epoch', string.format('%.0f', epoch), 'rev', text, 'compact', text,
  'floor', text, 'seq', text, 'lease', text)
return {run, epoch, start, 1}
