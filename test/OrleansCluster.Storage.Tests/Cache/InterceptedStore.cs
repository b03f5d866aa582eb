namespace OrleansCluster.Storage.Tests.Cache;

/// <summary>A store whose reads a test can hold back, fail or count.</summary>
internal sealed class InterceptedStore(IObjectStore inner) : IObjectStore
{
    private int _revisionQuestions;

    public Func<Task>? BeforeRevision { get; set; }
    public Func<Task>? BeforeSnapshot { get; set; }
    public Func<Task>? BeforeChanges { get; set; }

    /// <summary>Reports this instead of the true revision.</summary>
    public long? Revision { get; set; }

    public int RevisionQuestions => Volatile.Read(ref _revisionQuestions);

    public async ValueTask<long> GetRevisionAsync(string resource, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _revisionQuestions);
        var revision = await inner.GetRevisionAsync(resource, cancellationToken);
        if (BeforeRevision is { } before)
            await before().WaitAsync(cancellationToken);
        return Revision ?? revision;
    }

    public async ValueTask<StoreSnapshot> GetSnapshotAsync(string resource, CancellationToken cancellationToken)
    {
        if (BeforeSnapshot is { } before)
            await before().WaitAsync(cancellationToken);
        return await inner.GetSnapshotAsync(resource, cancellationToken);
    }

    public async ValueTask<IReadOnlyList<StoredChange>> ReadChangesAsync(
        string resource, long afterRevision, int maxCount, TimeSpan wait, CancellationToken cancellationToken)
    {
        if (BeforeChanges is { } before)
            await before().WaitAsync(cancellationToken);
        return await inner.ReadChangesAsync(resource, afterRevision, maxCount, wait, cancellationToken);
    }

    public long EpochOf(string resource) => inner.EpochOf(resource);

    public ValueTask<StoredObject?> GetAsync(string resource, string key, CancellationToken cancellationToken) => inner.GetAsync(resource, key, cancellationToken);

    public ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, CancellationToken cancellationToken) => inner.CommitAsync(commits, cancellationToken);

    public ValueTask<long> AdvanceFenceAsync(string resource, string fence, CancellationToken cancellationToken) => inner.AdvanceFenceAsync(resource, fence, cancellationToken);

    public ValueTask<long> GetCompactedRevisionAsync(string resource, CancellationToken cancellationToken) => inner.GetCompactedRevisionAsync(resource, cancellationToken);

    public ValueTask CompactAsync(string resource, long throughRevision, CancellationToken cancellationToken) => inner.CompactAsync(resource, throughRevision, cancellationToken);

    public ValueTask<long?> GetAcknowledgedAsync(string resource, string group, CancellationToken cancellationToken) => inner.GetAcknowledgedAsync(resource, group, cancellationToken);

    public ValueTask AcknowledgeAsync(string resource, string group, long throughRevision, CancellationToken cancellationToken) =>
        inner.AcknowledgeAsync(resource, group, throughRevision, cancellationToken);

    public ValueTask<IReadOnlyList<QueueItem>> LeaseAsync(string resource, string queue, int maxCount, TimeSpan lease, TimeSpan wait, CancellationToken cancellationToken) =>
        inner.LeaseAsync(resource, queue, maxCount, lease, wait, cancellationToken);

    public ValueTask ReleaseAsync(string resource, string queue, QueueItem item, TimeSpan delay, CancellationToken cancellationToken) =>
        inner.ReleaseAsync(resource, queue, item, delay, cancellationToken);

    public ValueTask CompleteAsync(string resource, string queue, QueueItem item, CancellationToken cancellationToken) =>
        inner.CompleteAsync(resource, queue, item, cancellationToken);

    public ValueTask WakeAsync(string resource, string queue, IReadOnlyCollection<string>? keys, CancellationToken cancellationToken) =>
        inner.WakeAsync(resource, queue, keys, cancellationToken);

    public ValueTask<QueueStatistics> GetQueueStatisticsAsync(string resource, string queue, CancellationToken cancellationToken) =>
        inner.GetQueueStatisticsAsync(resource, queue, cancellationToken);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
