-- A piece of the log. KEYS: 1 meta, 3 values, 4 log. ARGV: 4 after, 5 most changes.
-- An entry of the log holds the changes of one batch; its id is the last one's revision, its fields are key -> kind and revision it superseded.
-- Result: 0, revision, compacted, first revision returned, keys and kinds in turn, values.
local after, most = tonumber(ARGV[4]), tonumber(ARGV[5])
if after < compact or after >= rev then return {0, rev, compact} end
local found, revisions, first = {}, {}, nil
local from = string.format('%.0f', after + 1)
while most > #revisions do
  local entries = redis.call('XRANGE', KEYS[4], from, '+', 'COUNT', math.min(32, most - #revisions))
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    local last = tonumber(string.match(entry[1], '^%d+'))
    local fields = entry[2]
    local at = last - #fields / 2
    for i = 1, #fields, 2 do
      at = at + 1
      if at > after and #revisions < most then
        first = first or at
        found[#found + 1] = fields[i]
        found[#found + 1] = fields[i + 1]
        revisions[#revisions + 1] = string.format('%.0f', at)
      end
    end
    from = string.format('%.0f', last + 1)
  end
end
if #revisions == 0 then return {0, rev, compact} end
return {0, rev, compact, first, found, redis.call('HMGET', KEYS[3], unpack(revisions))}
