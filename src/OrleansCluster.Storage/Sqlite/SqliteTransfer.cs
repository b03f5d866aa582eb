using System.Runtime.CompilerServices;
using Microsoft.Data.Sqlite;

namespace OrleansCluster.Storage;

/// <summary>
/// Reads and writes the file of an embedded store from outside of it.
/// <para>
/// Reading needs no word with the process that runs on the file: one SQLite read transaction shows the whole file as it was at one commit, however
/// long it lasts, and never anything that is not committed. Until it ends the write-ahead file cannot be emptied and grows by what is written
/// meanwhile.
/// </para>
/// <para>
/// Writing takes the file's lock, so it is refused while a process runs on it. It fills a file beside it and renames that over the store when all is
/// on the disk: an import that was interrupted has changed nothing.
/// </para>
/// </summary>
public sealed class SqliteTransfer : IStoreTransfer
{
    private readonly string _path;
    private readonly TimeProvider _time;

    /// <param name="path">The database file.</param>
    /// <param name="time">The clock: of the header, and of the epoch that an import begins.</param>
    public SqliteTransfer(string path, TimeProvider time)
    {
        _path = Path.GetFullPath(path);
        _time = time;
    }

    /// <inheritdoc/>
    public string Source => "sqlite";

    /// <inheritdoc/>
    public string Description => $"the database '{_path}'";

    /// <inheritdoc/>
    public ValueTask<StoreCondition> GetConditionAsync(CancellationToken cancellationToken)
    {
        if (!File.Exists(_path) || new FileInfo(_path).Length == 0 && !File.Exists(_path + "-wal"))
            return ValueTask.FromResult(StoreCondition.Empty);
        using var connection = Connect();
        if (SqliteDatabase.Scalar(connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'log'") == 0)
            return ValueTask.FromResult(StoreCondition.Empty);
        var rows = SqliteDatabase.Scalar(connection, "SELECT (SELECT count(*) FROM (SELECT 1 FROM log LIMIT 1)) + (SELECT count(*) FROM fences) + (SELECT count(*) FROM queue)");
        var revisions = SqliteDatabase.Scalar(connection, "SELECT count(*) FROM resources WHERE revision > 0");
        return ValueTask.FromResult(rows + revisions == 0 ? StoreCondition.Empty : StoreCondition.Filled);
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StoreRecord> ReadAllAsync(Action<string>? onProblem, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.CompletedTask; // SQLite blocks; whoever enumerates has a thread for it.
        using var connection = Connect();
        using var transaction = Begin(connection, out var bits);
        var resources = new List<(long Id, string Name, long Revision)>();
        foreach (var row in Query(connection, "SELECT id, name, revision FROM resources ORDER BY name"))
            resources.Add((row.Int64(0), row.Text(1), row.Int64(2)));
        yield return new HeaderRecord(_time.GetUtcNow(), Source, [.. resources.Select(r => r.Name)]);
        using var values = new SqliteStatement(connection, "SELECT value FROM log WHERE id = ?");
        foreach (var (id, name, noted) in resources)
        {
            var objects = new Dictionary<string, (long Revision, string? Claims)>(StringComparer.Ordinal);
            var revision = noted;
            foreach (var row in Query(connection, $"SELECT id, kind, key, claims FROM log WHERE id > {id << bits} AND id <= {(id << bits) | ((1L << bits) - 1)} ORDER BY id"))
            {
                revision = Math.Max(revision, row.Int64(0) & ((1L << bits) - 1));
                if (row.Int64(1) == (long)CommitKind.Delete)
                    objects.Remove(row.Text(2));
                else
                    objects[row.Text(2)] = (row.Int64(0) & ((1L << bits) - 1), row.TextOrNull(3));
            }
            yield return new ResourceRecord(name, revision);
            foreach (var (key, at) in objects.OrderBy(o => o.Value.Revision)) // The order of the rows.
            {
                cancellationToken.ThrowIfCancellationRequested();
                values.Bind(1, (id << bits) | at.Revision);
                var value = values.Step() ? values.Blob(0) : null;
                values.Reset();
                if (value is null)
                    Report($"{name} '{key}': the row of its revision {at.Revision} cannot be read.", onProblem);
                else
                    yield return new ObjectRecord(key, at.Revision, value, at.Claims?.Split('\n') ?? []);
            }
            foreach (var row in Query(connection, $"SELECT name, value FROM fences WHERE resource = {id} ORDER BY name"))
                yield return new FenceRecord(row.Text(0), row.Int64(1));
            foreach (var row in Query(connection, $"SELECT name, key, priority, enqueued FROM queue WHERE resource = {id} ORDER BY sequence"))
                yield return new QueueRecord(row.Text(0), row.Text(1), row.Int64(2), new DateTimeOffset(row.Int64(3), TimeSpan.Zero));
        }
    }

    /// <inheritdoc/>
    public ValueTask<LogInspection> InspectLogAsync(string resource, CancellationToken cancellationToken)
    {
        using var connection = Connect();
        using var transaction = Begin(connection, out var bits);
        long id = 0, revision = 0, compacted = 0;
        foreach (var row in Query(connection, "SELECT id, revision, compacted, name FROM resources"))
        {
            if (string.Equals(row.Text(3), resource, StringComparison.Ordinal))
                (id, revision, compacted) = (row.Int64(0), row.Int64(1), row.Int64(2));
        }
        List<string> problems = [];
        var current = new Dictionary<string, long>(StringComparer.Ordinal);
        long entries = 0, bytes = 0, last = compacted;
        foreach (var row in Query(connection, $"""
            SELECT id, kind, previous, key, length(key) + ifnull(length(claims), 0) + length(value) FROM log
            WHERE id > {id << bits} AND id <= {(id << bits) | ((1L << bits) - 1)} ORDER BY id
            """))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var at = row.Int64(0) & ((1L << bits) - 1);
            var key = row.Text(3);
            bytes += row.Int64(4) + 16; // Row id, length fields and the row's place in its page.
            if (at > compacted)
            {
                entries++;
                if (at != last + 1 && problems.Count < 10)
                    problems.Add($"The log has a gap: {last} is followed by {at}.");
                last = at;
                if (row.Int64(2) != current.GetValueOrDefault(key) && problems.Count < 10)
                    problems.Add($"Revision {at} of '{key}' supersedes {row.Int64(2)}, but {current.GetValueOrDefault(key)} was current.");
            }
            else if (row.Int64(1) != (long)CommitKind.Put && problems.Count < 10)
            {
                problems.Add($"Revision {at} of '{key}' is a removal that compaction has passed but left.");
            }
            if (row.Int64(1) == (long)CommitKind.Put)
                current[key] = at;
            else
                current.Remove(key);
        }
        if (last < revision)
            problems.Add($"The log ends at {last}, but {revision} was noted.");
        return ValueTask.FromResult(new LogInspection(Math.Max(last, revision), compacted, entries, bytes, problems));
    }

    /// <inheritdoc/>
    public async Task WriteAllAsync(IAsyncEnumerable<StoreRecord> records, bool replace, CancellationToken cancellationToken)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_path)!);
        using var held = DatabaseLock.Acquire(_path);
        if (!replace && await GetConditionAsync(cancellationToken) != StoreCondition.Empty)
            throw new StoreImportException($"{Capital(Description)} is not empty. Import with --replace to drop what is in it.");

