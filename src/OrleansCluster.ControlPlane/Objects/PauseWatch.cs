using Microsoft.Extensions.Hosting;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// Notices that this process was stopped for a while (SIGSTOP, a suspended machine, a very long collection) and has just come back. Requests that lie in
/// its sockets then are old: their callers have given them up and had them carried out elsewhere, and doing them now would do them twice. So writes are
/// refused for a moment; a caller that still waits repeats its call.
/// </summary>
/// <param name="time">The real clock: it is the process that pauses, not a test's time.</param>
internal sealed class PauseWatch(TimeProvider time) : BackgroundService
{
    /// <summary>Shorter than the time-out after which callers repeat their calls elsewhere (5 s), longer than a busy machine keeps a timer waiting.</summary>
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(3);

    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    /// <summary>How long writes are refused: enough to read what had arrived.</summary>
    private static readonly TimeSpan Refusal = TimeSpan.FromSeconds(1);

    private long _seen = time.GetTimestamp();
    private long _refuseFrom;

    /// <summary>True right after a pause.</summary>
    public bool HasJustResumed
    {
        get
        {
            // Asked before the watch itself runs again: a request may be read first.
            Look();
            var from = Volatile.Read(ref _refuseFrom);
            return from != 0 && time.GetElapsedTime(from) < Refusal;
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            Look();
            Volatile.Write(ref _seen, time.GetTimestamp());
        }
    }

    private void Look()
    {
        if (time.GetElapsedTime(Volatile.Read(ref _seen)) <= Pause)
            return;
        var now = time.GetTimestamp();
        Volatile.Write(ref _refuseFrom, now);
        Volatile.Write(ref _seen, now);
    }
}
