using System.Diagnostics.Metrics;

namespace OrleansCluster.Proxy;

/// <summary>The process-wide instruments of the service proxy, under kube-proxy's names.</summary>
internal static class ProxyTelemetry
{
    private static readonly Meter Meter = new("OrleansCluster.Proxy");

    // kube-proxy: 15 buckets from 1 ms on, doubling.
    private static readonly Histogram<double> Syncs = Meter.CreateHistogram(
        "kubeproxy_sync_proxy_rules_duration_seconds", null, "Time from a change to rules in force, waiting for earlier ones excluded.",
        null, new InstrumentAdvice<double> { HistogramBucketBoundaries = [.. Enumerable.Range(0, 15).Select(static i => 0.001 * (1 << i))] });

    private static readonly Counter<long> Failures = Meter.CreateCounter<long>(
        "orleanscluster_proxy_sync_failures_total", null, "Attempts to bring rules into force that failed and are repeated.");

    /// <summary>Rules are in force.</summary>
    public static void Synced(TimeSpan took) => Syncs.Record(took.TotalSeconds);

    /// <summary>They could not be brought into force.</summary>
    public static void Failed() => Failures.Add(1);
}
