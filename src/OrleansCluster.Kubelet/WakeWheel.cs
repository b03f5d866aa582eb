namespace OrleansCluster.Kubelet;

/// <summary>Something that wants to be woken at a time.</summary>
internal interface IWakeable
{
    /// <summary>When it wants to be woken, UTC ticks; 0 for never. Written by the wheel under its lock.</summary>
    long WakeTicks { get; set; }

    /// <summary>Called on the timer's thread: quick, no waiting.</summary>
    void Wake();
}

/// <summary>
/// One timer for all pods of a process: an idle pod costs an entry in a heap, not a timer or a task. An entry whose time was changed stays in the heap
/// until it comes up and is then skipped, so the heap holds at most one stale entry per change within the longest wait (minutes).
/// </summary>
internal sealed class WakeWheel : IDisposable
{
    private readonly Lock _gate = new();
    private readonly PriorityQueue<IWakeable, long> _queue = new();
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private long _armedFor = long.MaxValue;
    private bool _disposed;

    public WakeWheel(TimeProvider time)
    {
        _time = time;
        _timer = time.CreateTimer(static state => ((WakeWheel)state!).Fire(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Wakes the target at that time instead of any other; null takes its wish back.</summary>
    public void Set(IWakeable target, DateTimeOffset? at)
    {
        var ticks = at?.UtcTicks ?? 0;
        lock (_gate)
        {
            if (_disposed || target.WakeTicks == ticks)
                return;
            target.WakeTicks = ticks;
            if (ticks == 0)
                return;
            _queue.Enqueue(target, ticks);
            if (ticks < _armedFor)
                Arm(ticks);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            _queue.Clear();
        }
        _timer.Dispose();
    }

    private void Fire()
    {
        List<IWakeable>? due = null;
        lock (_gate)
        {
            _armedFor = long.MaxValue;
            if (_disposed)
                return;
            var now = _time.GetUtcNow().UtcTicks;
            while (_queue.TryPeek(out var target, out var ticks))
            {
                var stale = target.WakeTicks != ticks;
                if (!stale && ticks > now)
                {
                    Arm(ticks);
                    break;
                }
                _queue.Dequeue();
                if (stale)
                    continue;
                target.WakeTicks = 0;
                (due ??= []).Add(target);
            }
        }
        foreach (var target in due ?? [])
            target.Wake();
    }

    /// <summary>Caller holds the lock.</summary>
    private void Arm(long ticks)
    {
        _armedFor = ticks;
        // Timers round down to milliseconds: one more keeps the entry due when it fires.
        var wait = TimeSpan.FromTicks(Math.Max(0, ticks - _time.GetUtcNow().UtcTicks)) + TimeSpan.FromMilliseconds(1);
        _timer.Change(wait, Timeout.InfiniteTimeSpan);
    }
}
