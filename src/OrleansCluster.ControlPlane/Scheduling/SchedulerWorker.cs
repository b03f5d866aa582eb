using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// Feeds pending pods to their decision grains: leases them from the queue, highest priority first, decides up to <see cref="BatchSize"/> side by side,
/// and gives back what could not be placed. Every silo runs one; there is no leader. A worker that dies leaves leases behind, which run out.
/// </summary>
public sealed partial class SchedulerWorker(
    IObjectStore store, IResourceCaches caches, IGrainFactory grains, ClusterView cluster, SchedulerMetrics metrics, TimeProvider time,
    ILogger<SchedulerWorker> logger)
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

    private static readonly TimeSpan MaxWakePause = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan CostOfRetry = TimeSpan.FromMilliseconds(0.5);

    private static readonly TimeSpan FirstBackoff = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MaxBackoff = TimeSpan.FromSeconds(10);

    /// <summary>The queue is asked every five seconds or, while all slots decide, when the first of them ends; longer means that something hangs.</summary>
    private static readonly TimeSpan SilenceLimit = TimeSpan.FromSeconds(60);

    private readonly SemaphoreSlim _room = new(0, 1);

    // When the queue has answered last.
    private long _asked = time.GetTimestamp();

    // How often room may have appeared: a decision that found none during such a moment is made again soon.
    private long _rooms;

    // Decisions that found no node since the last wake-up.
    private long _unschedulable;

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

    /// <summary>What is wrong with this worker, or null.</summary>
    internal string? Problem() => time.GetElapsedTime(Volatile.Read(ref _asked)) is var since && since > SilenceLimit
        ? $"the queue of pending pods has not answered for {since.TotalSeconds:0} s"
        : null;

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
                    Volatile.Write(ref _asked, time.GetTimestamp());
                }
                catch (Exception error) when (!cancellationToken.IsCancellationRequested)
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
        var begun = time.GetTimestamp();
        var profile = "";
        try
        {
            var room = Volatile.Read(ref _rooms);
            if (await FindWaitingAsync(item, cancellationToken) is not { } pod)
            {
                await store.CompleteAsync("pods", PendingPods.Queue, item, cancellationToken);
                return;
            }
            var requirements = PodReader.Of(pod);
            profile = requirements.SchedulerName;
            // The span is begun here and not in a method that awaits: what is current would not come back from there.
            using var span = ControlPlaneTelemetry.Continue("schedule pod", ActivityKind.Consumer, await TraceOfAsync(pod.Key, cancellationToken));
            span?.SetTag("k8s.namespace.name", pod.Key.Namespace).SetTag("k8s.object.name", pod.Key.Name);
            var outcome = await grains.GetGrain<ISchedulingDecisionGrain>(pod.Uid).DecideAsync(
                new DecisionRequest { PodKey = item.Key, Pod = pod.Bytes.ToArray(), Attempt = item.Attempt, Requirements = requirements }, cancellationToken);
            span?.SetTag("orleanscluster.result", outcome.Result.ToString()).SetTag("k8s.node.name", outcome.Node);
            Note(item, outcome.Result, profile, time.GetElapsedTime(begun));
            await FinishAsync(item, outcome, room, cancellationToken);
        }
        catch (Exception) when (cancellationToken.IsCancellationRequested)
        {
            // Stopping; the lease runs out.
        }
        catch (Exception error)
        {
            Log.DecisionFailed(logger, item.Key, error);
            Note(item, DecisionResult.Failed, profile, time.GetElapsedTime(begun));
            await ReleaseQuietlyAsync(item, Backoff(item.Attempt), cancellationToken);
        }
        finally
        {
            slots.Release();
        }
    }

    /// <summary>
    /// The pod of a queue item if it waits for a node. That it does not is taken from the newest state only: this cache may still show a namesake that
    /// has gone, and an item that is completed wrongly leaves its pod pending for ever.
    /// </summary>
    private async ValueTask<ICachedObject?> FindWaitingAsync(QueueItem item, CancellationToken cancellationToken)
    {
        var key = ObjectKey.FromStorageKey("pods", item.Key);
        var pods = caches.Get("pods");
        if (pods.Current?.Find(key.Namespace, key.Name) is { } pod && Waits(pod))
            return pod;
        return (await pods.GetLatestAsync(cancellationToken)).Find(key.Namespace, key.Name) is { } latest && Waits(latest) ? latest : null;
    }

    private void Note(QueueItem item, DecisionResult result, string profile, TimeSpan elapsed)
    {
        if (result == DecisionResult.Obsolete)
            return;
        metrics.Attempted(profile, result switch { DecisionResult.Bound => "scheduled", DecisionResult.Unschedulable => "unschedulable", _ => "error" }, elapsed);
        if (result == DecisionResult.Bound)
            SchedulerMetrics.Bound(time.GetUtcNow() - item.EnqueuedAt, item.Attempt);
    }

    /// <summary>The decision is a part of the trace of the request that made the pod. The pod's grain knows it; it is asked only while somebody traces.</summary>
    private async ValueTask<string?> TraceOfAsync(ObjectKey pod, CancellationToken cancellationToken)
    {
        if (!ControlPlaneTelemetry.Source.HasListeners())
            return null;
        try
        {
            return await grains.GetGrain<IObjectGrain>(pod.ToString()).GetTraceParentAsync(cancellationToken);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            return null; // A trace that breaks off is no reason not to schedule.
        }
    }

    private static bool Waits(ICachedObject pod) => !pod.IsDeleting && pod.Field("spec.nodeName") is null or "";

    private async Task FinishAsync(QueueItem item, DecisionOutcome outcome, long room, CancellationToken cancellationToken)
    {
        switch (outcome.Result)
        {
            case DecisionResult.Bound:
                break; // The commit that bound it took it out of the queue.
            case DecisionResult.Unschedulable:
                Log.Unschedulable(logger, item.Key, outcome.Message);
                Interlocked.Increment(ref _unschedulable);
                // What happened during the decision woke nobody who was being decided about.
                await ReleaseAsync(item, room == Volatile.Read(ref _rooms) ? UnschedulableRetry : Backoff(item.Attempt), cancellationToken);
                // Once more, for what happened between the look and the release.
                if (room != Volatile.Read(ref _rooms))
                    NoteRoom(counts: false);
                break;
            default:
                // Obsolete too: whether the pod still waits is looked up with the next lease, which the commit that said so has made void.
                await ReleaseAsync(item, Backoff(item.Attempt), cancellationToken);
                break;
        }
    }

    private ValueTask ReleaseAsync(QueueItem item, TimeSpan delay, CancellationToken cancellationToken) =>
        store.ReleaseAsync("pods", PendingPods.Queue, item, delay, cancellationToken);

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
            Interlocked.Exchange(ref _unschedulable, 0);
            try
            {
                await store.WakeAsync("pods", PendingPods.Queue, null, cancellationToken);
            }
            catch (Exception error) when (!cancellationToken.IsCancellationRequested)
            {
                Log.QueueAway(logger, error.Message);
                NoteRoom();
            }
            await Task.Delay(WakeInterval, time, cancellationToken);
            // Pods that were woken in vain make the next wake-up wait, so that thousands of them take a fifth of a processor at most.
            var pause = CostOfRetry * Volatile.Read(ref _unschedulable);
            if (pause > TimeSpan.Zero)
                await Task.Delay(pause < MaxWakePause ? pause : MaxWakePause, time, cancellationToken);
        }
    }

    private void NoteRoom() => NoteRoom(counts: true);

    private void NoteRoom(bool counts)
    {
        if (counts)
            Interlocked.Increment(ref _rooms);
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
