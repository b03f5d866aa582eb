using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace OrleansCluster.ApiServer;

/// <summary>Counts requests by verb, resource and code, and shows them at `/metrics` in Prometheus' text form.</summary>
internal sealed class RequestMetrics
{
    // Verbs, resources and codes are few; unknown resources are counted under one name, so clients cannot make this grow.
    private readonly ConcurrentDictionary<(string Verb, string Resource, int Code), Counter> _counters = new();

    /// <summary>Counts one answered request.</summary>
    public void Count(RequestInfo? info, int code)
    {
        var verb = info is null ? "" : info.IsResource ? info.Verb : "path";
        var resource = info?.Definition?.Resource ?? "";
        Interlocked.Increment(ref _counters.GetOrAdd((verb, resource, code), static _ => new Counter()).Value);
    }

    /// <summary>Answers `/metrics`.</summary>
    public ValueTask WriteAsync(HttpContext context)
    {
        var text = new StringBuilder();
        text.Append("# HELP apiserver_request_total Answered requests.\n# TYPE apiserver_request_total counter\n");
        foreach (var ((verb, resource, code), counter) in _counters.OrderBy(c => c.Key))
        {
            text.Append(CultureInfo.InvariantCulture, $"apiserver_request_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}} ");
            text.Append(CultureInfo.InvariantCulture, $"{Volatile.Read(ref counter.Value)}\n");
        }
        text.Append("# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes gauge\n");
        text.Append(CultureInfo.InvariantCulture, $"process_resident_memory_bytes {Environment.WorkingSet}\n");
        text.Append("# HELP dotnet_gc_heap_bytes Managed heap in use, garbage not yet collected included.\n# TYPE dotnet_gc_heap_bytes gauge\n");
        text.Append(CultureInfo.InvariantCulture, $"dotnet_gc_heap_bytes {GC.GetTotalMemory(forceFullCollection: false)}\n");
        return Replies.WriteAsync(context, 200, Encoding.UTF8.GetBytes(text.ToString()), contentType: "text/plain; version=0.0.4; charset=utf-8");
    }

    private sealed class Counter
    {
        public long Value;
    }
}
