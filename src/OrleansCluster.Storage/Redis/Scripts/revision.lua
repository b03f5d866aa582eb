-- KEYS: 1 meta. Result: 0, revision, compacted revision, bytes written to the log so far, revision compaction has physically reached.
return {0, rev, compact, tonumber(m[7]), tonumber(m[6])}
