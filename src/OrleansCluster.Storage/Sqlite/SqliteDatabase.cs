using System.Globalization;
using Microsoft.Data.Sqlite;

namespace OrleansCluster.Storage;

/// <summary>
/// The file: opening, schema, and the statements of the one writing connection.
/// <para>
/// The log is the table. A row of `log` is one change: its id is the resource's number and the revision packed together, `previous` the revision it
/// supersedes, `claims` what the object holds after it. An object's value is written once, here, and stays where it is for as long as it is current;
/// which rows are current is known in memory and rebuilt at start by one pass over the log. So a commit dirties the right edge of one B-tree,
/// where a separate table of objects would dirty one more page (4 KiB) for every object touched and hold every value twice.
/// </para>
/// <code>
/// log of pods     5 put a | 6 put b | 7 put a (5) | 8 del b (6) | 9 put a (7)
/// compact to 7            | 6 put b | 7 put a (5) | 8 del b (6) | 9 put a (7)     passing 7 removes what 7 superseded
/// compact to 8                      | 7 put a (5) |             | 9 put a (7)     passing a removal removes it, too
/// compact to 9                                                  | 9 put a (7)     exactly the current objects are left
/// </code>
/// <para>
/// Rows up to the compacted revision are thus exactly the objects that were current at that revision, and rows after it the whole log.
/// </para>
/// </summary>
internal sealed class SqliteDatabase : IDisposable
{
    internal const int SchemaVersion = 2;

    /// <summary>
    /// Bits of a row id that hold the revision. 53, because a resource that was imported goes on at <see cref="StoreEpoch.First"/>; that leaves ids for
    /// <see cref="MaxResources"/> resources.
    /// </summary>
    private const int RevisionBits = 53;

    /// <summary>Bits of a revision in schema version 1.</summary>
    private const int RevisionBits1 = 44;

    /// <summary>Most resources a file can hold.</summary>
    internal const int MaxResources = (1 << (63 - RevisionBits)) - 1;

    private const string Schema = """
        CREATE TABLE starts(count INTEGER NOT NULL);
        INSERT INTO starts VALUES(0);
        CREATE TABLE resources(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
        CREATE TABLE log(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, previous INTEGER NOT NULL, key TEXT NOT NULL, claims TEXT, value BLOB NOT NULL);
        CREATE TABLE queue(sequence INTEGER PRIMARY KEY, resource INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
          priority INTEGER NOT NULL, enqueued INTEGER NOT NULL);
        CREATE TABLE fences(resource INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY(resource, name)) WITHOUT ROWID;
        CREATE TABLE consumer_groups(resource INTEGER NOT NULL, name TEXT NOT NULL, acknowledged INTEGER NOT NULL, PRIMARY KEY(resource, name)) WITHOUT ROWID;
        """;

    private readonly SqliteConnection _connection;

    private SqliteDatabase(SqliteConnection connection, long starts)
    {
        _connection = connection;
        Starts = starts;
        Begin = new SqliteStatement(connection, "BEGIN IMMEDIATE");
        Commit = new SqliteStatement(connection, "COMMIT");
        InsertResource = new SqliteStatement(connection, "INSERT INTO resources VALUES(?, ?, 0, 0)");
        SetCompacted = new SqliteStatement(connection, "UPDATE resources SET revision = ?2, compacted = ?3 WHERE id = ?1");
        InsertChange = new SqliteStatement(connection, "INSERT INTO log VALUES(?, ?, ?, ?, ?, ?)");
        ScanChanges = new SqliteStatement(connection, "SELECT id, kind, previous FROM log WHERE id > ? AND id <= ? ORDER BY id LIMIT ?");
        DeleteChange = new SqliteStatement(connection, "DELETE FROM log WHERE id = ?");
        InsertQueueRow = new SqliteStatement(connection, "INSERT INTO queue VALUES(?, ?, ?, ?, ?, ?)");
        DeleteQueueRow = new SqliteStatement(connection, "DELETE FROM queue WHERE sequence = ?");
        SetFence = new SqliteStatement(connection, "INSERT INTO fences VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3");
        SetAcknowledged = new SqliteStatement(connection, "INSERT INTO consumer_groups VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET acknowledged = ?3");
    }

