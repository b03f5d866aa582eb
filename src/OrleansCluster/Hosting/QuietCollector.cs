namespace OrleansCluster.Hosting;

/// <summary>
/// Gives memory back when the process has become quiet. The collector runs when something is allocated, so what a burst of work leaves behind (the
/// garbage of the start, grains that have been idle and are gone, old versions of objects) would stay until the next burst.
/// </summary>
internal sealed class QuietCollector(TimeProvider time) : BackgroundService
{
    /// <summary>How often the process is looked at.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    /// <summary>Above this heap a compacting pause, which grows with what lives, might be felt; the collector's own background work must do there.</summary>
    private const long MaxCompactedHeap = 192L << 20;

    private readonly QuietRule _rule = new();

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            if (!_rule.Observe(GC.GetTotalAllocatedBytes()))
                continue;
            if (GC.GetTotalMemory(forceFullCollection: false) <= MaxCompactedHeap)
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            else
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: false);
        }
    }
}

/// <summary>When a collection is worth its while: little was allocated since the last look, and much since the last collection it asked for.</summary>
internal sealed class QuietRule
{
    /// <summary>Less than this between two looks is quiet: heartbeats and probes of some nodes stay below.</summary>
    internal const long Quiet = 2 << 20;

    /// <summary>Less than this since the last collection is not worth one.</summary>
    internal const long Worth = 16 << 20;

    private long _last;
    private long _collected;

    /// <summary>One look.</summary>
    /// <param name="allocated">Bytes ever allocated by the process.</param>
    /// <returns>True if a collection is due; it then counts as done.</returns>
    public bool Observe(long allocated)
    {
        var quiet = allocated - _last < Quiet;
        _last = allocated;
        if (!quiet || allocated - _collected < Worth)
            return false;
        _collected = allocated;
        return true;
    }
}
