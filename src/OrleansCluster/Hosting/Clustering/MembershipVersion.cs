using Microsoft.Extensions.Options;
using Orleans.Clustering.Redis;
using Orleans.Configuration;
using StackExchange.Redis;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>
/// The version of the membership table in Redis, which its provider only ever raises by one. It is a field of the same hash as the silos' rows, in decimal
/// digits (Microsoft.Orleans.Clustering.Redis 10; a test reads it back through the provider).
/// </summary>
internal sealed class MembershipVersion(IOptions<RedisClusteringOptions> redis, IOptions<ClusterOptions> cluster) : IAsyncDisposable
{
    private const string Field = "Version";

    private const string RaiseScript = """
        local now = redis.call('HGET', KEYS[1], ARGV[1])
        if not now or tonumber(now) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
        return 1
        """;

    private readonly SemaphoreSlim _once = new(1, 1);
    private ConnectionMultiplexer? _connection;

    /// <summary>Sets the version unless it is as high already.</summary>
    public async Task RaiseAsync(int version)
    {
        await _once.WaitAsync();
        try
        {
            // Of use a few times in a silo's life, so it is made when it is needed.
            _connection ??= await ConnectionMultiplexer.ConnectAsync(redis.Value.ConfigurationOptions!);
            var key = redis.Value.CreateRedisKey(cluster.Value);
            await _connection.GetDatabase().ScriptEvaluateAsync(RaiseScript, [key], [Field, version]);
        }
        finally
        {
            _once.Release();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_connection is not null)
            await _connection.DisposeAsync();
        _once.Dispose();
    }
}
