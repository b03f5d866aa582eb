-- A piece of compaction. KEYS: 1 meta, 3 values, 4 log. ARGV: 4 through, 5 most log entries passed.
-- Passing a change removes the value it superseded, and its own if it is a removal. Result: 0, revision, compacted, revision physically reached.
local through = math.min(tonumber(ARGV[4]), rev)
if through > compact then
  compact = through
  redis.call('HSET', KEYS[1], 'compact', string.format('%.0f', compact))
end
local reached = tonumber(m[6])
if reached >= compact then return {0, rev, compact, reached} end
local entries = redis.call('XRANGE', KEYS[4], string.format('%.0f', reached + 1), '+', 'COUNT', ARGV[5])
local obsolete, to = {}, compact
for _, entry in ipairs(entries) do
  local last = tonumber(string.match(entry[1], '^%d+'))
  local fields = entry[2]
  local at = last - #fields / 2
  for i = 1, #fields, 2 do
    at = at + 1
    if at > reached and at <= compact then
      local kind, previous = string.sub(fields[i + 1], 1, 1), string.sub(fields[i + 1], 2)
      if previous ~= '0' then obsolete[#obsolete + 1] = previous end
      if kind == 'd' then obsolete[#obsolete + 1] = string.format('%.0f', at) end
    end
  end
  to = math.min(last, compact)
end
if #entries < tonumber(ARGV[5]) then to = compact end
if #obsolete > 0 then redis.call('HDEL', KEYS[3], unpack(obsolete)) end
local text = string.format('%.0f', to)
redis.call('XTRIM', KEYS[4], 'MINID', string.format('%.0f', to + 1))
redis.call('HSET', KEYS[1], 'swept', text)
return {0, rev, compact, to}
