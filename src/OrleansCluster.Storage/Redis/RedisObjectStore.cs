using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// The store of a cluster: Redis, shared by any number of processes. All keys of a resource carry one hash tag; what belongs together happens in one script:
/// <list type="bullet">
/// <item>`m` hash: newest and compacted revision, epoch, run, counters</item>
/// <item>`k` hash: key to revision of current objects; `v` hash: revision to value</item>
/// <item>`l` stream: the change log, an entry per batch, without the values: a value is kept once, in `v`, until compaction passes what superseded it</item>
/// <item>`c`, `o` hashes: claim to key, key to claims; `f` fences; `g` consumer groups; `q:NAME:*` work queues</item>
/// </list>
/// A lost tail of writes is noticed by <see cref="RedisEpochs"/>. Outages of any length are waited out: calls throw
/// <see cref="StoreUnavailableException"/> meanwhile and work again afterwards.
/// </summary>
public sealed partial class RedisObjectStore : IObjectStore
{
    /// <summary>Times a snapshot is begun anew because compaction overtook it.</summary>
    private const int MaxSnapshotAttempts = 8;

    private readonly RedisStoreOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly RedisMetrics _metrics;
    private readonly RedisConnections _connections;
    private readonly RedisEpochs _epochs;
    private readonly RedisCommitter _committer;
    private readonly RedisTails _tails;
    private readonly RedisCompactor _compactor;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, RedisResource> _resources = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _stopping = new();
    private Task _compaction = Task.CompletedTask;
    private int _disposed;

    private RedisObjectStore(RedisStoreOptions options, TimeProvider time, Random random, ILogger logger, IMeterFactory? meters)
    {
        _metrics = new RedisMetrics(meters);
        _options = options;
        _time = time;
        _logger = logger;
        _connections = new RedisConnections(options, _metrics, logger);
        _epochs = new RedisEpochs(_connections, options, _metrics, logger);
        _committer = new RedisCommitter(_epochs, _connections, options, _metrics, time);
        _tails = new RedisTails(_connections, time, random, logger);
        _epochs.EpochChanged = _tails.Wake;
        _compactor = new RedisCompactor(this, _metrics, options.Compaction, time, random, logger);
    }

    /// <summary>
    /// Makes a store, which connects at its first use and closes with <see cref="DisposeAsync"/>. Hosts call <see cref="StartAsync"/> to learn early of
    /// settings that do not fit.
    /// </summary>
    /// <param name="options">Settings.</param>
    /// <param name="time">Clock of time-outs, ages and pauses.</param>
    /// <param name="random">Jitter; must be safe for concurrent use.</param>
    /// <param name="logger">Log.</param>
    /// <param name="meters">The host's meters; null for a store without a host.</param>
    /// <exception cref="OptionsValidationException">An option is out of range.</exception>
    public static RedisObjectStore Create(RedisStoreOptions options, TimeProvider time, Random random, ILogger<RedisObjectStore> logger, IMeterFactory? meters = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        var check = new RedisStoreOptionsValidator().Validate(null, options);
        if (check.Failed)
            throw new OptionsValidationException("RedisStore", typeof(RedisStoreOptions), check.Failures);
        var store = new RedisObjectStore(options, time, random, logger, meters);
        store._compaction = store._compactor.RunAsync(store._stopping.Token);
        return store;
    }

