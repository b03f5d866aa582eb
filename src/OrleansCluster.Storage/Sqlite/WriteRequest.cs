namespace OrleansCluster.Storage;

/// <summary>
/// Work for the writer. A waiter may give up until its work has started; after that it gets the true outcome, however its token stands.
/// </summary>
internal abstract class WriteRequest
{
    /// <summary>Commits it counts for in the size of a group.</summary>
    public abstract int Weight { get; }

    /// <summary>Writer: claims the request; false if its caller has given up.</summary>
    public abstract bool TryStart();

    /// <summary>Writer: checks and writes inside the open transaction.</summary>
    public abstract void Apply(StoreWriter writer);

    /// <summary>Writer: hands out the result, after the COMMIT.</summary>
    public abstract void Succeed();

    /// <summary>Writer: the outcome is unknown.</summary>
    public abstract void Fail(Exception exception);
}

/// <summary>Work with a result.</summary>
internal abstract class WriteRequest<T> : WriteRequest
{
    private const int Waiting = 0;
    private const int Started = 1;
    private const int GivenUp = 2;

    private readonly TaskCompletionSource<T> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationTokenRegistration _registration;
    private int _state;

    /// <summary>Set by <see cref="WriteRequest.Apply"/>.</summary>
    protected T Result { get; set; } = default!;

    public Task<T> Completion => _done.Task;

    /// <summary>Lets the caller's token take the request back while it waits.</summary>
    public void CancelWith(CancellationToken cancellationToken)
    {
        if (!cancellationToken.CanBeCanceled)
            return;
        _registration = cancellationToken.UnsafeRegister(
            static (state, token) =>
            {
                var self = (WriteRequest<T>)state!;
                if (Interlocked.CompareExchange(ref self._state, GivenUp, Waiting) == Waiting)
                    self._done.TrySetCanceled(token);
            },
            this);
    }

    public override bool TryStart() => Interlocked.CompareExchange(ref _state, Started, Waiting) == Waiting;

    public override void Succeed()
    {
        _registration.Unregister();
        _done.TrySetResult(Result);
    }

    public override void Fail(Exception exception)
    {
        _registration.Unregister();
        _done.TrySetException(exception);
    }
}

/// <summary>Commits of one call.</summary>
internal sealed class CommitRequest(IReadOnlyList<Commit> commits) : WriteRequest<CommitResult[]>
{
    public override int Weight => commits.Count;

    public override void Apply(StoreWriter writer)
    {
        var results = new CommitResult[commits.Count];
        for (var i = 0; i < results.Length; i++)
            results[i] = writer.Commit(commits[i]);
        Result = results;
    }
}

/// <summary>Raises a fence.</summary>
internal sealed class AdvanceFenceRequest(ResourceState resource, string fence) : WriteRequest<long>
{
    public override int Weight => 1;

    public override void Apply(StoreWriter writer) => Result = writer.AdvanceFence(resource, fence);
}

/// <summary>Removes a leased queue item.</summary>
internal sealed class CompleteRequest(ResourceState resource, string queue, QueueItem item) : WriteRequest<bool>
{
    public override int Weight => 1;

    public override void Apply(StoreWriter writer) => Result = writer.Complete(resource, queue, item);
}

/// <summary>Writes what consumer groups acknowledged so far.</summary>
internal sealed class FlushRequest : WriteRequest<bool>
{
    public override int Weight => 1;

    public override void Apply(StoreWriter writer) => Result = true;
}

/// <summary>Drops a bounded piece of a log; true when the revision was reached.</summary>
internal sealed class CompactRequest(ResourceState resource, long throughRevision) : WriteRequest<bool>
{
    // A piece reads and deletes some hundred rows, which takes about as long as this many commits.
    public override int Weight => 64;

    public override void Apply(StoreWriter writer) => Result = writer.CompactPiece(resource, throughRevision);
}
