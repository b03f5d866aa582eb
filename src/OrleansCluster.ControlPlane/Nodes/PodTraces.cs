using System.Collections.Concurrent;
using OrleansCluster.ControlPlane.Operations;

namespace OrleansCluster.ControlPlane.Nodes;

/// <summary>
/// Traces of pods on their way from a node's promise to its agent, by uid. Written by the grain, taken by its session; empty while nobody records. Thread-safe.
/// </summary>
internal sealed class PodTraces
{
    /// <summary>More than a node takes pods; what is promised and never bound is forgotten with the rest when this is reached.</summary>
    private const int Most = 1000;

    private readonly ConcurrentDictionary<string, string> _traces = new(StringComparer.Ordinal);

    public bool Any => !_traces.IsEmpty;

    /// <summary>Keeps the trace of the call being answered.</summary>
    public void Note(string podUid)
    {
        if (ControlPlaneTelemetry.CurrentTrace is not { } trace)
            return;
        if (_traces.Count >= Most)
            _traces.Clear();
        _traces[podUid] = trace;
    }

    /// <summary>Hands a trace out, once.</summary>
    public string? Take(string podUid) => _traces.TryRemove(podUid, out var trace) ? trace : null;
}
