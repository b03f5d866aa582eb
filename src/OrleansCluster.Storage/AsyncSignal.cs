namespace OrleansCluster.Storage;

/// <summary>
/// A wake-up for any number of waiters. Take the handle with <see cref="NextAsync"/> <em>before</em> looking for work: a pulse between the look and the
/// wait is then not lost. Waiters are resumed on the thread pool, never inside <see cref="Pulse"/>; a pulse without waiters costs one exchange.
/// </summary>
internal sealed class AsyncSignal
{
    private TaskCompletionSource? _next;

    /// <summary>The task that the next pulse completes.</summary>
    public Task NextAsync()
    {
        var current = Volatile.Read(ref _next);
        if (current is not null)
            return current.Task;
        var fresh = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return (Interlocked.CompareExchange(ref _next, fresh, null) ?? fresh).Task;
    }

    /// <summary>Wakes all who armed before.</summary>
    public void Pulse() => Interlocked.Exchange(ref _next, null)?.TrySetResult();

    /// <summary>Waits for an armed task, at most for a time. True if it was pulsed.</summary>
    public static async ValueTask<bool> WaitAsync(Task armed, TimeSpan atMost, TimeProvider time, CancellationToken cancellationToken)
    {
        if (armed.IsCompleted)
            return true;
        if (atMost <= TimeSpan.Zero)
            return false;
        try
        {
            await armed.WaitAsync(atMost > MaxTimer ? MaxTimer : atMost, time, cancellationToken);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    /// <summary>Timers take at most 2^32 - 2 ms; a day is long enough to look again.</summary>
    private static readonly TimeSpan MaxTimer = TimeSpan.FromDays(1);
}
