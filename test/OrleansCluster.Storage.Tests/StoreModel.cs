namespace OrleansCluster.Storage.Tests;

/// <summary>
/// The contract of the store as the simplest program that keeps it: lists, searched from end to end. Time is a number of seconds.
/// </summary>
internal sealed class StoreModel
{
    public List<StoredChange> Log { get; } = [];
    public long Compacted { get; set; }
    public Dictionary<string, long> Fences { get; } = new(StringComparer.Ordinal);
    public Dictionary<string, long> Acknowledged { get; } = new(StringComparer.Ordinal);
    public List<ModelItem> Queue { get; } = [];
    public DateTimeOffset Now { get; set; }
    public long Revision => Log.Count;

    private readonly Dictionary<string, string[]> _claims = new(StringComparer.Ordinal);
    private long _enqueued;

    public IEnumerable<StoredObject> Objects =>
        Log.GroupBy(c => c.Key, StringComparer.Ordinal).Select(g => g.Last()).Where(c => c.Kind == CommitKind.Put)
            .Select(c => new StoredObject(c.Key, c.Revision, c.Value));

    public StoredObject? Find(string key) => Objects.FirstOrDefault(o => string.Equals(o.Key, key, StringComparison.Ordinal));

    public CommitResult Commit(Commit commit)
    {
        var current = Find(commit.Key)?.Revision ?? 0;
        if (current != commit.ExpectedRevision)
            return new CommitResult(CommitOutcome.RevisionConflict, current);
        if (commit.Fence is { } fence && Fences.GetValueOrDefault(fence.Name) != fence.Value)
            return new CommitResult(CommitOutcome.FenceConflict, current);
        foreach (var claim in commit.Kind == CommitKind.Put ? commit.Claims ?? [] : [])
        {
            if (_claims.Any(c => c.Value.Contains(claim) && c.Key != commit.Key))
                return new CommitResult(CommitOutcome.ClaimConflict, current, claim);
        }
        Log.Add(new StoredChange(Revision + 1, commit.Key, commit.Kind, commit.Value));
        if (commit.Kind == CommitKind.Delete)
            _claims.Remove(commit.Key);
        else if (commit.Claims is not null)
            _claims[commit.Key] = [.. commit.Claims];
        if (commit.Queue is { } queue)
        {
            var present = Queue.Find(i => i.Key == commit.Key);
            if (queue.Action == QueueAction.Remove && present is not null)
                Queue.Remove(present);
            if (queue.Action == QueueAction.Enqueue && present is null)
                Queue.Add(new ModelItem { Key = commit.Key, Priority = queue.Priority, Order = _enqueued++ });
        }
        return new CommitResult(CommitOutcome.Committed, Revision);
    }

    public void Compact(long through) => Compacted = Math.Max(Compacted, Math.Min(through, Revision));

    public List<ModelItem> Lease(int count, TimeSpan lease)
    {
        List<ModelItem> items = [.. Queue.Where(i => i.DueAt <= Now).OrderByDescending(i => i.Priority).ThenBy(i => i.Order).Take(count)];
        foreach (var item in items)
        {
            item.Attempt++;
            item.Leased = true;
            item.DueAt = Now + lease;
        }
        return items;
    }

    public bool IsClaimed(string claim) => _claims.Values.Any(c => c.Contains(claim));

    public void Restart()
    {
        foreach (var item in Queue)
        {
            item.Leased = false;
            item.DueAt = default;
            item.Attempt = 0;
        }
    }

    internal sealed class ModelItem
    {
        public required string Key { get; init; }
        public required long Priority { get; init; }
        public required long Order { get; init; }
        public int Attempt { get; set; }
        public bool Leased { get; set; }
        public DateTimeOffset DueAt { get; set; }
    }
}
