using System.Collections.Concurrent;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;
using SQLitePCL;

namespace OrleansCluster.Storage;

/// <summary>
/// The only writer of the file: one thread that owns the writing connection and commits in groups.
/// <list type="number">
/// <item>Take whatever waits, up to the size of a group. What arrives while the disk works on one group forms the next, so groups grow with load.</item>
/// <item>In one transaction, for each commit: check everything against published and staged state; then write its row and stage its effects.
/// A failed check writes nothing, so it cannot spoil its neighbours.</item>
/// <item>COMMIT: one flush for the whole group.</item>
/// <item>Publish the staged effects to readers, and only then</item>
/// <item>complete the callers, whose continuations run on the thread pool.</item>
/// </list>
/// If 2 or 3 fails, the staged effects are dropped and every caller of the group learns that the outcome is unknown. After anything but a full disk
/// the file is closed, opened anew and read again before the next group: what a failed flush has left is known only from the file.
/// It is a thread rather than a task because SQLite blocks, and a pool thread that mostly sits in a disk flush is one that requests lack.
/// </summary>
internal sealed class StoreWriter
{
    private readonly object _gate = new();
    private readonly Queue<WriteRequest> _waiting = [];
    private readonly SemaphoreSlim _places;
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SqliteResources _resources;
    private readonly Func<SqliteDatabase> _open;
    private readonly int _maxGroup;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private bool _stopping;

    // The writer thread's own.
    private readonly List<WriteRequest> _group = [];
    private readonly List<ResourceState> _staged = [];
    private readonly List<(ResourceState Resource, string Group)> _writtenAcknowledgements = [];
    private SqliteDatabase? _database;
    private long _nextSequence;

    public StoreWriter(
        SqliteResources resources, SqliteDatabase database, long nextSequence, Func<SqliteDatabase> open, SqliteStoreOptions options, TimeProvider time, ILogger logger)
    {
        _resources = resources;
        _database = database;
        _nextSequence = nextSequence;
        _open = open;
        _maxGroup = options.MaxGroup;
        _places = new SemaphoreSlim(options.MaxWaitingWrites);
        _time = time;
        _logger = logger;
    }

    /// <summary>Test hook: called inside the transaction, after the group's writes and before the COMMIT.</summary>
    internal Action<SqliteDatabase>? BeforeCommit { get; set; }

    /// <summary>Test hook: called after the COMMIT and before anybody learns of it.</summary>
    internal Action? AfterCommit { get; set; }

    /// <summary>Groups committed so far.</summary>
    internal long Groups { get; private set; }

    public void Start()
    {
        // A background thread does not keep a process alive whose host has gone; every acknowledged commit is in the file by then.
        new Thread(Run) { IsBackground = true, Name = "sqlite-writer" }.Start();
    }

