-- KEYS: 1 meta, then the queue's six. ARGV: 4 now, 5 key, 6 lease.
if holds(2, ARGV[5], ARGV[6]) then remove(2, ARGV[5]) end
return {0, rev}
