using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Operations;

/// <summary>
/// What the scheduler tells: its attempts, and the queue of pending pods. The queue is the cluster's, so every silo shows the same; take the maximum, not the sum.
/// </summary>
public sealed class SchedulerMetrics : IMetricsRefresh
{
    private const int MostAttemptsTold = 16;

    private static readonly KeyValuePair<string, object?>[] Attempts =
        [.. Enumerable.Range(0, MostAttemptsTold + 1).Select(static i => new KeyValuePair<string, object?>("attempts", i < MostAttemptsTold ? $"{i}" : $"{i}+"))];

    private readonly IObjectStore _store;
    private readonly ConcurrentDictionary<(string Profile, string Result), KeyValuePair<string, object?>[]> _labels = new();
    private volatile QueueStatistics? _queue;

    /// <summary>Made once for a silo.</summary>
    public SchedulerMetrics(IObjectStore store, IMeterFactory meters)
    {
        ArgumentNullException.ThrowIfNull(meters);
        _store = store;
        var meter = meters.Create(ControlPlaneTelemetry.Name);
        meter.CreateObservableGauge(
            "scheduler_pending_pods",
            () => Tell(static q => [new(q.Ready + q.Leased, Label("queue", "active")), new(q.Delayed, Label("queue", "unschedulable"))]),
            null, "Pending pods by queue: 'active' is due or being decided, 'unschedulable' waits for a change or its back-off.");
        meter.CreateObservableGauge(
            "orleanscluster_queue_items",
            () => Tell(static q =>
            [
                new(q.Ready, Label("queue", PendingPods.Queue), Label("state", "ready")),
                new(q.Leased, Label("queue", PendingPods.Queue), Label("state", "leased")),
                new(q.Delayed, Label("queue", PendingPods.Queue), Label("state", "delayed")),
            ]),
            null, "Items of a durable work queue by state.");
        meter.CreateObservableGauge(
            "orleanscluster_queue_oldest_age_seconds",
            () => _queue is { } q ? (Measurement<double>[])[new(q.OldestAge.TotalSeconds, Label("queue", PendingPods.Queue))] : [],
            null, "Age of the oldest item of a durable work queue.");
    }

    /// <summary>Notes an attempt.</summary>
    /// <param name="profile">The pod's scheduler.</param>
    /// <param name="result">`scheduled`, `unschedulable` or `error`.</param>
    /// <param name="elapsed">How long it took.</param>
    public void Attempted(string profile, string result, TimeSpan elapsed)
    {
        // Pods of unknown schedulers are not queued, so profiles are few.
        if (!_labels.TryGetValue((profile, result), out var labels))
            labels = _labels.GetOrAdd((profile, result), static k => [Label("result", k.Result), Label("profile", k.Profile)]);
        ControlPlaneTelemetry.ScheduleAttempts.Add(1, labels);
        ControlPlaneTelemetry.AttemptDuration.Record(elapsed.TotalSeconds, labels);
    }

    /// <summary>Notes a binding.</summary>
    /// <param name="waited">Since the pod entered the queue.</param>
    /// <param name="attempts">Attempts it took.</param>
    public static void Bound(TimeSpan waited, int attempts) =>
        ControlPlaneTelemetry.SchedulingSli.Record(Math.Max(0, waited.TotalSeconds), Attempts[Math.Clamp(attempts, 0, MostAttemptsTold)]);

    /// <inheritdoc/>
    public async ValueTask RefreshAsync(CancellationToken cancellationToken) =>
        _queue = await _store.GetQueueStatisticsAsync("pods", PendingPods.Queue, cancellationToken);

    private Measurement<long>[] Tell(Func<QueueStatistics, Measurement<long>[]> read) => _queue is { } queue ? read(queue) : [];

    private static KeyValuePair<string, object?> Label(string name, string value) => new(name, value);
}
