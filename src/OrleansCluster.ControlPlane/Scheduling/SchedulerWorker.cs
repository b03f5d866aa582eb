using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// Feeds pending pods to their decision grains: leases them from the queue, highest priority first, decides up to <see cref="BatchSize"/> side by side,
/// and gives back what could not be placed. Every silo runs one; there is no leader. A worker that dies leaves leases behind, which run out.
/// </summary>
public sealed partial class SchedulerWorker(
    IObjectStore store, IResourceCaches caches, IGrainFactory grains, ClusterView cluster, TimeProvider time, ILogger<SchedulerWorker> logger)
    : BackgroundService
{
    /// <summary>Pods decided side by side: enough to fill the store's group commits.</summary>
    private const int BatchSize = 64;

    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(5);

    /// <summary>An unschedulable pod is tried again after this even if nothing seems to have changed (as in Kubernetes).</summary>
    private static readonly TimeSpan UnschedulableRetry = TimeSpan.FromMinutes(5);

    /// <summary>Least time between two wake-ups of all unschedulable pods: one departure must not start a stampede of thousands of decisions.</summary>
    private static readonly TimeSpan WakeInterval = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan FirstBackoff = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MaxBackoff = TimeSpan.FromSeconds(10);

    private readonly SemaphoreSlim _room = new(0, 1);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        cluster.RoomMayHaveAppeared += NoteRoom;
        try
        {
            await Task.WhenAll(DecideLoopAsync(stoppingToken), WakeLoopAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
        finally
        {
            cluster.RoomMayHaveAppeared -= NoteRoom;
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _room.Dispose();
        base.Dispose();
    }

    private async Task DecideLoopAsync(CancellationToken cancellationToken)
    {
        // Slots are given out one by one as decisions end, so that a slow one holds up nobody else.
        using var slots = new SemaphoreSlim(BatchSize, BatchSize);
        var running = new HashSet<Task>();
        try
        {
            while (true)
            {
                await slots.WaitAsync(cancellationToken);
                var free = 1;
                while (free < BatchSize && await slots.WaitAsync(TimeSpan.Zero, CancellationToken.None))
                    free++;
                IReadOnlyList<QueueItem> items = [];
                try
                {
                    items = await store.LeaseAsync("pods", PendingPods.Queue, free, Lease, Wait, cancellationToken);
                }
                catch (StoreUnavailableException error)
                {
                    Log.QueueAway(logger, error.Message);
                    await Task.Delay(FirstBackoff, time, cancellationToken);
                }
                if (free > items.Count)
                    slots.Release(free - items.Count);
                running.RemoveWhere(t => t.IsCompleted);
                foreach (var item in items)
                    running.Add(DecideAsync(item, slots, cancellationToken));
            }
        }
        finally
        {
            await Task.WhenAll(running);
        }
    }

    private async Task DecideAsync(QueueItem item, SemaphoreSlim slots, CancellationToken cancellationToken)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        try
        {
            var slash = item.Key.IndexOf('/', StringComparison.Ordinal);
            var pods = caches.Get("pods");
            var pod = pods.Current?.Find(item.Key[..slash], item.Key[(slash + 1)..])
                ?? (await pods.GetLatestAsync(cancellationToken)).Find(item.Key[..slash], item.Key[(slash + 1)..]);
            if (pod is null || pod.Field("spec.nodeName") is { Length: > 0 })
            {
                await store.CompleteAsync("pods", PendingPods.Queue, item, cancellationToken);
                return;
            }
            var outcome = await grains.GetGrain<ISchedulingDecisionGrain>(pod.Uid).DecideAsync(
                new DecisionRequest { PodKey = item.Key, Pod = pod.Bytes.ToArray(), Attempt = item.Attempt }, cancellationToken);
            await FinishAsync(item, outcome, cancellationToken);
        }
        catch (Exception error) when (!cancellationToken.IsCancellationRequested)
        {
            Log.DecisionFailed(logger, item.Key, error);
            await ReleaseQuietlyAsync(item, Backoff(item.Attempt), cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Stopping; the lease runs out.
        }
        finally
        {
            slots.Release();
        }
    }

    private async Task FinishAsync(QueueItem item, DecisionOutcome outcome, CancellationToken cancellationToken)
    {
        switch (outcome.Result)
        {
            case DecisionResult.Bound:
                break; // The commit that bound it took it out of the queue.
            case DecisionResult.Obsolete:
                await store.CompleteAsync("pods", PendingPods.Queue, item, cancellationToken);
                break;
            case DecisionResult.Unschedulable:
                Log.Unschedulable(logger, item.Key, outcome.Message);
                await store.ReleaseAsync("pods", PendingPods.Queue, item, UnschedulableRetry, cancellationToken);
                break;
            default:
                await store.ReleaseAsync("pods", PendingPods.Queue, item, Backoff(item.Attempt), cancellationToken);
                break;
        }
    }

    private async Task ReleaseQuietlyAsync(QueueItem item, TimeSpan delay, CancellationToken cancellationToken)
    {
        try
        {
            await store.ReleaseAsync("pods", PendingPods.Queue, item, delay, cancellationToken);
        }
        catch (Exception error) when (error is StoreUnavailableException or OperationCanceledException)
        {
            // The lease runs out by itself.
        }
    }

    private async Task WakeLoopAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await _room.WaitAsync(cancellationToken);
            try
            {
                await store.WakeAsync("pods", PendingPods.Queue, null, cancellationToken);
            }
            catch (StoreUnavailableException error)
            {
                Log.QueueAway(logger, error.Message);
                NoteRoom();
            }
            await Task.Delay(WakeInterval, time, cancellationToken);
        }
    }

    private void NoteRoom()
    {
        try
        {
            _room.Release();
        }
        catch (SemaphoreFullException)
        {
            // A wake-up is due already.
        }
    }

    private static TimeSpan Backoff(int attempt) =>
        TimeSpan.FromTicks(Math.Min(MaxBackoff.Ticks, FirstBackoff.Ticks << Math.Min(attempt - 1, 10)));

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "The queue of pending pods does not answer: {Error}")]
        public static partial void QueueAway(ILogger logger, string error);

        [LoggerMessage(LogLevel.Warning, "Deciding about {Pod} failed; it will be tried again")]
        public static partial void DecisionFailed(ILogger logger, string pod, Exception error);

        [LoggerMessage(LogLevel.Debug, "{Pod} is unschedulable: {Message}")]
        public static partial void Unschedulable(ILogger logger, string pod, string message);
    }
}
