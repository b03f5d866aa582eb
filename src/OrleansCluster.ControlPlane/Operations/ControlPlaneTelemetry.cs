using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace OrleansCluster.ControlPlane.Operations;

/// <summary>The process-wide instruments of a silo's work, under Kubernetes' names, and the source of its spans.</summary>
internal static class ControlPlaneTelemetry
{
    /// <summary>Name of meter and activity source.</summary>
    public const string Name = "OrleansCluster.ControlPlane";

    /// <summary>Spans of scheduling and of what is sent to nodes.</summary>
    public static readonly ActivitySource Source = new(Name);

    private static readonly Meter Meter = new(Name);

    // kube-scheduler: 15 buckets from 1 ms on, doubling.
    private static readonly double[] AttemptBounds = [.. Enumerable.Range(0, 15).Select(static i => 0.001 * (1 << i))];

    // kube-scheduler: 20 buckets from 10 ms on, doubling; below that stands what only a decision in memory reaches.
    private static readonly double[] SliBounds = [0.001, 0.002, 0.005, .. Enumerable.Range(0, 20).Select(static i => 0.01 * (1 << i))];

    // Work queues: 10 buckets from 10 ns on, times ten.
    private static readonly double[] QueueBounds = [1e-6, 1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5, 10, 60];

    /// <summary>One decision about a pod; labels `result` and `profile`.</summary>
    public static readonly Counter<long> ScheduleAttempts = Meter.CreateCounter<long>(
        "scheduler_schedule_attempts_total", null, "Attempts to schedule pods by result and profile. 'unschedulable': no node fits; 'error': to be tried again.");

    /// <summary>Its duration, the reservation and the commit of the binding included.</summary>
    public static readonly Histogram<double> AttemptDuration = Histogram(
        "scheduler_scheduling_attempt_duration_seconds", "Latency of a scheduling attempt: decision, reservation and binding.", AttemptBounds);

    /// <summary>From the queue's first sight of a pod to its binding; label `attempts`.</summary>
    public static readonly Histogram<double> SchedulingSli = Histogram(
        "scheduler_pod_scheduling_sli_duration_seconds", "Time from a pod's entering the queue to its binding, by attempts.", SliBounds);

    /// <summary>Changes that made an object of a controller ready for a run.</summary>
    public static readonly Counter<long> QueueAdds = Meter.CreateCounter<long>("workqueue_adds_total", null, "Objects that entered a controller's queue.");

    /// <summary>Runs that are to be repeated.</summary>
    public static readonly Counter<long> QueueRetries = Meter.CreateCounter<long>("workqueue_retries_total", null, "Runs of a controller that did not settle and are repeated.");

    /// <summary>From ready to running.</summary>
    public static readonly Histogram<double> QueueDuration = Histogram(
        "workqueue_queue_duration_seconds", "How long an object waits in a controller's queue before its run.", QueueBounds);

    /// <summary>A run.</summary>
    public static readonly Histogram<double> WorkDuration = Histogram("workqueue_work_duration_seconds", "How long a run of a controller takes.", QueueBounds);

    /// <summary>The trace of the call that is being answered, if somebody records it.</summary>
    public static string? CurrentTrace => Source.HasListeners() && Activity.Current is { Recorded: true } span ? span.Id : null;

    /// <summary>A span that goes on with a trace known by its W3C `traceparent`; null if there is none or nobody records.</summary>
    public static Activity? Continue(string name, ActivityKind kind, string? traceParent) =>
        traceParent is not null && ActivityContext.TryParse(traceParent, null, isRemote: true, out var parent)
            ? Source.StartActivity(name, kind, parent)
            : null;

    private static Histogram<double> Histogram(string name, string description, double[] bounds) =>
        Meter.CreateHistogram(name, null, description, null, new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });
}