    /// <summary>How often the file has been opened for writing, this time included.</summary>
    public long Starts { get; }

    public SqliteStatement Begin { get; }
    public SqliteStatement Commit { get; }
    public SqliteStatement InsertResource { get; }
    public SqliteStatement SetCompacted { get; }
    public SqliteStatement InsertChange { get; }
    public SqliteStatement ScanChanges { get; }
    public SqliteStatement DeleteChange { get; }
    public SqliteStatement InsertQueueRow { get; }
    public SqliteStatement DeleteQueueRow { get; }
    public SqliteStatement SetFence { get; }
    public SqliteStatement SetAcknowledged { get; }

    /// <summary>Row id of a change.</summary>
    public static long RowId(int resource, long revision) => ((long)resource << RevisionBits) | revision;

    /// <summary>Revision of a row id.</summary>
    public static long RevisionOf(long rowId) => rowId & ((1L << RevisionBits) - 1);

    /// <summary>Opens the file for writing, making or checking its schema.</summary>
    /// <exception cref="StoreUnavailableException">It cannot be opened, or another version of the project wrote it.</exception>
    public static SqliteDatabase Open(string path, SqliteStoreOptions options, bool isPrivate)
    {
        var connection = Connect(path, SqliteOpenMode.ReadWriteCreate);
        try
        {
            var synchronous = (isPrivate ? StoreDurability.None : options.Durability) switch
            {
                StoreDurability.PowerLoss => "FULL",
                StoreDurability.ProcessLoss => "NORMAL",
                _ => "OFF",
            };
            Execute(connection, $"""
                PRAGMA journal_mode = WAL;
                PRAGMA synchronous = {synchronous};
                PRAGMA wal_autocheckpoint = {options.CheckpointPages.ToString(CultureInfo.InvariantCulture)};
                PRAGMA journal_size_limit = 67108864;
                """);
            var version = Scalar(connection, "PRAGMA user_version");
            if (version == 0)
                CreateSchema(connection);
            else if (version == 1)
                Widen(connection);
            else if (version != SchemaVersion)
                throw new StoreUnavailableException($"'{path}' has schema version {version}; this program reads version {SchemaVersion}.");
            Execute(connection, "UPDATE starts SET count = count + 1");
            return new SqliteDatabase(connection, Scalar(connection, "SELECT count FROM starts"));
        }
        catch (SqliteException e)
        {
            connection.Dispose();
            throw new StoreUnavailableException($"Cannot open the database '{path}': {e.Message}", e);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Makes the tables of an empty file.</summary>
    public static void CreateSchema(SqliteConnection connection) =>
        Execute(connection, $"BEGIN IMMEDIATE; {Schema} PRAGMA user_version = {SchemaVersion}; COMMIT;");

    /// <summary>How many bits of a row id are the revision in a file.</summary>
    /// <exception cref="StoreUnavailableException">Another version of the project wrote it.</exception>
    public static int RevisionBitsOf(SqliteConnection connection) => Scalar(connection, "PRAGMA user_version") switch
    {
        1 => RevisionBits1,
        SchemaVersion => RevisionBits,
        var version => throw new StoreUnavailableException(
            $"'{connection.DataSource}' has schema version {version}; this program reads version 1 and {SchemaVersion}."),
    };

    // Schema version 1 had narrower row ids. Copied in their order, so that the new table is written from left to right.
    private static void Widen(SqliteConnection connection) => Execute(connection, $"""
        BEGIN IMMEDIATE;
        ALTER TABLE log RENAME TO log_1;
        CREATE TABLE log(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, previous INTEGER NOT NULL, key TEXT NOT NULL, claims TEXT, value BLOB NOT NULL);
        INSERT INTO log SELECT ((id >> {RevisionBits1}) << {RevisionBits}) | (id & {(1L << RevisionBits1) - 1}), kind, previous, key, claims, value
          FROM log_1 ORDER BY id;
        DROP TABLE log_1;
        PRAGMA user_version = {SchemaVersion};
        COMMIT;
        """);

    /// <summary>Opens a connection of its own for reading.</summary>
    public static SqliteConnection Connect(string path, SqliteOpenMode mode)
    {
        var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Mode = mode, Pooling = false }.ToString());
        try
        {
            connection.Open();
            Execute(connection, "PRAGMA busy_timeout = 5000");
            return connection;
        }
        catch (SqliteException e)
        {
            connection.Dispose();
            throw new StoreUnavailableException($"Cannot open the database '{path}': {e.Message}", e);
        }
    }

