using System.Globalization;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// Group commit: per resource a lane, in which whatever waits while batches are under way forms the next ones. As many batches of a lane are under way as
/// there are commit connections, each on its own. A batch is one script call; its commits are independent, so a refused one does not touch
/// its neighbours. No commit is sent twice: a batch without an answer fails with an unknown outcome.
/// </summary>
internal sealed class RedisCommitter(RedisEpochs epochs, RedisConnections connections, RedisStoreOptions options, RedisMetrics metrics, TimeProvider time)
    : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<RedisResource, Lane> _lanes = [];
    private readonly SemaphoreSlim _places = new(options.MaxWaitingWrites);
    private bool _disposed;

    public async ValueTask<CommitResult[]> RunAsync(RedisResource resource, IReadOnlyList<Commit> commits, CancellationToken cancellationToken)
    {
        var request = new RedisCommitRequest(commits, time.GetTimestamp());
        await _places.WaitAsync(cancellationToken);
        try
        {
            request.CancelWith(cancellationToken);
            Lane? lane;
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_disposed, typeof(RedisObjectStore));
                if (!_lanes.TryGetValue(resource, out lane))
                    _lanes[resource] = lane = new Lane(this, resource);
            }
            lane.Add(request);
            return await request.Completion;
        }
        finally
        {
            _places.Release();
        }
    }

    /// <summary>Lets what has been taken on finish.</summary>
    public async ValueTask DisposeAsync()
    {
        Lane[] lanes;
        lock (_gate)
        {
            _disposed = true;
            lanes = [.. _lanes.Values];
        }
        foreach (var lane in lanes)
            await lane.DrainAsync();
    }

    private async Task SendAsync(RedisResource resource, List<RedisCommitRequest> batch, int connection)
    {
        var begun = time.GetTimestamp();
        try
        {
            var arguments = RedisCommitCodec.Encode(resource, batch, RedisClock.Argument(time), out var keys);
            var database = await connections.CommitAsync(connection, CancellationToken.None);
            var result = await epochs.RunAsync(database, resource, RedisScript.Commit, keys, arguments, replicate: true, CancellationToken.None);
            var conflicts = 0;
            var at = 2;
            foreach (var request in batch)
            {
                var results = new CommitResult[request.Commits.Count];
                for (var i = 0; i < results.Length; i++)
                {
                    results[i] = RedisCommitCodec.Decode(result[at++]);
                    if (results[i].Outcome != CommitOutcome.Committed)
                        conflicts++;
                }
                request.Succeed(results);
            }
            metrics.Committed(resource.Name, at - 2, conflicts, time.GetElapsedTime(begun));
        }
        catch (Exception e)
        {
            metrics.Unavailable(resource.Name);
            foreach (var request in batch)
                request.Fail(e);
        }
    }

    private sealed class Lane(RedisCommitter committer, RedisResource resource)
    {
        private readonly Lock _gate = new();
        private readonly Queue<RedisCommitRequest> _waiting = [];
        private readonly Task?[] _workers = new Task?[committer.ConnectionCount];

        public void Add(RedisCommitRequest request)
        {
            int free;
            TaskCompletionSource placeholder;
            lock (_gate)
            {
                _waiting.Enqueue(request);
                free = Array.IndexOf(_workers, null);
                if (free < 0)
                    return;
                placeholder = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _workers[free] = placeholder.Task;
            }
            _ = WorkAsync(free, placeholder);
        }

        public async Task DrainAsync()
        {
            while (true)
            {
                Task[] running;
                lock (_gate)
                    running = [.. _workers.OfType<Task>()];
                if (running.Length == 0)
                    return;
                await Task.WhenAll(running);
            }
        }

        /// <summary>Sends batches on one connection until nothing waits. Never throws; its end is seen by <see cref="DrainAsync"/>.</summary>
        private async Task WorkAsync(int connection, TaskCompletionSource ended)
        {
            while (TryTake(connection) is { } batch)
                await committer.SendAsync(resource, batch, connection);
            ended.SetResult();
        }

        private List<RedisCommitRequest>? TryTake(int connection)
        {
            var batch = new List<RedisCommitRequest>();
            lock (_gate)
            {
                var weight = 0;
                while (_waiting.TryPeek(out var request) && (weight == 0 || weight + request.Commits.Count <= committer.MaxGroup))
                {
                    _waiting.Dequeue();
                    if (!request.TryStart())
                        continue;
                    // Behind batches without an answer; those who come now must not wait for all of them in turn.
                    if (committer.HasWaitedTooLong(request))
                    {
                        request.Fail(new StoreUnavailableException("Redis does not keep up: the commit was not sent in time."));
                        continue;
                    }
                    batch.Add(request);
                    weight += request.Commits.Count;
                }
                if (batch.Count > 0)
                    return batch;
                _workers[connection] = null;
                return null;
            }
        }
    }

    private bool HasWaitedTooLong(RedisCommitRequest request) => time.GetElapsedTime(request.MadeAt) > options.CommandTimeout;

    private int ConnectionCount => options.CommitConnections;

    private int MaxGroup => options.MaxGroup;
}

/// <summary>Commits of one call. Its caller may take it back until its batch is sent; after that it gets the true outcome.</summary>
internal sealed class RedisCommitRequest(IReadOnlyList<Commit> commits, long madeAt)
{
    private const int Waiting = 0;
    private const int Started = 1;
    private const int GivenUp = 2;

    private readonly TaskCompletionSource<CommitResult[]> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationTokenRegistration _registration;
    private int _state;

