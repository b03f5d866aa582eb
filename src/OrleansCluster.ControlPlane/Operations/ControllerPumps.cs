using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using OrleansCluster.ControlPlane.Controllers;

namespace OrleansCluster.ControlPlane.Operations;

/// <summary>Where a pump stands, at one moment.</summary>
/// <param name="Ready">Objects that wait for a run.</param>
/// <param name="Running">Runs under way.</param>
/// <param name="Delayed">Objects that wait for a time.</param>
/// <param name="Progress">Rises with every change that was read and every run that ended.</param>
/// <param name="HasWork">There is something that should make <paramref name="Progress"/> rise.</param>
/// <param name="Lag">Per resource: revisions that this process has seen and the pump has not acknowledged.</param>
internal sealed record PumpState(int Ready, int Running, int Delayed, long Progress, bool HasWork, IReadOnlyList<(string Resource, long Revisions)> Lag);

/// <summary>
/// The pumps that run in this silo, and when the others (they run once in the cluster) have answered last. The source of the check `controllers`, of
/// `workqueue_depth` and of the change logs' lag.
/// </summary>
public sealed class ControllerPumps
{
    /// <summary>
    /// A pump that has work and neither read a change nor ended a run for this long is stuck. Longer than a run may take
    /// (<see cref="ReconcileGrain"/> cancels after a minute).
    /// </summary>
    internal static readonly TimeSpan StallLimit = TimeSpan.FromSeconds(90);

    /// <summary>
    /// A pump that has not answered for this long is gone: every silo asks for it every three seconds, and a dead silo's is made anew within some.
    /// </summary>
    internal static readonly TimeSpan SilenceLimit = TimeSpan.FromSeconds(45);

    private readonly TimeProvider _time;
    private readonly long _started;
    private readonly ConcurrentDictionary<ControllerPump, Watch> _running = new();
    private readonly ConcurrentDictionary<string, long> _answered = new(StringComparer.Ordinal);

    /// <summary>Made once for a silo.</summary>
    public ControllerPumps(TimeProvider time, IMeterFactory meters)
    {
        ArgumentNullException.ThrowIfNull(time);
        ArgumentNullException.ThrowIfNull(meters);
        var meter = meters.Create(ControlPlaneTelemetry.Name);
        _time = time;
        _started = time.GetTimestamp();
        meter.CreateObservableGauge("workqueue_depth", () => _running.Keys.Select(static p => new Measurement<long>(p.State().Ready, Label(p))), null, "Objects that wait in a controller's queue.");
        meter.CreateObservableGauge(
            "orleanscluster_workqueue_delayed", () => _running.Keys.Select(static p => new Measurement<long>(p.State().Delayed, Label(p))), null,
            "Objects of a controller that wait for a back-off or a time of their own.");
        meter.CreateObservableGauge(
            "orleanscluster_workqueue_running", () => _running.Keys.Select(static p => new Measurement<long>(p.State().Running, Label(p))), null, "Runs of a controller under way.");
        meter.CreateObservableGauge(
            "orleanscluster_changelog_lag",
            () => _running.Keys.SelectMany(static p => p.State().Lag.Select(
                l => new Measurement<long>(l.Revisions, Label(p), new KeyValuePair<string, object?>("resource", l.Resource)))),
            null, "Revisions of a change log that a controller has not acknowledged.");
    }

    /// <summary>A pump begins here; disposing the result ends it.</summary>
    internal IDisposable Register(ControllerPump pump)
    {
        _running.TryAdd(pump, new Watch());
        return new Registration(this, pump);
    }

    /// <summary>A controller's pump, wherever it runs, has answered.</summary>
    internal void Answered(string controller) => _answered[controller] = _time.GetTimestamp();

    /// <summary>What is wrong with the pumps, or null.</summary>
    /// <param name="controllers">Names of all controllers.</param>
    internal string? Problem(IEnumerable<string> controllers)
    {
        var silent = controllers.Where(c => _time.GetElapsedTime(_answered.GetValueOrDefault(c, _started)) > SilenceLimit).ToList();
        if (silent.Count > 0)
            return $"no answer from the pumps of: {string.Join(", ", silent)}";
        var stuck = _running.Where(p => p.Value.IsStuck(p.Key.State(), _time)).Select(p => p.Key.Controller).ToList();
        return stuck.Count > 0 ? $"work, but no progress: {string.Join(", ", stuck)}" : null;
    }

    private static KeyValuePair<string, object?> Label(ControllerPump pump) => pump.Label;

    private sealed class Registration(ControllerPumps pumps, ControllerPump pump) : IDisposable
    {
        public void Dispose() => pumps._running.TryRemove(pump, out _);
    }

    /// <summary>Compares what two looks at a pump saw.</summary>
    internal sealed class Watch
    {
        private readonly Lock _gate = new();
        private long _progress = -1;
        private long _since;

        public bool IsStuck(PumpState state, TimeProvider time)
        {
            lock (_gate)
            {
                // Work that was not there at the last look has had no time yet, so a pump without work is forgotten.
                if (!state.HasWork || state.Progress != _progress)
                {
                    _progress = state.HasWork ? state.Progress : -1;
                    _since = time.GetTimestamp();
                    return false;
                }
                return time.GetElapsedTime(_since) > StallLimit;
            }
        }
    }
}
