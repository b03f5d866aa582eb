namespace OrleansCluster.Proxy;

/// <summary>Pauses that double up to a bound, with jitter so that several hosts do not come back in step.</summary>
/// <param name="first">The first pause.</param>
/// <param name="longest">The bound, before jitter.</param>
/// <param name="random">Source of jitter, ±25 %.</param>
internal sealed class Backoff(TimeSpan first, TimeSpan longest, Random random)
{
    private int _failures;

    /// <summary>The pause after one more failure.</summary>
    public TimeSpan Next()
    {
        // 2^20 times the first pause is beyond any bound the options allow.
        var pause = first * Math.Pow(2, Math.Min(_failures++, 20));
        return (pause < longest ? pause : longest) * (0.75 + (random.NextDouble() / 2));
    }

    /// <summary>The last attempt worked.</summary>
    public void Reset() => _failures = 0;
}
