namespace OrleansCluster.Storage;

/// <summary>
/// Asks the store for a resource's newest revision on behalf of many readers. At most one question is on its way and at most one waits: a reader
/// may share an answer only if it came before the question was sent, else it could miss a commit acknowledged in between.
/// <code>
/// reader 1 ── sends question A ────────────► answer A
/// reader 2      (A is on its way) joins B ──┐         sends B ──► answer B
/// reader 3      (A is on its way) joins B ──┘
/// </code>
/// </summary>
internal sealed class RevisionQuestion(Func<CancellationToken, ValueTask<long>> ask, CancellationToken stopping)
{
    private readonly Lock _gate = new();
    private Task<long>? _sent;
    private Task<long>? _next;

    /// <summary>A revision not older than the store's newest at the time of the call.</summary>
    public Task<long> AskAsync()
    {
        TaskCompletionSource<Task<long>> start;
        lock (_gate)
        {
            if (_next is not null)
                return _next;
            // The question is sent outside the lock; until then only its place is taken.
            start = new TaskCompletionSource<Task<long>>(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_sent is { IsCompleted: false } sent)
                return _next = AfterAsync(sent);
            _sent = start.Task.Unwrap();
        }
        var answer = SendAsync();
        start.SetResult(answer);
        return answer;
    }

    // Async, so that a store that throws at once still gives a task.
    private async Task<long> SendAsync() => await ask(stopping);

    private async Task<long> AfterAsync(Task<long> sent)
    {
        // Whether the one before succeeded is its own readers' affair. Yielding leaves the lock in which this was called.
        await ((Task)sent).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
        lock (_gate)
        {
            // From here on this question is on its way: later readers make another.
            _sent = _next;
            _next = null;
        }
        return await ask(stopping);
    }
}
