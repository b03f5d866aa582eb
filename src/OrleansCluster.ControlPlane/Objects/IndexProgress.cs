namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// Up to which revision an index that a cache feeds has come. A cache publishes its snapshot before it calls its sinks, so a reader of the index must
/// wait for the index, not for the cache.
/// </summary>
internal sealed class IndexProgress
{
    private readonly Lock _gate = new();
    private TaskCompletionSource _advanced = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _revision = -1;

    /// <summary>Says that everything up to a revision is in the index.</summary>
    public void Advance(long revision)
    {
        TaskCompletionSource advanced;
        lock (_gate)
        {
            if (revision <= _revision)
                return;
            _revision = revision;
            advanced = _advanced;
            _advanced = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
        advanced.TrySetResult();
    }

    /// <summary>Waits until the index has come to a revision.</summary>
    public async ValueTask WaitForAsync(long revision, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task advanced;
            lock (_gate)
            {
                if (_revision >= revision)
                    return;
                advanced = _advanced.Task;
            }
            await advanced.WaitAsync(cancellationToken);
        }
    }
}
