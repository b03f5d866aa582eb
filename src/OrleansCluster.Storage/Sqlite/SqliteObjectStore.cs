using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace OrleansCluster.Storage;

/// <summary>
/// The embedded store: one SQLite file, one process. Writes go through <see cref="StoreWriter"/>, which groups them; what memory knows (revisions,
/// claims, fences, queues, the newest changes) is answered from memory, values from the file. How the file is laid out is told at
/// <see cref="SqliteDatabase"/>.
/// <para>
/// Beyond the contract: acknowledgements of consumer groups are written along with the next group of commits, at the latest after one compaction
/// interval, so a crash may bring back what was acknowledged last (delivery is at least once); a group's first acknowledgement is durable at once.
/// Leases, attempts and delays of queue items end with the process.
/// </para>
/// </summary>
public sealed partial class SqliteObjectStore : IObjectStore
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Times a read is repeated when the row it was about to read has been superseded and compacted away meanwhile.</summary>
    private const int MaxReadAttempts = 16;

    /// <summary>Objects up to this number are read on the caller's thread; more are worth the switch to another.</summary>
    private const int InlineReads = 64;

    private readonly SqliteResources _resources;
    private readonly StoreWriter _writer;
    private readonly ReaderPool _readers;
    private readonly DatabaseLock _lock;
    private readonly string? _privateDirectory;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _stopping = new();
    private readonly LogCompactor _compactor;
    private readonly int _maxGroup;
    private Task _compaction = Task.CompletedTask;
    private int _disposed;

    private SqliteObjectStore(
        string path, string? privateDirectory, DatabaseLock databaseLock, SqliteDatabase database, SqliteStoreOptions options, TimeProvider time, ILogger logger)
    {
        _lock = databaseLock;
        _privateDirectory = privateDirectory;
        _time = time;
        _maxGroup = options.MaxGroup;
        _resources = new SqliteResources(options, database.Starts << 32);
        _resources.Load(database.Load(out var nextSequence));
        _readers = new ReaderPool(path, options.ReadConnections);
        _writer = new StoreWriter(
            _resources, database, nextSequence, () => SqliteDatabase.Open(path, options, privateDirectory is not null), options, time, logger);
        _compactor = new LogCompactor(this, _resources, options.Compaction, time, logger);
    }

    /// <summary>The writer, for tests.</summary>
    internal StoreWriter Writer => _writer;

    /// <summary>Who holds which claim, for tests.</summary>
    internal IReadOnlyDictionary<string, string> ClaimOwners(string resource)
    {
        var state = Resource(resource);
        lock (state.Gate)
            return new Dictionary<string, string>(state.ClaimOwners, StringComparer.Ordinal);
    }

    /// <summary>Opens a store, reads its log and starts its writer. Blocks while it reads: about 1 s per GB of log.</summary>
    /// <exception cref="StoreUnavailableException">The file is in use by another process, unreadable, or of another version.</exception>
    /// <exception cref="OptionsValidationException">An option is out of range.</exception>
    public static SqliteObjectStore Open(SqliteStoreOptions options, TimeProvider time, ILogger<SqliteObjectStore> logger)
    {
        ArgumentNullException.ThrowIfNull(options);
        var check = new SqliteStoreOptionsValidator().Validate(null, options);
        if (check.Failed)
            throw new OptionsValidationException("SqliteStore", typeof(SqliteStoreOptions), check.Failures);

        string? privateDirectory = null;
        string path;
        if (options.Path.Length == 0)
        {
            privateDirectory = Directory.CreateTempSubdirectory("orleanscluster-store-").FullName;
            path = Path.Combine(privateDirectory, "store.db");
        }
        else
        {
            path = Path.GetFullPath(options.Path);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        }
        var databaseLock = DatabaseLock.Acquire(path);
        SqliteDatabase? database = null;
        try
        {
            CreatePrivate(path);
            database = SqliteDatabase.Open(path, options, privateDirectory is not null);
            MakePrivate(path);
            var store = new SqliteObjectStore(path, privateDirectory, databaseLock, database, options, time, logger);
            store.Start();
            return store;
        }
        catch (Exception e)
        {
            database?.Dispose();
            databaseLock.Dispose();
            if (e is Microsoft.Data.Sqlite.SqliteException)
                throw new StoreUnavailableException($"Cannot read the database '{path}': {e.Message}", e);
            throw;
        }
    }

    // Secrets are in it. SQLite gives the files beside it the mode of the database.
    internal static void CreatePrivate(string path)
    {
        if (!OperatingSystem.IsWindows() && !File.Exists(path))
            new FileStream(path, new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.Write, UnixCreateMode = OwnerOnly }).Dispose();
    }

    // A database of a time when its mode was not looked after.
    private static void MakePrivate(string path)
    {
        if (OperatingSystem.IsWindows())
            return;
        foreach (var file in (string[])[path, path + "-wal", path + "-shm"])
        {
            if (File.Exists(file))
                File.SetUnixFileMode(file, OwnerOnly);
        }
    }

    /// <inheritdoc/>
    public ValueTask<long> GetRevisionAsync(string resource, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        lock (state.Gate)
            return ValueTask.FromResult(state.Revision);
    }

    /// <inheritdoc/>
    public async ValueTask<StoredObject?> GetAsync(string resource, string key, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        for (var attempt = 0; attempt < MaxReadAttempts; attempt++)
        {
            long revision;
            lock (state.Gate)
            {
                if (!state.Objects.TryGetValue(key, out revision))
                    return null;
                if (state.Window.Find(revision) is { } recent)
                    return new StoredObject(recent.Key, revision, recent.Value);
            }
            var value = await _readers.UseAsync(reader => reader.Value(SqliteDatabase.RowId(state.Id, revision)), cancellationToken);
            if (value is not null)
                return new StoredObject(key, revision, value);
        }
        throw new StoreUnavailableException($"'{key}' of {resource} changes faster than it can be read, or its row is gone.");
    }

    /// <inheritdoc/>
    public async ValueTask<StoreSnapshot> GetSnapshotAsync(string resource, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        bool isSmall;
        lock (state.Gate)
        {
            if (state.Objects.Count == 0)
                return new StoreSnapshot(state.Revision, []);
            isSmall = state.Objects.Count <= InlineReads;
        }
        return isSmall
            ? await _readers.UseAsync(reader => ReadSnapshot(reader, state), cancellationToken)
            : await Task.Run(async () => await _readers.UseAsync(reader => ReadSnapshot(reader, state), cancellationToken), cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        foreach (var commit in commits)
            commit.Validate();
        if (commits.Count <= _maxGroup)
            return commits.Count == 0 ? [] : await _writer.RunAsync(new CommitRequest(commits), cancellationToken);

        // Commits of a call are independent of each other, so a long call may spread over several transactions; it keeps its order.
        var results = new List<CommitResult>(commits.Count);
        for (var at = 0; at < commits.Count; at += _maxGroup)
        {
            Commit[] part = [.. commits.Skip(at).Take(_maxGroup)];
            results.AddRange(await _writer.RunAsync(new CommitRequest(part), cancellationToken));
        }
        return results;
    }

    /// <inheritdoc/>
    public ValueTask<long> AdvanceFenceAsync(string resource, string fence, CancellationToken cancellationToken) =>
        _writer.RunAsync(new AdvanceFenceRequest(Resource(resource), fence), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<StoredChange>> ReadChangesAsync(
        string resource, long afterRevision, int maxCount, TimeSpan wait, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxCount);
        ArgumentOutOfRangeException.ThrowIfNegative(afterRevision);
        var state = Resource(resource);
        var start = _time.GetTimestamp();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            // Before the look, so that a change between look and wait still wakes us.
            var changed = state.Changed.NextAsync();
            ThrowIfDisposed();
            long through;
            lock (state.Gate)
            {
                if (afterRevision < state.Compacted)
                    throw new CompactedException(state.Compacted);
                through = state.Revision;
                if (through > afterRevision && state.Window.Covers(afterRevision))
                    return state.Window.Read(afterRevision, maxCount);
            }
            if (through > afterRevision)
                return await ReadOldChangesAsync(state, afterRevision, through, maxCount, cancellationToken);
            if (!await AsyncSignal.WaitAsync(changed, wait - _time.GetElapsedTime(start), _time, cancellationToken))
                return [];
        }
    }

    /// <inheritdoc/>
    public ValueTask<long> GetCompactedRevisionAsync(string resource, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        lock (state.Gate)
            return ValueTask.FromResult(state.Compacted);
    }

    /// <inheritdoc/>
    public async ValueTask CompactAsync(string resource, long throughRevision, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        lock (state.Gate)
        {
            if (Math.Min(throughRevision, state.Revision) <= state.Compacted)
                return;
            // Fixed here: chasing a revision that moves would never end.
            throughRevision = Math.Min(throughRevision, state.Revision);
        }
        while (!await _writer.RunAsync(new CompactRequest(state, throughRevision), cancellationToken))
            cancellationToken.ThrowIfCancellationRequested();
    }

    /// <inheritdoc/>
    public ValueTask<long?> GetAcknowledgedAsync(string resource, string group, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        lock (state.Gate)
            return ValueTask.FromResult(state.Acknowledged.TryGetValue(group, out var revision) ? revision : (long?)null);
    }

    /// <inheritdoc/>
    public async ValueTask AcknowledgeAsync(string resource, string group, long throughRevision, CancellationToken cancellationToken)
    {
        var state = Resource(resource);
        bool isFirst;
        lock (state.Gate)
        {
            isFirst = !state.Acknowledged.TryGetValue(group, out var before);
            if (!isFirst && throughRevision <= before)
                return;
            state.Acknowledged[group] = throughRevision;
        }
        _resources.MarkAcknowledged(state, group);
        if (isFirst)
            await FlushAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stopping.CancelAsync();
        await _compaction;
        foreach (var state in _resources.All)
            state.WakeAll();
        await _readers.DisposeAsync();
        await _writer.StopAsync();
        _lock.Dispose();
        _stopping.Dispose();
        if (_privateDirectory is not null)
            Directory.Delete(_privateDirectory, recursive: true);
    }

    /// <summary>Writes acknowledgements that only memory knows.</summary>
    internal async ValueTask FlushAsync(CancellationToken cancellationToken) => await _writer.RunAsync(new FlushRequest(), cancellationToken);

    private void Start()
    {
        _writer.Start();
        _compaction = _compactor.RunAsync(_stopping.Token);
    }

    private static StoreSnapshot ReadSnapshot(SqliteReader reader, ResourceState state)
    {
        StoredObject[] objects;
        var missing = new List<(long Revision, int Index)>();
        long revision;
        lock (state.Gate)
        {
            revision = state.Revision;
            objects = new StoredObject[state.Objects.Count];
            var i = 0;
            foreach (var (key, objectRevision) in state.Objects)
            {
                var recent = state.Window.Find(objectRevision);
                if (recent is null)
                    missing.Add((objectRevision, i));
                objects[i++] = new StoredObject(key, objectRevision, recent?.Value ?? []);
            }
            // Pinned inside the lock: compaction removes only what published state has superseded, so every row chosen here stays visible.
            if (missing.Count > 0)
                reader.Pin();
        }
        if (missing.Count == 0)
            return new StoreSnapshot(revision, objects);
        try
        {
            missing.Sort(); // By revision, the order of the rows.
            foreach (var (objectRevision, index) in missing)
            {
                var value = reader.Value(SqliteDatabase.RowId(state.Id, objectRevision))
                    ?? throw new StoreUnavailableException($"The row of '{objects[index].Key}' ({state.Name}) is missing.");
                objects[index] = objects[index] with { Value = value };
            }
        }
        finally
        {
            reader.Unpin();
        }
        return new StoreSnapshot(revision, objects);
    }

    private async ValueTask<IReadOnlyList<StoredChange>> ReadOldChangesAsync(
        ResourceState state, long afterRevision, long through, int maxCount, CancellationToken cancellationToken)
    {
        var changes = await _readers.UseAsync(reader => reader.Changes(state.Id, afterRevision, through, maxCount), cancellationToken);
        // Compaction may have overtaken us; then rows are missing, and what is left is not the log.
        if (changes.Count > 0 && changes[^1].Revision == afterRevision + changes.Count)
            return changes;
        lock (state.Gate)
        {
            if (afterRevision < state.Compacted)
                throw new CompactedException(state.Compacted);
        }
        throw new StoreUnavailableException($"The change log of {state.Name} has a gap after revision {afterRevision}.");
    }

    private ResourceState Resource(string resource)
    {
        ThrowIfDisposed();
        return _resources.GetOrAdd(resource);
    }

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
}
