namespace OrleansCluster.Storage;

/// <summary>
/// The store: per resource a table of current objects, a change log whose entries carry the revisions, claims, fences, and work queues.
/// One contract, several stores; <c>ObjectStoreBattery</c> in the tests holds for each of them.
/// Every method may throw <see cref="StoreUnavailableException"/>; a commit that throws has an unknown outcome.
/// </summary>
public interface IObjectStore : IObjectReader, IObjectWriter, IChangeLog, IWorkQueue, IAsyncDisposable;

/// <summary>Point and snapshot reads.</summary>
public interface IObjectReader
{
    /// <summary>The newest committed revision of a resource; 0 before its first commit.</summary>
    ValueTask<long> GetRevisionAsync(string resource, CancellationToken cancellationToken);

    /// <summary>
    /// Which history of a resource this process last met: another number than before means that acknowledged writes may be gone, so that what is remembered from
    /// before is of no use. Asks nobody; any call that reaches the store brings it up to date. 0: this store never loses its newest writes, or it was not met yet.
    /// </summary>
    long EpochOf(string resource) => 0;

    /// <summary>The object as last committed, or null.</summary>
    ValueTask<StoredObject?> GetAsync(string resource, string key, CancellationToken cancellationToken);

    /// <summary>
    /// All objects of a resource at one revision, in no particular order. Reading the change log after <see cref="StoreSnapshot.Revision"/>
    /// continues it without a gap.
    /// </summary>
    ValueTask<StoreSnapshot> GetSnapshotAsync(string resource, CancellationToken cancellationToken);
}

/// <summary>All objects of a resource at one revision.</summary>
/// <param name="Revision">The revision.</param>
/// <param name="Objects">The objects.</param>
public sealed record StoreSnapshot(long Revision, IReadOnlyList<StoredObject> Objects);

/// <summary>Atomic writes.</summary>
public interface IObjectWriter
{
    /// <summary>
    /// Runs commits, each atomic in itself and independent of the others, and returns their results in order once they are durable.
    /// Calls run side by side are grouped into few physical writes (group commit).
    /// </summary>
    ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, CancellationToken cancellationToken);

    /// <summary>Runs one commit.</summary>
    async ValueTask<CommitResult> CommitAsync(Commit commit, CancellationToken cancellationToken) =>
        (await CommitAsync([commit], cancellationToken))[0];

    /// <summary>Raises a fence by one and returns its new value; the first value is 1.</summary>
    ValueTask<long> AdvanceFenceAsync(string resource, string fence, CancellationToken cancellationToken);
}

/// <summary>The per-resource log of changes.</summary>
public interface IChangeLog
{
    /// <summary>
    /// Entries after a revision in order, at most <paramref name="maxCount"/>. If there are none it waits up to <paramref name="wait"/> for the first
    /// and returns an empty list when time is up.
    /// </summary>
    /// <exception cref="CompactedException">Entries after that revision have been compacted away.</exception>
    ValueTask<IReadOnlyList<StoredChange>> ReadChangesAsync(
        string resource, long afterRevision, int maxCount, TimeSpan wait, CancellationToken cancellationToken);

    /// <summary>The oldest revision one may still continue from: entries up to and including it may be gone.</summary>
    ValueTask<long> GetCompactedRevisionAsync(string resource, CancellationToken cancellationToken);

    /// <summary>Drops log entries up to and including a revision; current objects are untouched.</summary>
    ValueTask CompactAsync(string resource, long throughRevision, CancellationToken cancellationToken);

    /// <summary>
    /// The revision up to which a consumer group has acknowledged everything, or null for a group that never did. Groups outlive processes.
    /// </summary>
    ValueTask<long?> GetAcknowledgedAsync(string resource, string group, CancellationToken cancellationToken);

    /// <summary>Remembers that a consumer group is done with everything up to and including a revision. Never moves backwards.</summary>
    ValueTask AcknowledgeAsync(string resource, string group, long throughRevision, CancellationToken cancellationToken);
}

/// <summary>
/// Durable work queues: at least once, highest priority first, oldest first among equals. An item is leased, not taken: if its worker dies, the
/// lease runs out and another gets it. No key is in a queue twice.
/// </summary>
public interface IWorkQueue
{
    /// <summary>Leases up to <paramref name="maxCount"/> due items, waiting up to <paramref name="wait"/> for the first.</summary>
    ValueTask<IReadOnlyList<QueueItem>> LeaseAsync(
        string resource, string queue, int maxCount, TimeSpan lease, TimeSpan wait, CancellationToken cancellationToken);

    /// <summary>Gives an item back, due again after <paramref name="delay"/>. No effect if the lease is no longer the item's.</summary>
    ValueTask ReleaseAsync(string resource, string queue, QueueItem item, TimeSpan delay, CancellationToken cancellationToken);

    /// <summary>Removes an item that is done. No effect if the lease is no longer the item's. Commits remove items by themselves.</summary>
    ValueTask CompleteAsync(string resource, string queue, QueueItem item, CancellationToken cancellationToken);

    /// <summary>Makes waiting (not leased) items due at once: all of them, or those given.</summary>
    ValueTask WakeAsync(string resource, string queue, IReadOnlyCollection<string>? keys, CancellationToken cancellationToken);

    /// <summary>Number of items and age of the oldest.</summary>
    ValueTask<QueueStatistics> GetQueueStatisticsAsync(string resource, string queue, CancellationToken cancellationToken);
}

/// <summary>A leased queue item.</summary>
/// <param name="Key">The object's key.</param>
/// <param name="Priority">Its priority.</param>
/// <param name="Attempt">How often it has been leased, this time included.</param>
/// <param name="EnqueuedAt">When it entered the queue.</param>
/// <param name="LeaseId">Identifies this lease.</param>
public sealed record QueueItem(string Key, long Priority, int Attempt, DateTimeOffset EnqueuedAt, long LeaseId);

/// <summary>Size of a queue.</summary>
/// <param name="Ready">Items due and not leased.</param>
/// <param name="Leased">Items in work.</param>
/// <param name="Delayed">Items waiting for their back-off to end.</param>
/// <param name="OldestAge">Age of the oldest item.</param>
public sealed record QueueStatistics(long Ready, long Leased, long Delayed, TimeSpan OldestAge);

/// <summary>The store does not answer; the outcome of a write is unknown.</summary>
public sealed class StoreUnavailableException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>The log no longer reaches back to the revision asked for.</summary>
/// <param name="compacted">The oldest revision one may continue from.</param>
public sealed class CompactedException(long compacted) : Exception($"The change log has been compacted through revision {compacted}.")
{
    /// <summary>The oldest revision one may continue from.</summary>
    public long CompactedRevision { get; } = compacted;
}
