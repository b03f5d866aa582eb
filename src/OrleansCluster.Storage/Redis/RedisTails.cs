using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// The blocking reads of a process: one for all resources, or in a Redis Cluster one per resource, because a read may not reach across slots.
/// </summary>
internal sealed class RedisTails(RedisConnections connections, TimeProvider time, Random random, ILogger logger) : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, RedisTail> _tails = new(StringComparer.Ordinal);
    private bool _disposed;

    public async ValueTask<RedisTail> GetAsync(RedisResource resource, CancellationToken cancellationToken)
    {
        await connections.ReadAsync(cancellationToken); // Only a connection tells whether it is a cluster.
        var name = connections.IsCluster ? resource.Name : "";
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(RedisObjectStore));
            if (!_tails.TryGetValue(name, out var tail))
                _tails[name] = tail = new RedisTail(name.Length == 0 ? "tail" : $"tail-{name}", connections, time, random, logger);
            return tail;
        }
    }

    public void Follow(RedisTail tail, RedisKey stream, long? after) => tail.Follow(stream, after, connections.IsCluster ? null : InterruptAsync);

    /// <summary>Wakes those who wait for a resource's log.</summary>
    public void Wake(RedisResource resource)
    {
        lock (_gate)
        {
            if (_tails.TryGetValue(connections.IsCluster ? resource.Name : "", out var tail))
                tail.Wake(resource.Log);
        }
    }

    public async ValueTask DisposeAsync()
    {
        RedisTail[] all;
        lock (_gate)
        {
            _disposed = true;
            all = [.. _tails.Values];
        }
        foreach (var tail in all)
            await tail.DisposeAsync();
    }

    private async Task<bool> InterruptAsync(long connection)
    {
        var database = await connections.ReadAsync(CancellationToken.None);
        return (long)await database.ExecuteAsync("CLIENT", ["UNBLOCK", connection], CommandFlags.DemandMaster) == 1;
    }
}
