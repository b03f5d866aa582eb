using OrleansCluster.Storage;

namespace OrleansCluster.Faults.Workloads;

/// <summary>What a <see cref="BrokenStore"/> does wrong.</summary>
public enum StoreBug
{
    /// <summary>Nothing: the honest store.</summary>
    None,

    /// <summary>Acknowledges one commit in N without making it.</summary>
    DropsCommits,

    /// <summary>Answers one read in N from an older state.</summary>
    ServesOldState,

    /// <summary>Gives one commit in N the revision of the commit before it.</summary>
    RepeatsRevision,

    /// <summary>Leaves one change in N out of the log.</summary>
    SwallowsChange,

    /// <summary>Hands one change in N out twice.</summary>
    RepeatsChange,

    /// <summary>Writes although the revision is another one.</summary>
    IgnoresExpectedRevision,

    /// <summary>Gives away what another object holds.</summary>
    ForgetsClaims,

    /// <summary>Says conflict for one commit in N although it made it.</summary>
    RefusesAfterCommit,

    /// <summary>Makes one commit in N a second time, after somebody else's.</summary>
    CommitsTwice,

    /// <summary>Brings one deleted object in N back.</summary>
    Resurrects,
}

/// <summary>A store with one deliberate bug, to see whether the checker sees it.</summary>
internal sealed class BrokenStore(IObjectStore inner, StoreBug bug, int everyNth, Func<string, bool>? resources = null) : IObjectStore
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, StoredObject?> _old = new(StringComparer.Ordinal);
    private int _count;
    private long _lastRevision;

    private bool Strikes(string resource) => (resources?.Invoke(resource) ?? true) && Interlocked.Increment(ref _count) % everyNth == 0;

    public async ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, CancellationToken cancellationToken)
    {
        var results = new List<CommitResult>();
        foreach (var commit in commits)
            results.Add(await CommitOneAsync(commit, cancellationToken));
        return results;
    }

    public async ValueTask<StoredObject?> GetAsync(string resource, string key, CancellationToken cancellationToken)
    {
        var now = await inner.GetAsync(resource, key, cancellationToken);
        if (bug != StoreBug.ServesOldState)
            return now;
        lock (_lock)
        {
            var old = _old.GetValueOrDefault(key);
            if (old is not null && Strikes(resource))
                return old;
            _old[key] = now;
            return now;
        }
    }

    public async ValueTask<IReadOnlyList<StoredChange>> ReadChangesAsync(string resource, long afterRevision, int maxCount, TimeSpan wait, CancellationToken cancellationToken)
    {
        var changes = await inner.ReadChangesAsync(resource, afterRevision, maxCount, wait, cancellationToken);
        return bug switch
        {
            StoreBug.SwallowsChange => [.. changes.Where(c => c == changes[^1] || !Strikes(resource))],
            StoreBug.RepeatsChange => [.. changes.SelectMany<StoredChange, StoredChange>(c => Strikes(resource) ? [c, c] : [c])],
            _ => changes,
        };
    }

    public ValueTask<long> GetRevisionAsync(string resource, CancellationToken cancellationToken) => inner.GetRevisionAsync(resource, cancellationToken);

    public ValueTask<StoreSnapshot> GetSnapshotAsync(string resource, CancellationToken cancellationToken) => inner.GetSnapshotAsync(resource, cancellationToken);

    public ValueTask<long> AdvanceFenceAsync(string resource, string fence, CancellationToken cancellationToken) => inner.AdvanceFenceAsync(resource, fence, cancellationToken);

    public ValueTask<long> GetCompactedRevisionAsync(string resource, CancellationToken cancellationToken) => inner.GetCompactedRevisionAsync(resource, cancellationToken);

    public ValueTask CompactAsync(string resource, long throughRevision, CancellationToken cancellationToken) => inner.CompactAsync(resource, throughRevision, cancellationToken);

    public ValueTask<long?> GetAcknowledgedAsync(string resource, string group, CancellationToken cancellationToken) =>
        inner.GetAcknowledgedAsync(resource, group, cancellationToken);

    public ValueTask AcknowledgeAsync(string resource, string group, long throughRevision, CancellationToken cancellationToken) =>
        inner.AcknowledgeAsync(resource, group, throughRevision, cancellationToken);

    public ValueTask<IReadOnlyList<QueueItem>> LeaseAsync(
        string resource, string queue, int maxCount, TimeSpan lease, TimeSpan wait, CancellationToken cancellationToken) =>
        inner.LeaseAsync(resource, queue, maxCount, lease, wait, cancellationToken);

    public ValueTask ReleaseAsync(string resource, string queue, QueueItem item, TimeSpan delay, CancellationToken cancellationToken) =>
        inner.ReleaseAsync(resource, queue, item, delay, cancellationToken);

    public ValueTask CompleteAsync(string resource, string queue, QueueItem item, CancellationToken cancellationToken) =>
        inner.CompleteAsync(resource, queue, item, cancellationToken);

    public ValueTask WakeAsync(string resource, string queue, IReadOnlyCollection<string>? keys, CancellationToken cancellationToken) =>
        inner.WakeAsync(resource, queue, keys, cancellationToken);

    public ValueTask<QueueStatistics> GetQueueStatisticsAsync(string resource, string queue, CancellationToken cancellationToken) =>
        inner.GetQueueStatisticsAsync(resource, queue, cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();

    private async ValueTask<CommitResult> CommitOneAsync(Commit commit, CancellationToken cancellation)
    {
        if (bug == StoreBug.DropsCommits && Strikes(commit.Resource))
        {
            var present = await inner.GetAsync(commit.Resource, commit.Key, cancellation);
            if ((present?.Revision ?? 0) == commit.ExpectedRevision)
                return new CommitResult(CommitOutcome.Committed, await inner.GetRevisionAsync(commit.Resource, cancellation) + 1);
        }
        if (bug == StoreBug.ForgetsClaims)
            commit = commit with { Claims = null };
        var result = await inner.CommitAsync(commit, cancellation);
        if (result.Outcome == CommitOutcome.RevisionConflict && bug == StoreBug.IgnoresExpectedRevision)
            result = await inner.CommitAsync(commit with { ExpectedRevision = result.Revision, Kind = result.Revision == 0 ? CommitKind.Put : commit.Kind }, cancellation);
        if (result.Outcome != CommitOutcome.Committed)
            return result;
        var last = Interlocked.Exchange(ref _lastRevision, result.Revision);
        switch (bug)
        {
            case StoreBug.RepeatsRevision when last > 0 && Strikes(commit.Resource):
                return result with { Revision = last };
            case StoreBug.RefusesAfterCommit when Strikes(commit.Resource):
                return new CommitResult(CommitOutcome.RevisionConflict, result.Revision);
            case StoreBug.CommitsTwice when commit.Kind == CommitKind.Put && Strikes(commit.Resource):
                await inner.CommitAsync(commit with { ExpectedRevision = result.Revision }, cancellation);
                return result;
            case StoreBug.Resurrects when commit.Kind == CommitKind.Delete && Strikes(commit.Resource):
                await inner.CommitAsync(commit with { ExpectedRevision = 0, Kind = CommitKind.Put, Claims = [] }, cancellation);
                return result;
            default:
                return result;
        }
    }
}
