using OrleansCluster.Kubelet.Pods;

namespace OrleansCluster.Kubelet.Probes;

/// <summary>Which question a probe answers.</summary>
internal enum ProbeKind
{
    /// <summary>Has it come up? Holds the other two back.</summary>
    Startup,

    /// <summary>May it get traffic?</summary>
    Readiness,

    /// <summary>Must it be restarted?</summary>
    Liveness,
}

/// <summary>What one probe said.</summary>
/// <param name="Success">Whether it passed.</param>
/// <param name="Output">Text for people.</param>
/// <param name="Errored">It could not be run at all; that counts neither way.</param>
internal readonly record struct ProbeResult(bool Success, string Output, bool Errored = false);

/// <summary>Counts the results of one probe of one running container.</summary>
internal sealed class ProbeState(DateTimeOffset firstAt, bool? verdict)
{
    private int _sameInRow;
    private bool? _last;

    /// <summary>When to run it next.</summary>
    public DateTimeOffset NextAt { get; private set; } = firstAt;

    /// <summary>The standing verdict: true passed, false failed, null not known yet.</summary>
    public bool? Verdict { get; private set; } = verdict;

    /// <summary>
    /// Takes a result: so many equal ones in a row as the threshold says change the verdict. Returns true if it changed.
    /// </summary>
    public bool Apply(ProbeResult result, Probe probe, DateTimeOffset now)
    {
        NextAt = now + TimeSpan.FromSeconds(probe.PeriodSeconds);
        if (result.Errored)
            return false;
        _sameInRow = _last == result.Success ? _sameInRow + 1 : 1;
        _last = result.Success;
        var threshold = result.Success ? probe.SuccessThreshold : probe.FailureThreshold;
        if (_sameInRow < threshold || Verdict == result.Success)
            return false;
        Verdict = result.Success;
        return true;
    }
}