    public IReadOnlyList<Commit> Commits { get; } = commits;

    /// <summary>The values as stored. Made by the caller, so that packing runs beside the batches of others.</summary>
    public byte[][] Values { get; } = [.. commits.Select(c => ValueCodec.Encode(c.Value))];

    /// <summary>Timestamp of the call.</summary>
    public long MadeAt { get; } = madeAt;

    public Task<CommitResult[]> Completion => _done.Task;

    public void CancelWith(CancellationToken cancellationToken)
    {
        if (!cancellationToken.CanBeCanceled)
            return;
        _registration = cancellationToken.UnsafeRegister(
            static (state, token) =>
            {
                var self = (RedisCommitRequest)state!;
                if (Interlocked.CompareExchange(ref self._state, GivenUp, Waiting) == Waiting)
                    self._done.TrySetCanceled(token);
            },
            this);
    }

    public bool TryStart() => Interlocked.CompareExchange(ref _state, Started, Waiting) == Waiting;

    public void Succeed(CommitResult[] results)
    {
        _registration.Unregister();
        _done.TrySetResult(results);
    }

    public void Fail(Exception exception)
    {
        _registration.Unregister();
        _done.TrySetException(exception);
    }
}

/// <summary>Commits as arguments of commit.lua, and its answers.</summary>
internal static class RedisCommitCodec
{
    public static RedisValue[] Encode(RedisResource resource, List<RedisCommitRequest> batch, RedisValue now, out RedisKey[] keys)
    {
        var count = batch.Sum(r => r.Commits.Count);
        var arguments = new List<RedisValue>(RedisScript.HeaderLength + 2 + (4 * count)) { default, default, default, now, count };
        List<string>? queues = null;
        foreach (var request in batch)
        {
            for (var i = 0; i < request.Values.Length; i++)
                Add(arguments, request.Commits[i], request.Values[i], ref queues);
        }
        keys = resource.CommitKeys;
        if (queues is not null)
            keys = [.. keys, .. queues.SelectMany(q => resource.Queue(q).Skip(1))];
        return [.. arguments];
    }

    public static CommitResult Decode(RedisResult result)
    {
        if (result.Resp2Type == ResultType.Integer)
        {
            var number = (long)result;
            return number > 0 ? new CommitResult(CommitOutcome.Committed, number) : new CommitResult(CommitOutcome.RevisionConflict, -number);
        }
        var text = (string)result!;
        if (text[0] == 'f')
            return new CommitResult(CommitOutcome.FenceConflict, long.Parse(text.AsSpan(1), CultureInfo.InvariantCulture));
        var end = text.IndexOf('\n', StringComparison.Ordinal);
        return new CommitResult(CommitOutcome.ClaimConflict, long.Parse(text.AsSpan(1, end - 1), CultureInfo.InvariantCulture), text[(end + 1)..]);
    }

    private static void Add(List<RedisValue> arguments, Commit commit, byte[] value, ref List<string>? queues)
    {
        arguments.Add(commit.Key);
        arguments.Add(commit.ExpectedRevision);
        var claims = commit.Kind == CommitKind.Put ? commit.Claims : null;
        arguments.Add(Flags(commit, claims is not null));
        arguments.Add(value);
        if (claims is not null)
        {
            arguments.Add(claims.Count);
            foreach (var claim in claims)
                arguments.Add(claim);
        }
        if (commit.Fence is { } fence)
        {
            arguments.Add(fence.Name);
            arguments.Add(fence.Value);
        }
        if (commit.Queue is not { } queue)
            return;
        queues ??= [];
        var index = queues.IndexOf(queue.Queue);
        if (index < 0)
        {
            index = queues.Count;
            queues.Add(queue.Queue);
        }
        arguments.Add(index);
        if (queue.Action == QueueAction.Enqueue)
        {
            arguments.Add(Inverted(queue.Priority));
            arguments.Add(queue.Priority);
        }
    }

    /// <summary>Fixed width, so that its order as text is descending priority.</summary>
    internal static string Inverted(long priority) => (~((ulong)priority ^ (1UL << 63))).ToString("D20", CultureInfo.InvariantCulture);

    private static RedisValue Flags(Commit commit, bool claims)
    {
        var kind = commit.Kind == CommitKind.Put ? "p" : "d";
        if (!claims && commit.Fence is null && commit.Queue is null)
            return kind;
        // In the order in which the arguments follow.
        return kind + (claims ? "c" : "") + (commit.Fence is null ? "" : "f") + (commit.Queue switch
        {
            null => "",
            { Action: QueueAction.Enqueue } => "e",
            _ => "r",
        });
    }
}

/// <summary>The time that scripts reckon with.</summary>
internal static class RedisClock
{
    /// <summary>
    /// Empty for the system's clock: scripts then ask Redis, so that processes whose clocks differ agree. Another time provider (a test's) is
    /// believed as it is. Microseconds since 1970.
    /// </summary>
    public static RedisValue Argument(TimeProvider time) => ReferenceEquals(time, TimeProvider.System) ? RedisValue.EmptyString : Microseconds(time.GetUtcNow());

    public static DateTimeOffset ToTime(long microseconds) => DateTimeOffset.UnixEpoch.AddTicks(microseconds * TimeSpan.TicksPerMicrosecond);

    /// <summary>A length of time that scripts can add to now without leaving the range of exact numbers (a century).</summary>
    public static long Microseconds(TimeSpan span) => (long)Math.Min(span.TotalMicroseconds, 3.2e15);

    private static long Microseconds(DateTimeOffset time) => (time - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;
}
