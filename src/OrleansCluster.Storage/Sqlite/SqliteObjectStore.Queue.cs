namespace OrleansCluster.Storage;

// The work queue: leases live in memory, see LeaseQueue.
public sealed partial class SqliteObjectStore
{
    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<QueueItem>> LeaseAsync(
        string resource, string queue, int maxCount, TimeSpan lease, TimeSpan wait, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxCount);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(lease, TimeSpan.Zero);
        var state = Resource(resource);
        LeaseQueue target;
        lock (state.Gate)
            target = state.QueueLocked(queue);
        var start = _time.GetTimestamp();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            // Before the look, so that an item added between look and wait still wakes us.
            var changed = target.Changed.NextAsync();
            ThrowIfDisposed();
            var now = _time.GetUtcNow();
            DateTimeOffset? nextDue;
            lock (state.Gate)
            {
                var items = target.Lease(maxCount, now, lease);
                if (items.Count > 0)
                    return items;
                nextDue = target.NextDue();
            }
            var left = wait - _time.GetElapsedTime(start);
            if (left <= TimeSpan.Zero)
                return [];
            var untilDue = nextDue is { } due ? due - now : TimeSpan.MaxValue;
            await AsyncSignal.WaitAsync(changed, untilDue < left ? untilDue : left, _time, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public ValueTask ReleaseAsync(string resource, string queue, QueueItem item, TimeSpan delay, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        LeaseQueue target;
        lock (state.Gate)
        {
            target = state.QueueLocked(queue);
            target.Release(item.Key, item.LeaseId, _time.GetUtcNow(), delay);
        }
        target.Changed.Pulse();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public async ValueTask CompleteAsync(string resource, string queue, QueueItem item, CancellationToken cancellationToken) =>
        await _writer.RunAsync(new CompleteRequest(Resource(resource), queue, item), cancellationToken);

    /// <inheritdoc/>
    public ValueTask WakeAsync(string resource, string queue, IReadOnlyCollection<string>? keys, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        LeaseQueue target;
        lock (state.Gate)
        {
            target = state.QueueLocked(queue);
            target.Wake(keys);
        }
        target.Changed.Pulse();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask<QueueStatistics> GetQueueStatisticsAsync(string resource, string queue, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        lock (state.Gate)
            return ValueTask.FromResult(state.QueueLocked(queue).Statistics(_time.GetUtcNow()));
    }
}
