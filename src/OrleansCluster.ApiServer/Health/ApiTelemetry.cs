using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace OrleansCluster.ApiServer;

/// <summary>The process-wide instruments of the API server and the description of a request's span.</summary>
internal static class ApiTelemetry
{
    /// <summary>Name of the meter.</summary>
    public const string Name = "OrleansCluster.ApiServer";

    private static readonly Meter Meter = new(Name);

    /// <summary>kube-apiserver's histogram with kube-apiserver's bounds.</summary>
    public static readonly Histogram<double> RequestDuration = Meter.CreateHistogram(
        "apiserver_request_duration_seconds", null, "Response latency by verb, group, version, resource, subresource and scope.",
        null, new InstrumentAdvice<double>
        {
            HistogramBucketBoundaries = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60],
        });

    /// <summary>
    /// Names the span that the web server has begun, or takes it out of the trace: probes and scrapes would drown what people look for, and a watch is a
    /// span that ends tomorrow.
    /// </summary>
    public static void Describe(RequestInfo info, bool longRunning)
    {
        if (Activity.Current is not { IsAllDataRequested: true } span)
            return;
        if (!info.IsResource || longRunning)
        {
            span.IsAllDataRequested = false;
            span.ActivityTraceFlags &= ~ActivityTraceFlags.Recorded;
            return;
        }
        span.DisplayName = $"{info.Verb} {info.ResourceAndSubresource}";
        span.SetTag("k8s.resource", info.Group.Length == 0 ? info.Resource : $"{info.Resource}.{info.Group}")
            .SetTag("k8s.namespace.name", info.Namespace)
            .SetTag("k8s.object.name", info.Name);
    }
}
