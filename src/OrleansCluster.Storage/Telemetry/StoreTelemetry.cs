using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace OrleansCluster.Storage;

/// <summary>
/// What the stores tell about themselves, whichever store it is. The instruments are the process's and cost next to nothing while nobody listens.
/// Units stand in the names, as in Prometheus, and not in the instruments: an exporter would append them again.
/// </summary>
public static class StoreTelemetry
{
    /// <summary>Name of meter and activity source.</summary>
    public const string Name = "OrleansCluster.Storage";

    /// <summary>Bounds of durations in seconds: from an answer out of memory to a store that hangs.</summary>
    public static readonly IReadOnlyList<double> DurationBounds =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

    private static readonly Meter Meter = new(Name);

    private static readonly Histogram<double> BatchDuration = Meter.CreateHistogram(
        "orleanscluster_store_batch_duration_seconds", null, "Duration of a physical write of the store, in which many commits may be grouped.",
        null, new InstrumentAdvice<double> { HistogramBucketBoundaries = DurationBounds });

    private static readonly Histogram<int> BatchSize = Meter.CreateHistogram(
        "orleanscluster_store_batch_size", null, "Commits and other writes that were grouped into one physical write of the store.",
        null, new InstrumentAdvice<int> { HistogramBucketBoundaries = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] });

    private static readonly Histogram<double> Durations = Meter.CreateHistogram(
        "apiserver_storage_request_duration_seconds", null, "Time of the store's answer by operation, waiting for its group included.",
        null, new InstrumentAdvice<double> { HistogramBucketBoundaries = DurationBounds });

    private static readonly Counter<long> Errors = Meter.CreateCounter<long>(
        "apiserver_storage_request_errors_total", null, "Operations that the store did not answer, by operation.");

    /// <summary>Spans of the store's operations.</summary>
    internal static readonly ActivitySource Source = new(Name);

    /// <summary>Notes one physical write. For stores.</summary>
    /// <param name="resource">The resource it was about; empty if several may be in it.</param>
    /// <param name="writes">How many writes it carried.</param>
    /// <param name="elapsed">How long it took.</param>
    public static void NoteBatch(string resource, int writes, TimeSpan elapsed)
    {
        var tag = new KeyValuePair<string, object?>("resource", resource);
        BatchSize.Record(writes, tag);
        BatchDuration.Record(elapsed.TotalSeconds, tag);
    }

    /// <summary>One kind of operation, with its label made once.</summary>
    internal sealed class Operation(string name)
    {
        private readonly KeyValuePair<string, object?> _tag = new("operation", name);

        public static Operation Commit { get; } = new("commit");

        public static Operation Get { get; } = new("get");

        public static Operation Snapshot { get; } = new("list");

        public static Operation Revision { get; } = new("revision");

        public static Operation Fence { get; } = new("fence");

        public static Operation Release { get; } = new("release");

        public static Operation Complete { get; } = new("complete");

        public string SpanName { get; } = "store " + name;

        public void Succeeded(long startTimestamp) => Durations.Record(Stopwatch.GetElapsedTime(startTimestamp).TotalSeconds, _tag);

        public void Failed(Exception error)
        {
            // What a caller took back, or asked of a log that is compacted, is no failure of the store.
            if (error is not (OperationCanceledException or CompactedException))
                Errors.Add(1, _tag);
        }
    }
}
