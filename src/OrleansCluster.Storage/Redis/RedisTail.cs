using System.Globalization;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// Wakes those who wait for a stream to grow: one blocked XREAD on a connection of its own for all streams waited for. It only wakes; waiters fetch what they
/// can take by themselves, which is the back-pressure. Streams stay in the read for a minute after their last waiter, since most waiters come
/// back. When the read fails, every waiter is woken, so that each meets the outage (or the new epoch) where it can deal with it.
/// </summary>
internal sealed class RedisTail(string purpose, RedisConnections connections, TimeProvider time, Random random, ILogger logger) : IAsyncDisposable
{
    /// <summary>How long a read blocks before it is sent anew. Also the longest a stream added meanwhile goes unheard if unblocking fails.</summary>
    private static readonly TimeSpan Block = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan Linger = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan MaxDelay = TimeSpan.FromSeconds(2);

    private readonly Lock _gate = new();
    private readonly Dictionary<RedisKey, Followed> _streams = [];
    private readonly CancellationTokenSource _stopping = new();
    private readonly AsyncSignal _added = new();
    private Task? _loop;
    private long _connection;
    private bool _isReading;

    /// <summary>The signal of a stream. Arm it before looking for work, then call <see cref="Follow"/>.</summary>
    public AsyncSignal Signal(RedisKey stream)
    {
        lock (_gate)
            return FindLocked(stream).Signal;
    }

    /// <summary>Makes the stream part of the read, from an entry on, unless it is.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="after">Entries up to this revision need not wake; null: entries that carry a time, from the last one seen on.</param>
    /// <param name="interrupt">Ends a read that does not know the stream yet, given the connection's number; null where that cannot be done.</param>
    public void Follow(RedisKey stream, long? after, Func<long, Task<bool>>? interrupt)
    {
        Task? interrupting = null;
        lock (_gate)
        {
            if (_stopping.IsCancellationRequested)
                return;
            var followed = FindLocked(stream);
            followed.WantedAt = time.GetTimestamp();
            if (after is { } revision)
                followed.Skip(revision);
            if (followed.IsRead)
                return;
            followed.IsRead = true;
            _loop ??= Task.Run(RunAsync);
            if (_isReading && interrupt is not null)
                interrupting = InterruptAsync(followed, interrupt);
            followed.Interrupting = interrupting;
        }
        _added.Pulse();
    }

    public async ValueTask DisposeAsync()
    {
        Task? loop;
        Task[] interrupting;
        await _stopping.CancelAsync();
        lock (_gate)
        {
            loop = _loop;
            interrupting = [.. _streams.Values.Select(s => s.Interrupting).OfType<Task>()];
        }
        WakeAll();
        _added.Pulse();
        if (loop is not null)
            await loop;
        await Task.WhenAll(interrupting);
        _stopping.Dispose();
    }

    /// <summary>Wakes the waiters of a stream.</summary>
    public void Wake(RedisKey stream) => Signal(stream).Pulse();

    private void WakeAll()
    {
        Followed[] all;
        lock (_gate)
            all = [.. _streams.Values];
        foreach (var followed in all)
            followed.Signal.Pulse();
    }

    private Followed FindLocked(RedisKey stream)
    {
        if (!_streams.TryGetValue(stream, out var followed))
            _streams[stream] = followed = new Followed { WantedAt = time.GetTimestamp() };
        return followed;
    }