        var fresh = _path + ".import";
        Remove(fresh);
        try
        {
            SqliteObjectStore.CreatePrivate(fresh);
            await FillAsync(fresh, records, cancellationToken);
            FlushToDisk(fresh);
            Retire();
            File.Move(fresh, _path, overwrite: true);
        }
        finally
        {
            Remove(fresh);
        }
        // Opened once as the store will: that reads it from end to end, and its first flush makes the rename durable, too.
        using var opened = SqliteDatabase.Open(_path, new SqliteStoreOptions(), isPrivate: false);
        opened.Load(out _);
        opened.Checkpoint();
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private async Task FillAsync(string path, IAsyncEnumerable<StoreRecord> records, CancellationToken cancellationToken)
    {
        var now = _time.GetUtcNow();
        try
        {
            using var connection = SqliteDatabase.Connect(path, SqliteOpenMode.ReadWrite);
            // The file is nobody's yet: what a crash would leave of it is thrown away.
            SqliteDatabase.Execute(connection, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;");
            SqliteDatabase.CreateSchema(connection);
            SqliteDatabase.Execute(connection, "BEGIN");
            using var insertResource = new SqliteStatement(connection, "INSERT INTO resources VALUES(?1, ?2, ?3, ?3)");
            using var insertObject = new SqliteStatement(connection, "INSERT INTO log VALUES(?, 0, 0, ?, ?, ?)");
            using var insertFence = new SqliteStatement(connection, "INSERT INTO fences VALUES(?, ?, ?)");
            using var insertQueueRow = new SqliteStatement(connection, "INSERT INTO queue VALUES(?, ?, ?, ?, ?, ?)");
            var resource = 0;
            long sequence = 0;
            await foreach (var record in records.WithCancellation(cancellationToken))
            {
                switch (record)
                {
                    case HeaderRecord header:
                        if (header.Resources.Count > SqliteDatabase.MaxResources)
                            throw new StoreImportException($"The embedded store holds at most {SqliteDatabase.MaxResources} resources.");
                        break;
                    case ResourceRecord begun:
                        insertResource.Bind(1, ++resource);
                        insertResource.Bind(2, begun.Resource);
                        insertResource.Bind(3, StoreEpoch.First(begun.Revision, now));
                        insertResource.Execute();
                        break;
                    case ObjectRecord item:
                        insertObject.Bind(1, SqliteDatabase.RowId(resource, item.Revision));
                        insertObject.Bind(2, item.Key);
                        insertObject.Bind(3, item.Claims.Count == 0 ? null : string.Join('\n', item.Claims));
                        insertObject.Bind(4, item.Value);
                        insertObject.Execute();
                        break;
                    case FenceRecord fence:
                        insertFence.Bind(1, resource);
                        insertFence.Bind(2, fence.Name);
                        insertFence.Bind(3, StoreEpoch.First(fence.Value, now));
                        insertFence.Execute();
                        break;
                    case QueueRecord item:
                        insertQueueRow.Bind(1, ++sequence);
                        insertQueueRow.Bind(2, resource);
                        insertQueueRow.Bind(3, item.Queue);
                        insertQueueRow.Bind(4, item.Key);
                        insertQueueRow.Bind(5, item.Priority);
                        insertQueueRow.Bind(6, item.EnqueuedAt.UtcTicks);
                        insertQueueRow.Execute();
                        break;
                }
            }
            SqliteDatabase.Execute(connection, "COMMIT");
        }
        catch (SqliteException e)
        {
            throw new StoreUnavailableException($"Writing '{path}' failed: {e.Message}", e);
        }
    }

    private static void FlushToDisk(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
        file.Flush(flushToDisk: true);
    }

    // The write-ahead file belongs to the database's name, not to its content: one that stayed would be replayed over the new file. Leaving that mode
    // empties and removes it, and is refused while anybody else, an export for instance, has the file open.
    private void Retire()
    {
        if (!File.Exists(_path))
            return;
        try
        {
            using var connection = SqliteDatabase.Connect(_path, SqliteOpenMode.ReadWrite);
            using var command = connection.CreateCommand();
            command.CommandText = "PRAGMA journal_mode = DELETE";
            if (command.ExecuteScalar() is string mode && !string.Equals(mode, "delete", StringComparison.Ordinal))
                throw new StoreImportException($"{Capital(Description)} is being read by another process, an export perhaps. Wait for it to end.");
        }
        catch (SqliteException e) when (e.SqliteErrorCode is SQLitePCL.raw.SQLITE_BUSY or SQLitePCL.raw.SQLITE_LOCKED)
        {
            throw new StoreImportException($"{Capital(Description)} is being read by another process, an export perhaps. Wait for it to end.");
        }
        catch (SqliteException)
        {
            // It is no database any more, which may be why it is to be replaced.
            File.Delete(_path + "-wal");
            File.Delete(_path + "-shm");
        }
    }

    private SqliteConnection Connect()
    {
        if (!File.Exists(_path))
            throw new StoreUnavailableException($"There is no database '{_path}'.");
        return SqliteDatabase.Connect(_path, SqliteOpenMode.ReadOnly);
    }

    // One transaction: every query in it sees the same commit.
    private SqliteTransaction Begin(SqliteConnection connection, out int bits)
    {
        try
        {
            var transaction = connection.BeginTransaction(deferred: true);
            bits = SqliteDatabase.RevisionBitsOf(connection);
            return transaction;
        }
        catch (SqliteException e)
        {
            throw new StoreUnavailableException($"Cannot read the database '{_path}': {e.Message}", e);
        }
    }

    private IEnumerable<SqliteStatement> Query(SqliteConnection connection, FormattableString sql) =>
        Query(connection, FormattableString.Invariant(sql));

    private IEnumerable<SqliteStatement> Query(SqliteConnection connection, string sql)
    {
        using var statement = new SqliteStatement(connection, sql);
        while (Step(statement))
            yield return statement;
    }

    private bool Step(SqliteStatement statement)
    {
        try
        {
            return statement.Step();
        }
        catch (SqliteException e)
        {
            throw new StoreUnavailableException($"Reading '{_path}' failed: {e.Message}", e);
        }
    }

    private static void Report(string problem, Action<string>? onProblem)
    {
        if (onProblem is null)
            throw new InvalidDataException(problem);
        onProblem(problem);
    }

    private static void Remove(string path)
    {
        foreach (var file in (string[])[path, path + "-wal", path + "-shm", path + "-journal"])
            File.Delete(file);
    }

    private static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];
}
