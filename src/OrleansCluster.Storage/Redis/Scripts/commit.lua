-- A batch of commits. Every check of the whole batch comes before the first write, because Redis does not roll scripts back.
-- KEYS: 1 meta, 2 objects, 3 values, 4 log, 5 claims, 6 owners, 7 fences, then six per queue (see queue.lua).
-- ARGV: 4 now, 5 number of commits, then per commit: key, expected revision, flags, value, and what the flags ask for:
--   p write, d removal; c claims: count, names; f fence: name, value; e enqueue: queue, inverted priority, priority; r remove from queue: queue.
-- Result: 0, revision, then per commit: the new revision; or minus the present one on a conflict; or 'f' present; or 'c' present, line break, claim.
local n, at = tonumber(ARGV[5]), 6
local keys, commits = {}, {}
for i = 1, n do
  local flags = ARGV[at + 2]
  local commit = {at, tonumber(ARGV[at + 1]), string.sub(flags, 1, 1)}
  keys[i] = ARGV[at]
  at = at + 4
  if #flags > 1 then
    for j = 2, #flags do
      local flag = string.sub(flags, j, j)
      commit[flag] = at
      if flag == 'c' then at = at + 1 + tonumber(ARGV[at])
      elseif flag == 'e' then at = at + 3
      elseif flag == 'f' then at = at + 2
      else at = at + 1 end
    end
  end
  commits[i] = commit
end

local found = redis.call('HMGET', KEYS[2], unpack(keys))
local current = {}
for i = 1, n do current[keys[i]] = tonumber(found[i] or '0') end

local fences, owners, held = {}, {}, {}
local function fence(name)
  if not fences[name] then fences[name] = math.max(tonumber(redis.call('HGET', KEYS[7], name) or '0'), tonumber(m[5])) end
  return fences[name]
end
local function owner(claim)
  if owners[claim] == nil then owners[claim] = redis.call('HGET', KEYS[5], claim) end
  return owners[claim]
end
local function holds(key)
  if held[key] == nil then held[key] = redis.call('HGET', KEYS[6], key) or '' end
  return held[key]
end
local function free(key)
  for claim in string.gmatch(holds(key), '[^\n]+') do owners[claim] = false end
  held[key] = ''
end

local out, entry, values, touched, queued = {0, rev}, {}, {}, {}, {}
local bytes = 0
for i = 1, n do
  local commit, key = commits[i], keys[i]
  local present = current[key]
  local refused
  if present ~= commit[2] then
    refused = -present
  elseif commit.f and fence(ARGV[commit.f]) ~= tonumber(ARGV[commit.f + 1]) then
    refused = string.format('f%.0f', present)
  elseif commit.c then
    for j = commit.c + 1, commit.c + tonumber(ARGV[commit.c]) do
      local by = owner(ARGV[j])
      if by and by ~= key then
        refused = string.format('c%.0f\n', present) .. ARGV[j]
        break
      end
    end
  end
  if refused then
    out[i + 2] = refused
  else
    rev = rev + 1
    local text = string.format('%.0f', rev)
    local value = ARGV[commit[1] + 3]
    entry[#entry + 1] = key
    entry[#entry + 1] = commit[3] .. string.format('%.0f', present)
    values[#values + 1] = text
    values[#values + 1] = value
    bytes = bytes + #value + #key
    touched[key] = true
    if commit[3] == 'd' then
      current[key] = 0
      free(key)
    else
      current[key] = rev
      if commit.c then
        free(key)
        local names, seen = {}, {}
        for j = commit.c + 1, commit.c + tonumber(ARGV[commit.c]) do
          local claim = ARGV[j]
          if not seen[claim] then
            seen[claim] = true
            names[#names + 1] = claim
            owners[claim] = key
          end
        end
        held[key] = table.concat(names, '\n')
      end
    end
    if commit.e or commit.r then queued[#queued + 1] = i end
    out[i + 2] = rev
  end
end
out[2] = rev
if #entry == 0 then return out end

-- Writes. The log first: it refuses an entry that is not above its last, and then nothing has been written.
redis.call('XADD', KEYS[4], string.format('%.0f-0', rev), unpack(entry))
redis.call('HSET', KEYS[3], unpack(values))
local set, gone = {}, {}
for key in pairs(touched) do
  if current[key] > 0 then
    set[#set + 1] = key
    set[#set + 1] = string.format('%.0f', current[key])
  else
    gone[#gone + 1] = key
  end
end
if #set > 0 then redis.call('HSET', KEYS[2], unpack(set)) end
if #gone > 0 then redis.call('HDEL', KEYS[2], unpack(gone)) end
for claim, by in pairs(owners) do
  if by then redis.call('HSET', KEYS[5], claim, by) else redis.call('HDEL', KEYS[5], claim) end
end
for key, claims in pairs(held) do
  if claims ~= '' then redis.call('HSET', KEYS[6], key, claims) else redis.call('HDEL', KEYS[6], key) end
end
redis.call('HSET', KEYS[1], 'rev', string.format('%.0f', rev), 'bytes', string.format('%.0f', tonumber(m[7]) + bytes))
for j = 1, #queued do
  local commit = commits[queued[j]]
  local q = 8 + 6 * tonumber(ARGV[commit.e or commit.r])
  if commit.e then
    enqueue(q, keys[queued[j]], ARGV[commit.e + 1], ARGV[commit.e + 2])
  else
    remove(q, keys[queued[j]])
  end
end
return out
