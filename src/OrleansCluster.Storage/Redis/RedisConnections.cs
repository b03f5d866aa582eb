using System.Globalization;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// The connections of a process: several for commits, one for everything else that answers at once. Blocking reads have their own (see
/// <see cref="RedisTail"/>): whatever waits on a connection holds up what is sent after it. They are made at first use, heal by themselves, and are
/// referenced here for as long as the store lives, because a multiplexer that is only known to the network is collected.
/// </summary>
internal sealed class RedisConnections(RedisStoreOptions options, RedisMetrics metrics, ILogger logger) : IAsyncDisposable
{
    private readonly SemaphoreSlim _connecting = new(1);
    private readonly List<ConnectionMultiplexer> _all = [];
    private ConnectionMultiplexer[]? _multiplexers;
    private Connected? _connected;
    private bool _disposed;
    private int _generation;

    /// <summary>
    /// Rises whenever a connection is lost or made: behind it may be a server that was demoted and promoted again, which still knows its scripts.
    /// </summary>
    public int Generation => Volatile.Read(ref _generation);

    /// <summary>True if another server may take over from the one that writes: then a restart cannot be told from a lost tail.</summary>
    public bool FailsOver { get; private set; }

    /// <summary>True for a Redis Cluster.</summary>
    public bool IsCluster { get; private set; }

    /// <summary>The connection for reads, queues and housekeeping.</summary>
    public async ValueTask<IDatabase> ReadAsync(CancellationToken cancellationToken) =>
        (Volatile.Read(ref _connected) ?? await ConnectAsync(cancellationToken)).Read;

    /// <summary>One of the connections for commits; while it is being made anew, one that works.</summary>
    public async ValueTask<IDatabase> CommitAsync(int index, CancellationToken cancellationToken)
    {
        var commits = (Volatile.Read(ref _connected) ?? await ConnectAsync(cancellationToken)).Commits;
        return commits[index].Multiplexer.IsConnected ? commits[index] : Array.Find(commits, c => c.Multiplexer.IsConnected) ?? commits[index];
    }

    /// <summary>A further connection with settings of its own, closed with the others.</summary>
    public async Task<ConnectionMultiplexer> OpenAsync(string purpose, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var configuration = options.ToConfiguration(purpose);
        configuration.AsyncTimeout = configuration.SyncTimeout = (int)timeout.TotalMilliseconds;
        ConnectionMultiplexer multiplexer;
        try
        {
            multiplexer = await ConnectionMultiplexer.ConnectAsync(configuration).WaitAsync(cancellationToken);
        }
        catch (Exception e) when (e is RedisException or IOException or TimeoutException)
        {
            throw new StoreUnavailableException($"Redis at {Address} does not answer: {e.Message}", e);
        }
        multiplexer.ConnectionFailed += (_, e) =>
        {
            Interlocked.Increment(ref _generation);
            RedisObjectStore.Log.ConnectionFailed(logger, purpose, e.EndPoint?.ToString() ?? "?", e.FailureType.ToString());
        };
        multiplexer.ConnectionRestored += (_, e) =>
        {
            Interlocked.Increment(ref _generation);
            metrics.Reconnected();
            RedisObjectStore.Log.ConnectionRestored(logger, purpose, e.EndPoint?.ToString() ?? "?");
        };
        lock (_all)
        {
            if (!_disposed)
            {
                _all.Add(multiplexer);
                return multiplexer;
            }
        }
        await multiplexer.DisposeAsync();
        throw new ObjectDisposedException(nameof(RedisObjectStore));
    }

    /// <summary>The servers' names, without secrets.</summary>
    public string Address => string.Join(
        ", ", ConfigurationOptions.Parse(options.ConnectionString).EndPoints.Select(e => e.ToString()!.Replace("Unspecified/", "", StringComparison.Ordinal)));

    /// <summary>
    /// True if the server keeps every acknowledged write when its process ends: `appendonly yes` and `appendfsync always`, or what the option
    /// <see cref="RedisStoreOptions.TrustDurability"/> says where that cannot be read.
    /// </summary>
    public async ValueTask<bool> IsDurableAsync(CancellationToken cancellationToken)
    {
        var settings = await SettingsAsync("append*", cancellationToken);
        return settings is null
            ? options.TrustDurability
            : settings.GetValueOrDefault("appendonly") == "yes" && settings.GetValueOrDefault("appendfsync") == "always";
    }

