using Microsoft.Extensions.Logging;
using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>
/// <see cref="IResourceCache"/>. One loop is the only one that changes it:
/// <list type="number">
/// <item>read the store's snapshot, publish it, restart the history behind it, and tell the sinks to look at all of it;</item>
/// <item>read the next batch of the change log, waiting for it;</item>
/// <item>apply it to a builder of the tree; publish tree and history in one step; wake waiters; call the sinks; go on with 2.</item>
/// </list>
/// If the log was compacted past the cache, or the store's revision went back (it lost its data), the loop begins again with 1. If the store does not
/// answer, it tries again after a jittered delay that doubles up to a limit, and readers meanwhile see the last state.
/// </summary>
internal sealed partial class ResourceCache : IResourceCache, IAsyncDisposable
{
    private readonly IObjectStore _store;
    private readonly ResourceCacheOptions _options;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly CachedObjectReader _reader;
    private readonly CancellationTokenSource _stopping = new();
    private readonly RevisionQuestion _question;
    private readonly AsyncSignal _changed = new();
    private readonly AsyncSignal _subscribed = new();
    private Task _loop = Task.CompletedTask;

    /// <summary>Guards the fields below, and nothing else is locked inside it.</summary>
    private readonly Lock _gate = new();
    private readonly ChangeHistory _history;
    private readonly List<Subscription> _subscriptions = [];

    // Written under the lock together with the history; read without it. Null while filling for the first time.
    private volatile CacheSnapshot? _snapshot;

    public ResourceCache(
        ResourceDefinition definition, IObjectStore store, ResourceCacheOptions options, TimeProvider time, Random random, ILogger logger)
    {
        Definition = definition;
        _store = store;
        _options = options;
        _time = time;
        _random = random;
        _logger = logger;
        _reader = new CachedObjectReader(definition);
        _history = new ChangeHistory(options);
        _question = new RevisionQuestion(token => store.GetRevisionAsync(definition.Resource, token), _stopping.Token);
    }

    /// <inheritdoc/>
    public ResourceDefinition Definition { get; }

    /// <inheritdoc/>
    public ICacheSnapshot? Current => _snapshot;