    private async Task RunAsync()
    {
        ConnectionMultiplexer? multiplexer = null;
        var failures = 0;
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                multiplexer ??= await ConnectAsync();
                await ReadOnceAsync(multiplexer.GetDatabase());
                failures = 0;
            }
            catch (Exception) when (_stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                Volatile.Write(ref _connection, 0);
                var full = Math.Min(20 * Math.Pow(2, Math.Min(failures++, 20)), MaxDelay.TotalMilliseconds);
                var delay = TimeSpan.FromMilliseconds(full * (0.5 + (random.NextDouble() / 2)));
                RedisObjectStore.Log.TailFailed(logger, e, purpose, delay);
                Rewind();
                WakeAll();
                await Task.Delay(delay, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task<ConnectionMultiplexer> ConnectAsync()
    {
        var multiplexer = await connections.OpenAsync(purpose, Block + TimeSpan.FromSeconds(5), _stopping.Token);
        multiplexer.ConnectionRestored += (_, _) => Volatile.Write(ref _connection, 0);
        return multiplexer;
    }

    private async Task ReadOnceAsync(IDatabase database)
    {
        var added = _added.NextAsync();
        List<Followed> followed = [];
        List<object> keys = [];
        List<object> ids = [];
        lock (_gate)
        {
            foreach (var (key, stream) in _streams.Where(s => s.Value.IsRead && time.GetElapsedTime(s.Value.WantedAt) > Linger).ToArray())
            {
                stream.IsRead = false;
                _ = key;
            }
            foreach (var (key, stream) in _streams)
            {
                if (!stream.IsRead)
                    continue;
                followed.Add(stream);
                keys.Add(key);
                ids.Add(stream.After);
                stream.IsHeard = true;
            }
            _isReading = keys.Count > 0;
        }
        if (keys.Count == 0)
        {
            await added.WaitAsync(_stopping.Token);
            return;
        }
        if (Volatile.Read(ref _connection) == 0 && !connections.IsCluster)
            Volatile.Write(ref _connection, (long)await database.ExecuteAsync("CLIENT", ["ID"], CommandFlags.DemandMaster));
        object[] command = ["BLOCK", (long)Block.TotalMilliseconds, "COUNT", 1, "STREAMS", .. keys, .. ids];
        var result = await database.ExecuteAsync("XREAD", command, CommandFlags.DemandMaster).WaitAsync(_stopping.Token);
        lock (_gate)
            _isReading = false;
        if (result.IsNull)
            return;
        foreach (var (key, id) in LastIds(result))
        {
            Followed? stream;
            lock (_gate)
            {
                if (!_streams.TryGetValue(key, out stream))
                    continue;
                stream.Advance(id);
            }
            stream.Signal.Pulse();
        }
    }

    /// <summary>Streams and the last entry of each. RESP3 answers with a map (flattened here to key, entries, ...), RESP2 with pairs.</summary>
    private static IEnumerable<(RedisKey Key, string Id)> LastIds(RedisResult result)
    {
        var isMap = result.Resp3Type == ResultType.Map;
        for (var i = 0; i < result.Length; i += isMap ? 2 : 1)
        {
            var key = isMap ? result[i] : result[i][0];
            var entries = isMap ? result[i + 1] : result[i][1];
            if (entries.Length > 0)
                yield return ((RedisKey)key, (string)entries[entries.Length - 1][0]!);
        }
    }

    /// <summary>After an outage ids that carry a time may have gone back with the server's data.</summary>
    private void Rewind()
    {
        lock (_gate)
        {
            _isReading = false;
            foreach (var stream in _streams.Values)
                stream.Rewind();
        }
    }

    /// <summary>Ends the read under way until a later one has the stream in it.</summary>
    private async Task InterruptAsync(Followed followed, Func<long, Task<bool>> interrupt)
    {
        // A read may be between being built and being blocked, so one attempt may come too early; the read's own end bounds the wait.
        for (var i = 0; i < 100 && !Volatile.Read(ref followed.IsHeard) && !_stopping.IsCancellationRequested; i++)
        {
            try
            {
                if (Volatile.Read(ref _connection) is var connection and not 0)
                    await interrupt(connection);
                await Task.Delay(TimeSpan.FromMilliseconds(2), _stopping.Token);
            }
            catch (Exception e) when (RedisErrors.IsOutage(e) || e is OperationCanceledException or StoreUnavailableException)
            {
                return;
            }
        }
    }

    private sealed class Followed
    {
        private string _after = "0-0";
        private long _revision;
        private bool _hasTimes = true;

        public bool IsHeard;

        public AsyncSignal Signal { get; } = new();

        public long WantedAt { get; set; }

        public bool IsRead
        {
            get;
            set
            {
                field = value;
                if (!value)
                    Volatile.Write(ref IsHeard, false);
            }
        }

        public Task? Interrupting { get; set; }

        public string After => _hasTimes ? _after : string.Create(CultureInfo.InvariantCulture, $"{_revision}-0");

        public void Skip(long revision)
        {
            _hasTimes = false;
            _revision = Math.Max(_revision, revision);
        }

        public void Advance(string id)
        {
            if (_hasTimes)
                _after = id;
            else
                Skip(long.Parse(id.AsSpan(0, id.IndexOf('-', StringComparison.Ordinal)), CultureInfo.InvariantCulture));
        }

        public void Rewind() => _after = "0-0";
    }
}