    /// <summary>
    /// Asks how many replicas have the writes of this connection so far: in memory, or from Redis 7.2 on in their append-only file. Must be called
    /// right behind the write, without a wait between them: on a connection made anew it would wait for nothing.
    /// </summary>
    public async Task<long> WaitForReplicasAsync(IDatabase database, System.Net.EndPoint? owner)
    {
        var milliseconds = (long)options.ReplicaTimeout.TotalMilliseconds;
        var flushed = Volatile.Read(ref _connected)!.Version >= new Version(7, 2);
        var command = flushed ? "WAITAOF" : "WAIT";
        object[] arguments = flushed ? [1, options.MinReplicas, milliseconds] : [options.MinReplicas, milliseconds];
        // Without a key Redis Cluster does not know where to send it.
        var result = owner is null
            ? await database.ExecuteAsync(command, arguments, CommandFlags.DemandMaster)
            : await database.Multiplexer.GetServer(owner).ExecuteAsync(command, arguments, CommandFlags.DemandMaster);
        return flushed ? ((int)result[0] >= 1 ? (long)result[1] : 0) : (long)result;
    }

    /// <summary>Settings by pattern, or null where CONFIG is forbidden.</summary>
    public async ValueTask<Dictionary<string, string>?> SettingsAsync(string pattern, CancellationToken cancellationToken)
    {
        var database = await ReadAsync(cancellationToken);
        try
        {
            var result = (RedisResult[])(await database.ExecuteAsync("CONFIG", ["GET", pattern], CommandFlags.DemandMaster).WaitAsync(cancellationToken))!;
            var settings = new Dictionary<string, string>(StringComparer.Ordinal);
            for (var i = 0; i + 1 < result.Length; i += 2)
                settings[(string)result[i]!] = (string?)result[i + 1] ?? "";
            return settings;
        }
        catch (RedisServerException e) when (e.Message.Contains("CONFIG", StringComparison.OrdinalIgnoreCase) || e.Message.StartsWith("NOPERM", StringComparison.Ordinal))
        {
            return null;
        }
        catch (Exception e) when (RedisErrors.IsOutage(e))
        {
            throw RedisErrors.Unavailable(e);
        }
    }

    public async ValueTask DisposeAsync()
    {
        ConnectionMultiplexer[] all;
        lock (_all)
        {
            _disposed = true;
            all = [.. _all];
            _all.Clear();
        }
        foreach (var multiplexer in all)
        {
            // Whoever still waits has given up: what was to finish has finished, and a blocked read would hold up the end.
            await multiplexer.CloseAsync(allowCommandsToComplete: false);
            await multiplexer.DisposeAsync();
        }
    }

    private async Task<Connected> ConnectAsync(CancellationToken cancellationToken)
    {
        await _connecting.WaitAsync(cancellationToken);
        try
        {
            if (_connected is { } present)
                return present;
            var multiplexers = _multiplexers ??= await Task.WhenAll(Enumerable.Range(0, options.CommitConnections + 1).Select(i =>
                OpenAsync(i == 0 ? "read" : string.Create(CultureInfo.InvariantCulture, $"commit-{i}"), options.CommandTimeout, cancellationToken)));
            // Only a server that has answered tells what it is.
            if (!Array.Exists(multiplexers[0].GetServers(), s => s.IsConnected))
                throw new StoreUnavailableException($"Redis at {Address} does not answer.");
            IsCluster = Array.Exists(multiplexers[0].GetServers(), s => s.ServerType == ServerType.Cluster);
            FailsOver = IsCluster || ConfigurationOptions.Parse(options.ConnectionString).ServiceName is { Length: > 0 };
            var connected = new Connected(
                multiplexers[0].GetDatabase(), [.. multiplexers.Skip(1).Select(m => m.GetDatabase())], multiplexers[0].GetServers().Where(s => s.IsConnected).Min(s => s.Version)!);
            Volatile.Write(ref _connected, connected);
            return connected;
        }
        finally
        {
            _connecting.Release();
        }
    }

    private sealed record Connected(IDatabase Read, IDatabase[] Commits, Version Version);
}

/// <summary>What an exception of the client means.</summary>
internal static class RedisErrors
{
    /// <summary>True for everything that says nothing about the request itself: no connection, no answer in time, a server that cannot serve now.</summary>
    public static bool IsOutage(Exception exception) => exception is RedisException or TimeoutException or IOException or System.Net.Sockets.SocketException;

    public static bool IsUnknownScript(RedisServerException exception) => exception.Message.StartsWith("NOSCRIPT", StringComparison.Ordinal);

    public static StoreUnavailableException Unavailable(Exception exception) =>
        new(exception is RedisServerException ? $"Redis refused: {exception.Message}" : $"Redis does not answer: {exception.Message}", exception);
}
