using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace OrleansCluster.Storage;

/// <summary>
/// Any store with its answers timed and, while somebody traces, its writes told as spans. Calls that wait by design (the change log, the queue's lease)
/// and those of a pump's background go through unmeasured. The async methods take their state from a pool: measuring allocates nothing.
/// </summary>
public sealed class MeteredObjectStore(IObjectStore inner) : IObjectStore
{
    /// <summary>The store itself.</summary>
    public IObjectStore Inner { get; } = inner;

    /// <inheritdoc/>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, CancellationToken cancellationToken)
    {
        using var span = StartCommit(commits.Count == 0 ? "" : commits[0].Resource);
        var start = Stopwatch.GetTimestamp();
        try
        {
            var results = await Inner.CommitAsync(commits, cancellationToken);
            StoreTelemetry.Operation.Commit.Succeeded(start);
            return results;
        }
        catch (Exception error)
        {
            Fail(StoreTelemetry.Operation.Commit, error, span);
            throw;
        }
    }

    /// <inheritdoc/>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<CommitResult> CommitAsync(Commit commit, CancellationToken cancellationToken)
    {
        using var span = StartCommit(commit.Resource);
        var start = Stopwatch.GetTimestamp();
        try
        {
            var result = await Inner.CommitAsync(commit, cancellationToken);
            StoreTelemetry.Operation.Commit.Succeeded(start);
            if (span is { IsAllDataRequested: true })
                span.SetTag("orleanscluster.outcome", result.Outcome.ToString()).SetTag("orleanscluster.revision", result.Revision);
            return result;
        }
        catch (Exception error)
        {
            Fail(StoreTelemetry.Operation.Commit, error, span);
            throw;
        }
    }

    /// <inheritdoc/>
    public ValueTask<long> AdvanceFenceAsync(string resource, string fence, CancellationToken cancellationToken) =>
        TimeAsync(StoreTelemetry.Operation.Fence, Inner.AdvanceFenceAsync(resource, fence, cancellationToken));

    /// <inheritdoc/>
    public ValueTask<long> GetRevisionAsync(string resource, CancellationToken cancellationToken) =>
        TimeAsync(StoreTelemetry.Operation.Revision, Inner.GetRevisionAsync(resource, cancellationToken));

    /// <inheritdoc/>
    public long EpochOf(string resource) => Inner.EpochOf(resource);

    /// <inheritdoc/>
    public ValueTask<StoredObject?> GetAsync(string resource, string key, CancellationToken cancellationToken) =>
        TimeAsync(StoreTelemetry.Operation.Get, Inner.GetAsync(resource, key, cancellationToken));

    /// <inheritdoc/>
    public ValueTask<StoreSnapshot> GetSnapshotAsync(string resource, CancellationToken cancellationToken) =>
        TimeAsync(StoreTelemetry.Operation.Snapshot, Inner.GetSnapshotAsync(resource, cancellationToken));

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StoredChange>> ReadChangesAsync(
        string resource, long afterRevision, int maxCount, TimeSpan wait, CancellationToken cancellationToken) =>
        Inner.ReadChangesAsync(resource, afterRevision, maxCount, wait, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<long> GetCompactedRevisionAsync(string resource, CancellationToken cancellationToken) =>
        Inner.GetCompactedRevisionAsync(resource, cancellationToken);

    /// <inheritdoc/>
    public ValueTask CompactAsync(string resource, long throughRevision, CancellationToken cancellationToken) =>
        Inner.CompactAsync(resource, throughRevision, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<long?> GetAcknowledgedAsync(string resource, string group, CancellationToken cancellationToken) =>
        Inner.GetAcknowledgedAsync(resource, group, cancellationToken);

    /// <inheritdoc/>
    public ValueTask AcknowledgeAsync(string resource, string group, long throughRevision, CancellationToken cancellationToken) =>
        Inner.AcknowledgeAsync(resource, group, throughRevision, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<QueueItem>> LeaseAsync(
        string resource, string queue, int maxCount, TimeSpan lease, TimeSpan wait, CancellationToken cancellationToken) =>
        Inner.LeaseAsync(resource, queue, maxCount, lease, wait, cancellationToken);

    /// <inheritdoc/>
    public ValueTask ReleaseAsync(string resource, string queue, QueueItem item, TimeSpan delay, CancellationToken cancellationToken) =>
        TimeAsync(StoreTelemetry.Operation.Release, Inner.ReleaseAsync(resource, queue, item, delay, cancellationToken));

    /// <inheritdoc/>
    public ValueTask CompleteAsync(string resource, string queue, QueueItem item, CancellationToken cancellationToken) =>
        TimeAsync(StoreTelemetry.Operation.Complete, Inner.CompleteAsync(resource, queue, item, cancellationToken));

    /// <inheritdoc/>
    public ValueTask WakeAsync(string resource, string queue, IReadOnlyCollection<string>? keys, CancellationToken cancellationToken) =>
        Inner.WakeAsync(resource, queue, keys, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<QueueStatistics> GetQueueStatisticsAsync(string resource, string queue, CancellationToken cancellationToken) =>
        Inner.GetQueueStatisticsAsync(resource, queue, cancellationToken);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Inner.DisposeAsync();

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private static async ValueTask<T> TimeAsync<T>(StoreTelemetry.Operation operation, ValueTask<T> call)
    {
        var start = Stopwatch.GetTimestamp();
        try
        {
            var result = await call;
            operation.Succeeded(start);
            return result;
        }
        catch (Exception error)
        {
            operation.Failed(error);
            throw;
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private static async ValueTask TimeAsync(StoreTelemetry.Operation operation, ValueTask call)
    {
        var start = Stopwatch.GetTimestamp();
        try
        {
            await call;
            operation.Succeeded(start);
        }
        catch (Exception error)
        {
            operation.Failed(error);
            throw;
        }
    }

    // A commit of nobody's request (an event, a lease, an acknowledgement) begins no trace of its own.
    private static Activity? StartCommit(string resource) =>
        Activity.Current is null || !StoreTelemetry.Source.HasListeners()
            ? null
            : StoreTelemetry.Source.StartActivity(StoreTelemetry.Operation.Commit.SpanName, ActivityKind.Client)?.SetTag("k8s.resource", resource);

    private static void Fail(StoreTelemetry.Operation operation, Exception error, Activity? span)
    {
        operation.Failed(error);
        span?.SetStatus(ActivityStatusCode.Error, error.GetType().Name);
    }
}
