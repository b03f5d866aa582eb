-- Runs before every script below; see RedisEpochs. The first line of a script's text names the run of the server and the resource it is bound to,
-- so its SHA is known to that run only. A text sent whole (ARGV[3] = '1') proves the run itself, in the very step in which Redis learns its SHA.
-- ARGV: 1 epoch, 2 highest revision the caller knows, 3 '1' if sent as text. KEYS[1]: the resource's meta hash.
local m = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'rev', 'compact', 'floor', 'swept', 'bytes')
if ARGV[3] == '1' and string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. '-' ..
  string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') ~= RUN then
  -- From now on the SHA is known to a run it does not belong to; the resource no longer accepts it.
  if m[1] == RUN then redis.call('HDEL', KEYS[1], 'run') end
  return {-1}
end
if m[1] ~= RUN or m[2] ~= ARGV[1] or tonumber(m[3]) < tonumber(ARGV[2]) then return {-1} end
local rev, compact = tonumber(m[3]), tonumber(m[4])