    /// <summary>Reads everything memory keeps: one pass over the log in order, then the small tables.</summary>
    /// <param name="nextSequence">The first free sequence of the queue table.</param>
    public List<LoadedResource> Load(out long nextSequence)
    {
        var byId = new Dictionary<long, LoadedResource>();
        Query("SELECT id, name, revision, compacted FROM resources", row => byId[row.Int64(0)] = new LoadedResource(row.Text(1), (int)row.Int64(0))
        {
            Revision = row.Int64(2),
            Compacted = row.Int64(3),
        });
        Query("SELECT id, kind, key, claims FROM log ORDER BY id", row =>
        {
            var id = row.Int64(0);
            var resource = byId[id >> RevisionBits];
            var revision = RevisionOf(id);
            var key = row.Text(2);
            resource.Revision = Math.Max(resource.Revision, revision);
            resource.ClaimsOf.Remove(key);
            if (row.Int64(1) == (long)CommitKind.Delete)
            {
                resource.Objects.Remove(key);
                return;
            }
            resource.Objects[key] = revision;
            if (row.TextOrNull(3) is { } claims)
                resource.ClaimsOf[key] = claims.Split('\n');
        });
        Query("SELECT resource, name, value FROM fences", row => byId[row.Int64(0)].Fences[row.Text(1)] = row.Int64(2));
        Query("SELECT resource, name, acknowledged FROM consumer_groups", row => byId[row.Int64(0)].Acknowledged[row.Text(1)] = row.Int64(2));
        var last = 0L;
        Query("SELECT sequence, resource, name, key, priority, enqueued FROM queue ORDER BY sequence", row =>
        {
            last = row.Int64(0);
            var queues = byId[row.Int64(1)].Queues;
            if (!queues.TryGetValue(row.Text(2), out var rows))
                queues[row.Text(2)] = rows = [];
            rows.Add(new QueueRow(last, row.Text(3), row.Int64(4), new DateTimeOffset(row.Int64(5), TimeSpan.Zero)));
        });
        nextSequence = last + 1;
        return [.. byId.Values];
    }

    /// <summary>Ends the open transaction without its effects; none may be open (SQLite ends it by itself after some errors).</summary>
    public void Rollback()
    {
        if (SQLitePCL.raw.sqlite3_get_autocommit(_connection.Handle) == 0)
            Execute(_connection, "ROLLBACK");
    }

    /// <summary>Limits the size of the file, so that tests can fill it.</summary>
    public void SetMaxPages(long pages) => Execute(_connection, $"PRAGMA max_page_count = {pages.ToString(CultureInfo.InvariantCulture)}");

    /// <summary>Copies the write-ahead file into the database and empties it.</summary>
    public void Checkpoint() => Execute(_connection, "PRAGMA wal_checkpoint(TRUNCATE)");

    public void Dispose()
    {
        foreach (var statement in (SqliteStatement[])
            [Begin, Commit, InsertResource, SetCompacted, InsertChange, ScanChanges, DeleteChange, InsertQueueRow, DeleteQueueRow, SetFence, SetAcknowledged])
        {
            statement.Dispose();
        }
        _connection.Dispose();
    }

    private void Query(string sql, Action<SqliteStatement> onRow)
    {
        using var statement = new SqliteStatement(_connection, sql);
        while (statement.Step())
            onRow(statement);
    }

    public static void Execute(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    public static long Scalar(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        return (long)command.ExecuteScalar()!;
    }
}