    /// <summary>Starts to follow the store.</summary>
    public void Start() => _loop = Task.Run(FollowAsync);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await _loop;
        _changed.Pulse();
    }

    /// <inheritdoc/>
    public ValueTask<ICacheSnapshot> GetSnapshotAsync(CancellationToken cancellationToken) =>
        _snapshot is { } snapshot ? ValueTask.FromResult<ICacheSnapshot>(snapshot) : GetFirstAsync(cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<ICacheSnapshot> GetLatestAsync(CancellationToken cancellationToken)
    {
        ThrowIfStopping();
        var revision = await _question.AskAsync().WaitAsync(cancellationToken);
        try
        {
            return await WaitForAsync(revision, _options.ReadTimeout, cancellationToken);
        }
        catch (TimeoutException e)
        {
            throw new StoreUnavailableException($"The cache of {Definition.Resource} did not reach revision {revision} in {_options.ReadTimeout}.", e);
        }
    }

    /// <inheritdoc/>
    public ValueTask<ICacheSnapshot> WaitForAsync(long revision, TimeSpan timeout, CancellationToken cancellationToken) =>
        _snapshot is { } snapshot && snapshot.Revision >= revision
            ? ValueTask.FromResult<ICacheSnapshot>(snapshot)
            : WaitForSlowAsync(revision, timeout, cancellationToken);

    /// <inheritdoc/>
    public ICacheSnapshot? FindEarlier(long revision)
    {
        CacheSnapshot snapshot;
        CacheChange[] since;
        lock (_gate)
        {
            if (_snapshot is not { } current || revision > current.Revision || revision < _history.Start)
                return null;
            snapshot = current;
            since = _history.Read(revision, int.MaxValue);
        }
        var tree = snapshot.Tree.ToBuilder();
        for (var i = since.Length - 1; i >= 0; i--)
        {
            if (since[i].Previous is CachedObject previous)
                tree.Set(previous);
            else
                tree.Remove(SortKey.Of((CachedObject)since[i].Object));
        }
        return new CacheSnapshot(revision, tree.ToTree());
    }

    /// <inheritdoc/>
    public ICacheWatcher Watch(long afterRevision)
    {
        ThrowIfStopping();
        lock (_gate)
        {
            if (_snapshot is not null && afterRevision < _history.Start)
                throw new CompactedException(_history.Start);
        }
        return new Watcher(this, afterRevision);
    }

    /// <inheritdoc/>
    public IDisposable Subscribe(Action<IReadOnlyList<CacheChange>, bool> sink)
    {
        ThrowIfStopping();
        var subscription = new Subscription(this, sink);
        lock (_gate)
            _subscriptions.Add(subscription);
        _subscribed.Pulse();
        return subscription;
    }

    private async ValueTask<ICacheSnapshot> GetFirstAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var changed = _changed.NextAsync();
            ThrowIfStopping();
            if (_snapshot is { } snapshot)
                return snapshot;
            await changed.WaitAsync(cancellationToken);
        }
    }

    private async ValueTask<ICacheSnapshot> WaitForSlowAsync(long revision, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var start = _time.GetTimestamp();
        while (true)
        {
            var changed = _changed.NextAsync();
            ThrowIfStopping();
            if (_snapshot is { } snapshot && snapshot.Revision >= revision)
                return snapshot;
            if (!await AsyncSignal.WaitAsync(changed, timeout - _time.GetElapsedTime(start), _time, cancellationToken))
                throw new TimeoutException($"The cache of {Definition.Resource} is at revision {_snapshot?.Revision ?? 0}, not yet at {revision}.");
        }
    }

    private async Task FollowAsync()
    {
        var failures = 0;
        var mustFill = true;
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                if (mustFill)
                    await FillAsync();
                mustFill = false;
                failures = 0;
                mustFill = !await ApplyNextAsync();
            }
            catch (CompactedException e)
            {
                Log.Compacted(_logger, Definition.Resource, e.CompactedRevision);
                mustFill = true;
            }
            catch (Exception) when (_stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // A store that does not answer, or an error of our own: neither may end the cache, which would freeze every reader.
                var delay = NextDelay(failures++);
                Log.Retry(_logger, e, Definition.Resource, delay);
                try
                {
                    await Task.Delay(delay, _time, _stopping.Token);
                }
                catch (OperationCanceledException)
                {
                    return;
                }
            }
        }
    }

    private TimeSpan NextDelay(int failures)
    {
        var full = Math.Min(_options.RetryDelay.TotalMilliseconds * Math.Pow(2, Math.Min(failures, 30)), _options.RetryMaxDelay.TotalMilliseconds);
        return TimeSpan.FromMilliseconds(full * (0.5 + (_random.NextDouble() / 2)));
    }

    private async Task FillAsync()
    {
        var stored = await _store.GetSnapshotAsync(Definition.Resource, _stopping.Token);
        var objects = new List<CachedObject>(stored.Objects.Count);
        foreach (var obj in stored.Objects)
        {
            if (TryRead(obj.Key, obj.Revision, obj.Value, null) is { } cached)
                objects.Add(cached);
        }
        var snapshot = new CacheSnapshot(stored.Revision, ObjectTree.Load([.. objects]));
        lock (_gate)
        {
            _history.Restart(stored.Revision);
            _snapshot = snapshot;
            foreach (var subscription in _subscriptions)
                subscription.NeedsAll = true;
        }
        Log.Filled(_logger, Definition.Resource, snapshot.Count, snapshot.Revision);
        _changed.Pulse();
        CallSinks([]);
    }

    /// <summary>Applies the next batch; false if the cache must be filled anew.</summary>
    private async Task<bool> ApplyNextAsync()
    {
        var revision = _snapshot!.Revision;
        var reading = _store.ReadChangesAsync(Definition.Resource, revision, _options.BatchSize, _options.IdleWait, _stopping.Token).AsTask();
        while (!reading.IsCompleted)
        {
            // A new sink gets its first call at once, not with the next change.
            var subscribed = _subscribed.NextAsync();
            CallSinks([]);
            await Task.WhenAny(reading, subscribed);
        }
        var changes = await reading;
        if (changes.Count == 0)
        {
            var newest = await _store.GetRevisionAsync(Definition.Resource, _stopping.Token);
            if (newest >= revision)
                return true;
            Log.WentBack(_logger, Definition.Resource, revision, newest);
            return false;
        }
        Apply(changes);
        return true;
    }

    private void Apply(IReadOnlyList<StoredChange> changes) // Watch event, step 2 (docs/architecture.md); the pulse at its end is step 3.
    {
        var tree = _snapshot!.Tree.ToBuilder();
        var batch = new List<CacheChange>(changes.Count);
        foreach (var change in changes)
        {
            var key = ObjectKey.FromStorageKey(Definition.Resource, change.Key);
            var sortKey = new SortKey(key.Namespace, key.Name);
            var previous = tree.Find(sortKey);
            if (TryRead(change.Key, change.Revision, change.Value, previous) is not { } obj)
            {
                tree.Remove(sortKey);
                continue;
            }
            if (change.Kind == CommitKind.Delete)
            {
                tree.Remove(sortKey);
                batch.Add(new CacheChange(ChangeType.Deleted, obj, previous));
                continue;
            }
            tree.Set(obj);
            batch.Add(new CacheChange(previous is null ? ChangeType.Added : ChangeType.Modified, obj, previous));
        }
        var snapshot = new CacheSnapshot(changes[^1].Revision, tree.ToTree());
        var now = _time.GetUtcNow();
        lock (_gate)
        {
            foreach (var change in batch)
                _history.Append(change, now);
            _snapshot = snapshot;
        }
        _changed.Pulse();
        CallSinks(batch);
    }

    /// <summary>An object that cannot be read is left out and reported: one bad row must not hide all others.</summary>
    private CachedObject? TryRead(string key, long revision, byte[] value, CachedObject? previous)
    {
        try
        {
            return _reader.Read(key, revision, value, previous);
        }
        catch (Exception e)
        {
            // Reading has no effects and no I/O: whatever it throws, the bytes are to blame.
            Log.Unreadable(_logger, e, Definition.Resource, key, revision);
            return null;
        }
    }

    /// <summary>The loop only: a sink sees the state and every batch after it, in order, without a gap.</summary>
    private void CallSinks(List<CacheChange> batch)
    {
        if (_snapshot is null)
            return;
        Subscription[] subscriptions;
        lock (_gate)
        {
            if (_subscriptions.Count == 0)
                return;
            subscriptions = [.. _subscriptions];
        }
        foreach (var subscription in subscriptions)
        {
            if (!subscription.NeedsAll && batch.Count == 0)
                continue;
            try
            {
                // The first call tells of the whole state, in which the batch at hand is already contained.
                var all = subscription.NeedsAll;
                subscription.NeedsAll = false;
                subscription.Sink(all ? [] : batch, all);
            }
            catch (Exception e)
            {
                Log.SinkFailed(_logger, e, Definition.Resource);
            }
        }
    }

    private void ThrowIfStopping() => ObjectDisposedException.ThrowIf(_stopping.IsCancellationRequested, this);

    private sealed class Subscription(ResourceCache cache, Action<IReadOnlyList<CacheChange>, bool> sink) : IDisposable
    {
        public Action<IReadOnlyList<CacheChange>, bool> Sink { get; } = sink;

        /// <summary>True until told of the whole state.</summary>
        public bool NeedsAll { get; set; } = true;

        public void Dispose()
        {
            lock (cache._gate)
                cache._subscriptions.Remove(this);
        }
    }

    private sealed class Watcher(ResourceCache cache, long afterRevision) : ICacheWatcher
    {
        /// <summary>Most changes of one read: enough to fill a response buffer, few enough that one watcher does not hold the lock long.</summary>
        private const int MaxRead = 512;

        public long Revision { get; private set; } = afterRevision;

        public async ValueTask<IReadOnlyList<CacheChange>> ReadAsync(CancellationToken cancellationToken)
        {
            while (true)
            {
                // Before the look, so that a batch published between look and wait still wakes us.
                var changed = cache._changed.NextAsync();
                cache.ThrowIfStopping();
                lock (cache._gate)
                {
                    if (cache._snapshot is { } snapshot)
                    {
                        if (Revision < cache._history.Start)
                            throw new CompactedException(cache._history.Start);
                        if (Revision < snapshot.Revision && cache._history.Read(Revision, MaxRead) is { Length: > 0 } changes)
                        {
                            Revision = changes[^1].Revision;
                            return changes;
                        }
                    }
                }
                await changed.WaitAsync(cancellationToken);
            }
        }

        public void Dispose()
        {
            // A watcher holds nothing but its place.
        }
    }

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Debug, "Cache of {Resource} filled with {Count} objects at revision {Revision}.")]
        public static partial void Filled(ILogger logger, string resource, int count, long revision);

        [LoggerMessage(2, LogLevel.Warning, "Cache of {Resource} fell behind the change log, compacted through {Revision}; it is filled anew.")]
        public static partial void Compacted(ILogger logger, string resource, long revision);

        [LoggerMessage(3, LogLevel.Warning, "Cache of {Resource} is at revision {Revision}, the store at {Newest}: the store has lost data; the cache is filled anew.")]
        public static partial void WentBack(ILogger logger, string resource, long revision, long newest);

        [LoggerMessage(4, LogLevel.Warning, "Cache of {Resource} cannot follow the store; next attempt in {Delay}.")]
        public static partial void Retry(ILogger logger, Exception exception, string resource, TimeSpan delay);

        [LoggerMessage(5, LogLevel.Error, "Cache of {Resource}: the object '{Key}' at revision {Revision} cannot be read and is left out.")]
        public static partial void Unreadable(ILogger logger, Exception exception, string resource, string key, long revision);

        [LoggerMessage(6, LogLevel.Error, "A sink of the cache of {Resource} threw.")]
        public static partial void SinkFailed(ILogger logger, Exception exception, string resource);
    }
}
