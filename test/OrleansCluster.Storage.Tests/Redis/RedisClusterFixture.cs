using System.Globalization;

namespace OrleansCluster.Storage.Tests.Redis;

/// <summary>A Redis Cluster of three masters, started when first asked for.</summary>
public sealed class RedisClusterFixture : IAsyncLifetime
{
    private const int Slots = 16384;

    private readonly SemaphoreSlim _gate = new(1);
    private readonly List<RedisServer> _servers = [];
    private int _prefixes;

    /// <summary>Settings for a store with keys of its own.</summary>
    internal async Task<RedisStoreOptions> OptionsAsync()
    {
        var token = TestContext.Current.CancellationToken;
        await _gate.WaitAsync(token);
        try
        {
            if (_servers.Count == 0)
                await StartAsync(token);
        }
        finally
        {
            _gate.Release();
        }
        return new RedisStoreOptions { ConnectionString = string.Join(',', _servers.Select(s => s.Address)), KeyPrefix = $"c{Interlocked.Increment(ref _prefixes)}" };
    }

    internal IReadOnlyList<RedisServer> Servers => _servers;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers)
            await server.DisposeAsync();
        _gate.Dispose();
    }

    private async Task StartAsync(CancellationToken token)
    {
        var servers = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ =>
            RedisServer.StartAsync(token, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-require-full-coverage", "yes")));
        _servers.AddRange(servers);
        for (var i = 0; i < servers.Length; i++)
        {
            var range = string.Create(CultureInfo.InvariantCulture, $"{Slots * i / servers.Length} {(Slots * (i + 1) / servers.Length) - 1}");
            Assert.StartsWith("+OK", await RedisServer.CommandAsync(servers[i].Port, $"CLUSTER SET-CONFIG-EPOCH {i + 1}", token), StringComparison.Ordinal);
            Assert.StartsWith("+OK", await RedisServer.CommandAsync(servers[i].Port, $"CLUSTER ADDSLOTSRANGE {range}", token), StringComparison.Ordinal);
            if (i > 0)
                Assert.StartsWith("+OK", await RedisServer.CommandAsync(servers[i].Port, $"CLUSTER MEET 127.0.0.1 {servers[0].Port}", token), StringComparison.Ordinal);
        }
        foreach (var server in servers)
        {
            // All three know all three, and every slot is served.
            while (await RedisServer.CommandAsync(server.Port, "CLUSTER INFO", token) is var info
                && !(info.Contains("cluster_state:ok", StringComparison.Ordinal) && info.Contains("cluster_size:3", StringComparison.Ordinal)))
            {
                await Task.Delay(20, token);
            }
        }
    }
}