    /// <summary>Finishes what waits, writes acknowledgements, empties the write-ahead file and closes the file.</summary>
    public Task StopAsync()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.Pulse(_gate);
        }
        return _stopped.Task;
    }

    public async ValueTask<T> RunAsync<T>(WriteRequest<T> request, CancellationToken cancellationToken)
    {
        await _places.WaitAsync(cancellationToken);
        request.CancelWith(cancellationToken);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping, typeof(SqliteObjectStore));
            _waiting.Enqueue(request);
            if (_waiting.Count == 1)
                Monitor.Pulse(_gate);
        }
        return await request.Completion;
    }

    /// <summary>Writer, for <see cref="CommitRequest"/>.</summary>
    public CommitResult Commit(Commit commit)
    {
        var resource = _resources.GetOrAdd(commit.Resource);

        // Checks, all before the first write.
        var current = resource.CurrentRevision(commit.Key);
        if (current != commit.ExpectedRevision)
            return new CommitResult(CommitOutcome.RevisionConflict, current);
        if (commit.Fence is { } fence && resource.CurrentFence(fence.Name) != fence.Value)
            return new CommitResult(CommitOutcome.FenceConflict, current);
        if (commit.Kind == CommitKind.Put && commit.Claims is not null)
        {
            foreach (var claim in commit.Claims)
            {
                if (resource.CurrentClaimOwner(claim) is { } owner && !string.Equals(owner, commit.Key, StringComparison.Ordinal))
                    return new CommitResult(CommitOutcome.ClaimConflict, current, claim);
            }
        }

        // Writes.
        Stage(resource);
        var before = resource.CurrentClaims(commit.Key);
        var after = commit.Kind == CommitKind.Delete ? [] : commit.Claims is null ? before : commit.Claims.Distinct(StringComparer.Ordinal).ToArray();
        var change = new StoredChange(resource.NextRevision, commit.Key, commit.Kind, commit.Value);
        var insert = _database!.InsertChange;
        insert.Bind(1, SqliteDatabase.RowId(resource.Id, change.Revision));
        insert.Bind(2, (long)change.Kind);
        insert.Bind(3, current);
        insert.Bind(4, change.Key);
        insert.Bind(5, after.Length == 0 ? null : string.Join('\n', after));
        insert.Bind(6, change.Value);
        insert.Execute();
        resource.StageChange(change);
        if (before.Length + after.Length > 0 && !ReferenceEquals(before, after))
            resource.StageClaims(commit.Key, before, after);
        if (commit.Queue is { } queue)
            ChangeQueue(resource, commit.Key, queue);
        return new CommitResult(CommitOutcome.Committed, change.Revision);
    }

    public long AdvanceFence(ResourceState resource, string fence)
    {
        Stage(resource);
        var value = resource.CurrentFence(fence) + 1;
        var set = _database!.SetFence;
        set.Bind(1, resource.Id);
        set.Bind(2, fence);
        set.Bind(3, value);
        set.Execute();
        resource.StageFence(fence, value);
        return value;
    }

    public bool Complete(ResourceState resource, string queue, QueueItem item)
    {
        lock (resource.Gate)
        {
            if (resource.Queues.GetValueOrDefault(queue)?.Holds(item.Key, item.LeaseId, _time.GetUtcNow()) != true)
                return false;
        }
        ChangeQueue(resource, item.Key, new QueueChange(queue, QueueAction.Remove));
        return true;
    }

    /// <summary>Passes at most some hundred revisions; see <see cref="SqliteDatabase"/> for what passing one removes.</summary>
    public bool CompactPiece(ResourceState resource, long throughRevision)
    {
        const int pieceRows = 512;
        var through = Math.Min(throughRevision, resource.Revision);
        if (through <= resource.Compacted)
            return true;
        Stage(resource);
        var scan = _database!.ScanChanges;
        var delete = _database.DeleteChange;
        scan.Bind(1, SqliteDatabase.RowId(resource.Id, resource.Compacted));
        scan.Bind(2, SqliteDatabase.RowId(resource.Id, through));
        scan.Bind(3, pieceRows);
        List<long> obsolete = [];
        var reached = resource.Compacted;
        while (scan.Step())
        {
            var id = scan.Int64(0);
            reached = SqliteDatabase.RevisionOf(id);
            if (scan.Int64(2) is var previous and not 0)
                obsolete.Add(SqliteDatabase.RowId(resource.Id, previous));
            if (scan.Int64(1) == (long)CommitKind.Delete)
                obsolete.Add(id);
        }
        scan.Reset();
        foreach (var id in obsolete)
        {
            delete.Bind(1, id);
            delete.Execute();
        }
        var set = _database.SetCompacted;
        set.Bind(1, resource.Id);
        set.Bind(2, resource.Revision);
        set.Bind(3, reached);
        set.Execute();
        resource.StageCompacted(reached);
        return reached >= through;
    }

    private void Run()
    {
        try
        {
            while (TakeGroup())
                RunGroup();
            RunGroup(); // Acknowledgements that came after the last group.
            _database?.Checkpoint();
        }
        catch (Exception e)
        {
            // Closing is best effort: what was acknowledged is in the write-ahead file, and the next start reads it.
            SqliteObjectStore.Log.CloseFailed(_logger, e);
        }
        finally
        {
            _database?.Dispose();
            _stopped.TrySetResult();
        }
    }

    private bool TakeGroup()
    {
        _group.Clear();
        lock (_gate)
        {
            while (_waiting.Count == 0)
            {
                if (_stopping)
                    return false;
                Monitor.Wait(_gate);
            }
            var weight = 0;
            while (_waiting.TryPeek(out var request) && (weight == 0 || weight + request.Weight <= _maxGroup))
            {
                weight += request.Weight;
                _waiting.Dequeue();
                if (request.TryStart())
                    _group.Add(request);
                else
                    _places.Release();
            }
        }
        return true;
    }

    private void RunGroup()
    {
        var start = _time.GetTimestamp();
        try
        {
            _database ??= Reopen();
            _database.Begin.Execute();
            foreach (var request in _group)
                request.Apply(this);
            WriteAcknowledgements();
            BeforeCommit?.Invoke(_database);
            _database.Commit.Execute();
            AfterCommit?.Invoke();
        }
        catch (Exception e)
        {
            Abandon(e);
            return;
        }
        Groups++;
        if (_group.Count > 0)
            StoreTelemetry.NoteBatch("", _group.Count, _time.GetElapsedTime(start));
        foreach (var resource in _staged)
            resource.Publish();
        _staged.Clear();
        _writtenAcknowledgements.Clear();
        foreach (var request in _group)
        {
            _places.Release();
            request.Succeed();
        }
        _group.Clear();
    }

    private void Abandon(Exception exception)
    {
        foreach (var resource in _staged)
            resource.Discard();
        _staged.Clear();
        foreach (var (resource, group) in _writtenAcknowledgements)
            _resources.MarkAcknowledged(resource, group);
        _writtenAcknowledgements.Clear();

        var full = exception is SqliteException { SqliteErrorCode: raw.SQLITE_FULL };
        try
        {
            _database?.Rollback();
        }
        catch (SqliteException)
        {
            full = false;
        }
        if (!full)
        {
            _database?.Dispose();
            _database = null;
        }
        SqliteObjectStore.Log.GroupFailed(_logger, exception, _group.Count);
        var unavailable = exception as StoreUnavailableException
            ?? new StoreUnavailableException(full ? "The disk is full; nothing was written." : $"Writing failed: {exception.Message}", exception);
        foreach (var request in _group)
        {
            _places.Release();
            request.Fail(unavailable);
        }
        _group.Clear();
    }

    private SqliteDatabase Reopen()
    {
        var database = _open();
        try
        {
            foreach (var loaded in database.Load(out _nextSequence))
                _resources.GetOrAdd(loaded.Name).Reset(loaded);
            SqliteObjectStore.Log.Reopened(_logger);
            return database;
        }
        catch
        {
            database.Dispose();
            throw;
        }
    }

    private void Stage(ResourceState resource)
    {
        if (resource.IsStaged)
            return;
        resource.IsStaged = true;
        _staged.Add(resource);
        if (resource.IsInFile)
            return;
        _database!.InsertResource.Bind(1, resource.Id);
        _database.InsertResource.Bind(2, resource.Name);
        _database.InsertResource.Execute();
    }

    private void ChangeQueue(ResourceState resource, string key, QueueChange change)
    {
        var present = resource.CurrentQueueRow(change.Queue, key);
        if (change.Action == QueueAction.Enqueue == present is not null)
            return;
        Stage(resource);
        if (present is not null)
        {
            _database!.DeleteQueueRow.Bind(1, present.Sequence);
            _database.DeleteQueueRow.Execute();
            resource.StageQueueRow(change.Queue, key, null);
            return;
        }
        var row = new QueueRow(_nextSequence++, key, change.Priority, _time.GetUtcNow());
        var insert = _database!.InsertQueueRow;
        insert.Bind(1, row.Sequence);
        insert.Bind(2, resource.Id);
        insert.Bind(3, change.Queue);
        insert.Bind(4, key);
        insert.Bind(5, row.Priority);
        insert.Bind(6, row.EnqueuedAt.UtcTicks);
        insert.Execute();
        resource.StageQueueRow(change.Queue, key, row);
    }

    private void WriteAcknowledgements()
    {
        while (_resources.TryTakeAcknowledged(out var resource, out var group, out var revision))
        {
            Stage(resource);
            _writtenAcknowledgements.Add((resource, group));
            var set = _database!.SetAcknowledged;
            set.Bind(1, resource.Id);
            set.Bind(2, group);
            set.Bind(3, revision);
            set.Execute();
        }
    }
}

