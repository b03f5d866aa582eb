using System.Collections.Concurrent;
using Microsoft.Data.Sqlite;

namespace OrleansCluster.Storage;

/// <summary>A reading connection with its statements. Used by one caller at a time.</summary>
internal sealed class SqliteReader : IDisposable
{
    private readonly SqliteConnection _connection;
    private readonly SqliteStatement _begin;
    private readonly SqliteStatement _end;
    private readonly SqliteStatement _touch;
    private readonly SqliteStatement _value;
    private readonly SqliteStatement _changes;

    public SqliteReader(string path)
    {
        _connection = SqliteDatabase.Connect(path, SqliteOpenMode.ReadOnly);
        _begin = new SqliteStatement(_connection, "BEGIN");
        _end = new SqliteStatement(_connection, "ROLLBACK");
        _touch = new SqliteStatement(_connection, "SELECT 1 FROM resources LIMIT 1");
        _value = new SqliteStatement(_connection, "SELECT value FROM log WHERE id = ?");
        _changes = new SqliteStatement(_connection, "SELECT id, kind, key, value FROM log WHERE id > ? AND id <= ? ORDER BY id LIMIT ?");
    }

    /// <summary>Fixes what this connection sees from now on until <see cref="Unpin"/>.</summary>
    public void Pin()
    {
        _begin.Execute();
        _touch.Execute();
    }

    public void Unpin() => _end.Execute();

    /// <summary>The value of one row, or null if there is no such row.</summary>
    public byte[]? Value(long rowId)
    {
        _value.Bind(1, rowId);
        var value = _value.Step() ? _value.Blob(0) : null;
        _value.Reset();
        return value;
    }

    public List<StoredChange> Changes(int resource, long afterRevision, long throughRevision, int maxCount)
    {
        var result = new List<StoredChange>();
        _changes.Bind(1, SqliteDatabase.RowId(resource, afterRevision));
        _changes.Bind(2, SqliteDatabase.RowId(resource, throughRevision));
        _changes.Bind(3, maxCount);
        while (_changes.Step())
            result.Add(new StoredChange(SqliteDatabase.RevisionOf(_changes.Int64(0)), _changes.Text(2), (CommitKind)_changes.Int64(1), _changes.Blob(3)));
        _changes.Reset();
        return result;
    }

    public void Dispose()
    {
        _begin.Dispose();
        _end.Dispose();
        _touch.Dispose();
        _value.Dispose();
        _changes.Dispose();
        _connection.Dispose();
    }
}

/// <summary>A few reading connections, opened when first needed. One that failed is closed rather than used again.</summary>
internal sealed class ReaderPool(string path, int size) : IAsyncDisposable
{
    private readonly ConcurrentBag<SqliteReader> _free = [];
    private readonly SemaphoreSlim _places = new(size);
    private volatile bool _closed;

    public async ValueTask<T> UseAsync<T>(Func<SqliteReader, T> use, CancellationToken cancellationToken)
    {
        await _places.WaitAsync(cancellationToken);
        try
        {
            ObjectDisposedException.ThrowIf(_closed, typeof(SqliteObjectStore));
            if (!_free.TryTake(out var reader))
                reader = new SqliteReader(path);
            try
            {
                var result = use(reader);
                _free.Add(reader);
                return result;
            }
            catch
            {
                reader.Dispose();
                throw;
            }
        }
        catch (SqliteException e)
        {
            throw new StoreUnavailableException($"Reading '{path}' failed: {e.Message}", e);
        }
        finally
        {
            _places.Release();
        }
    }

    /// <summary>
    /// Waits for reads under way and closes the connections. Before the writer's: only a connection that can write removes the write-ahead file, and
    /// only if it is the last.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        _closed = true;
        for (var i = 0; i < size; i++)
            await _places.WaitAsync();
        while (_free.TryTake(out var reader))
            reader.Dispose();
        _places.Release(size);
    }
}
