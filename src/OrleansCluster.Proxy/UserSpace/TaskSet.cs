namespace OrleansCluster.Proxy.UserSpace;

/// <summary>Tasks that were started and must be awaited: connections of all listeners. Thread-safe.</summary>
internal sealed class TaskSet : IDisposable
{
    private readonly Lock _lock = new();
    private readonly HashSet<Task> _running = [];
    private readonly CancellationTokenSource _abort = new();

    public int Count
    {
        get
        {
            lock (_lock)
                return _running.Count;
        }
    }

    /// <summary>Starts the work. It must not throw for expected failures; its token fires when the drain is over.</summary>
    public void Start(Func<CancellationToken, Task> work)
    {
        var task = Task.Run(() => work(_abort.Token));
        lock (_lock)
            _running.Add(task);
        // Scheduled after the entry was made, so that it also removes work that ended at once.
        _ = task.ContinueWith(
            static (done, state) => ((TaskSet)state!).Remove(done), this, CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    /// <summary>Waits until all work has ended; aborts what has not after the time limit.</summary>
    public async Task DrainAsync(TimeSpan limit, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        Task[] running;
        lock (_lock)
            running = [.. _running];
        var all = Task.WhenAll(running);
        try
        {
            await all.WaitAsync(limit, timeProvider, cancellationToken);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            await _abort.CancelAsync();
            await all.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public void Dispose() => _abort.Dispose();

    private void Remove(Task task)
    {
        lock (_lock)
            _running.Remove(task);
    }
}