    /// <summary>Connects and looks at the server's settings.</summary>
    /// <exception cref="StoreUnavailableException">Redis does not answer, or is set up so that it may drop data.</exception>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        try
        {
            var database = await _connections.ReadAsync(cancellationToken);
            await database.ExecuteAsync("PING", [], CommandFlags.DemandMaster).WaitAsync(cancellationToken);
        }
        catch (Exception e) when (RedisErrors.IsOutage(e) || e is StoreUnavailableException)
        {
            throw new StoreUnavailableException(
                $"Redis at {_connections.Address} does not answer ({e.GetBaseException().Message}). Is it running and reachable from here, and are user and password right?", e);
        }
        if (await (await _connections.ReadAsync(cancellationToken)).KeyExistsAsync(RedisTransfer.MarkerOf(_options), CommandFlags.DemandMaster))
        {
            throw new StoreUnavailableException(
                $"An import into the store '{_options.KeyPrefix}' of Redis at {_connections.Address} has not ended. Import again with --replace.");
        }
        var memory = await _connections.SettingsAsync("maxmemory*", cancellationToken);
        if (memory is not null && memory.GetValueOrDefault("maxmemory", "0") != "0" && memory.GetValueOrDefault("maxmemory-policy", "noeviction") != "noeviction")
        {
            throw new StoreUnavailableException(
                $"Redis at {_connections.Address} has maxmemory-policy {memory["maxmemory-policy"]} and would drop objects when its memory is full. Set it to noeviction.");
        }
        if (!await _connections.IsDurableAsync(cancellationToken))
            Log.NotDurable(_logger, _connections.Address);
    }

    /// <inheritdoc/>
    public async ValueTask<long> GetRevisionAsync(string resource, CancellationToken cancellationToken) =>
        (await GetStateAsync(resource, cancellationToken)).Revision;

    /// <inheritdoc/>
    public long EpochOf(string resource) => Resource(resource).Session?.Epoch ?? 0;

    /// <inheritdoc/>
    public async ValueTask<long> GetCompactedRevisionAsync(string resource, CancellationToken cancellationToken) =>
        (await GetStateAsync(resource, cancellationToken)).Compacted;

    /// <inheritdoc/>
    public async ValueTask<StoredObject?> GetAsync(string resource, string key, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        var result = await ReadAsync(target, RedisScript.Get, target.Reading, [key], cancellationToken);
        if (result.Length < 4)
            return null;
        var revision = (long)result[2];
        return new StoredObject(key, revision, Value(target, revision, result[3]));
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        foreach (var commit in commits)
            commit.Validate();
        if (commits.Count == 0)
            return [];
        var resource = commits[0].Resource;
        if (commits.Count <= _options.MaxGroup && commits.All(c => string.Equals(c.Resource, resource, StringComparison.Ordinal)))
            return await _committer.RunAsync(Resource(resource), commits, cancellationToken);

        // Resources are independent of each other; within one, the call keeps its order however long it is.
        var results = new CommitResult[commits.Count];
        await Task.WhenAll(commits.Index().GroupBy(c => c.Item.Resource, StringComparer.Ordinal).Select(async group =>
        {
            foreach (var part in group.Chunk(_options.MaxGroup))
            {
                var done = await _committer.RunAsync(Resource(group.Key), Array.ConvertAll(part, p => p.Item), cancellationToken);
                for (var i = 0; i < part.Length; i++)
                    results[part[i].Index] = done[i];
            }
        }));
        return results;
    }

    /// <inheritdoc/>
    public async ValueTask<long> AdvanceFenceAsync(string resource, string fence, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        return (long)(await WriteAsync(target, RedisScript.Fence, [target.Meta, target.Fences], [fence], cancellationToken))[2];
    }

    /// <inheritdoc/>
    public async ValueTask<long?> GetAcknowledgedAsync(string resource, string group, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        var result = await ReadAsync(target, RedisScript.Acknowledge, [target.Meta, target.Acknowledgements], [group, RedisValue.EmptyString], cancellationToken);
        return result.Length > 2 ? (long)result[2] : null;
    }

    /// <inheritdoc/>
    public async ValueTask AcknowledgeAsync(string resource, string group, long throughRevision, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        await WriteAsync(target, RedisScript.Acknowledge, [target.Meta, target.Acknowledgements], [group, throughRevision], cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask CompactAsync(string resource, long throughRevision, CancellationToken cancellationToken)
    {
        // Some hundred changes a piece, so that others get their turn in between.
        const int pieceEntries = 16;
        var target = Resource(resource);
        long through = -1;
        while (true)
        {
            var result = await ReadAsync(target, RedisScript.Compact, target.Reading, [Math.Max(through, throughRevision), pieceEntries], cancellationToken);
            // Fixed at the first piece: chasing a revision that moves would never end.
            if (through < 0)
                through = throughRevision = Math.Min(throughRevision, (long)result[1]);
            if ((long)result[3] >= Math.Min(through, (long)result[2]))
                return;
        }
    }

    /// <summary>
    /// Begins a new epoch of a resource: its revisions go on far above all before, its log counts as compacted, its fences are raised. For whoever has
    /// replaced the data behind the store's back: an import, a file put in place of another.
    /// </summary>
    /// <returns>The epoch's first revision; the next commit takes the one after it.</returns>
    internal ValueTask<long> BeginEpochAsync(string resource, CancellationToken cancellationToken) => _epochs.BeginAsync(Resource(resource), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stopping.CancelAsync();
        await _compaction;
        await _tails.DisposeAsync();
        await _committer.DisposeAsync();
        await _connections.DisposeAsync();
        _metrics.Dispose();
        _stopping.Dispose();
    }

    /// <summary>The resources this process has used.</summary>
    internal RedisResource[] UsedResources
    {
        get
        {
            lock (_gate)
                return [.. _resources.Values];
        }
    }

    /// <summary>Revisions of a resource and the bytes written to its log so far.</summary>
    internal async ValueTask<(long Revision, long Compacted, long Bytes, long Swept)> GetStateAsync(string resource, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        var result = await ReadAsync(target, RedisScript.Revision, target.MetaOnly, [], cancellationToken);
        return ((long)result[1], (long)result[2], (long)result[3], (long)result[4]);
    }

    private static byte[] Value(RedisResource resource, long revision, RedisResult value) =>
        ValueCodec.Decode((byte[]?)value ?? throw new StoreUnavailableException($"The value of revision {revision} of {resource.Name} is missing."));

    private RedisResource Resource(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ThrowIfDisposed();
        lock (_gate)
        {
            if (!_resources.TryGetValue(name, out var resource))
                _resources[name] = resource = new RedisResource(_options.KeyPrefix, name);
            return resource;
        }
    }

    /// <summary>A script on the connection for reads; <paramref name="arguments"/> are its own, without the guard's.</summary>
    private async ValueTask<RedisResult[]> ReadAsync(
        RedisResource resource, RedisScript script, RedisKey[] keys, RedisValue[] arguments, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var database = await _connections.ReadAsync(cancellationToken);
        return await _epochs.RunAsync(database, resource, script, keys, [default, default, default, .. arguments], replicate: false, cancellationToken);
    }

    /// <summary>A script whose effect must be as durable as a commit's.</summary>
    private async ValueTask<RedisResult[]> WriteAsync(
        RedisResource resource, RedisScript script, RedisKey[] keys, RedisValue[] arguments, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var database = await _connections.CommitAsync(0, cancellationToken);
        return await _epochs.RunAsync(database, resource, script, keys, [default, default, default, .. arguments], replicate: true, CancellationToken.None);
    }

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
}