/// <summary>The resources of a store, and the consumer groups whose acknowledgements the file has yet to learn.</summary>
internal sealed class SqliteResources(SqliteStoreOptions options, long firstLeaseId)
{
    private readonly ConcurrentDictionary<string, ResourceState> _states = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();
    private readonly HashSet<(ResourceState Resource, string Group)> _acknowledged = [];
    private int _lastId;

    public IEnumerable<ResourceState> All => _states.Values;

    public ResourceState GetOrAdd(string resource)
    {
        if (_states.TryGetValue(resource, out var state))
            return state;
        lock (_gate)
        {
            if (!_states.TryGetValue(resource, out state))
            {
                if (_lastId == SqliteDatabase.MaxResources)
                    throw new StoreUnavailableException($"The embedded store holds at most {SqliteDatabase.MaxResources} resources; '{resource}' is one more.");
                state = AddLocked(resource, ++_lastId);
            }
            return state;
        }
    }

    /// <summary>Takes over what a file holds, before anybody uses the store.</summary>
    public void Load(IEnumerable<LoadedResource> resources)
    {
        lock (_gate)
        {
            foreach (var loaded in resources)
            {
                AddLocked(loaded.Name, loaded.Id).Reset(loaded);
                _lastId = Math.Max(_lastId, loaded.Id);
            }
        }
    }

    public void MarkAcknowledged(ResourceState resource, string group)
    {
        lock (_gate)
            _acknowledged.Add((resource, group));
    }

    public bool HasAcknowledged
    {
        get
        {
            lock (_gate)
                return _acknowledged.Count > 0;
        }
    }

    public bool TryTakeAcknowledged(out ResourceState resource, out string group, out long revision)
    {
        lock (_gate)
        {
            using var first = _acknowledged.GetEnumerator();
            if (!first.MoveNext())
            {
                (resource, group, revision) = (null!, "", 0);
                return false;
            }
            (resource, group) = first.Current;
            _acknowledged.Remove(first.Current);
        }
        lock (resource.Gate)
            revision = resource.Acknowledged[group];
        return true;
    }

    private ResourceState AddLocked(string resource, int id) =>
        _states[resource] = new ResourceState(resource, id, options.WindowCount, options.WindowBytes, firstLeaseId);
}
