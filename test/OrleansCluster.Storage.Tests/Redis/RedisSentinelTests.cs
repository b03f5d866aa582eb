using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Redis;

/// <summary>A master, a replica and three sentinels; the master dies with writes the replica never got.</summary>
public sealed class RedisSentinelTests : IAsyncLifetime
{
    private const string Service = "oc";

    private readonly List<Process> _sentinels = [];
    private readonly List<int> _sentinelPorts = [];
    private readonly string _folder = Directory.CreateTempSubdirectory("redis-sentinels-").FullName;
    private RedisServer _master = null!;
    private RedisServer _replica = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _master = await RedisServer.StartAsync(Token, "--repl-diskless-sync-delay", "0");
        _replica = await RedisServer.StartAsync(Token, "--replicaof", $"127.0.0.1 {_master.Port}");
        while (!(await RedisServer.CommandAsync(_replica.Port, "INFO replication", Token)).Contains("master_link_status:up", StringComparison.Ordinal))
            await Task.Delay(20, Token);
        for (var i = 0; i < 3; i++)
        {
            var port = RedisServer.FreePort();
            var file = Path.Combine(_folder, $"sentinel-{i}.conf");
            await File.WriteAllTextAsync(
                file,
                string.Create(CultureInfo.InvariantCulture, $"""
                    port {port}
                    bind 127.0.0.1
                    dir {_folder}
                    logfile {file}.log
                    sentinel monitor {Service} 127.0.0.1 {_master.Port} 2
                    sentinel down-after-milliseconds {Service} 800
                    sentinel failover-timeout {Service} 4000
                    """),
                Token);
            var process = RedisServer.StartProcess([file, "--sentinel"]);
            _sentinels.Add(process);
            _sentinelPorts.Add(port);
            await RedisServer.WaitUntilUpAsync(process, port, Token);
        }
        // Until the sentinels know the replica and each other there is nothing to fail over with.
        foreach (var port in _sentinelPorts)
        {
            while (await RedisServer.CommandAsync(port, $"SENTINEL MASTER {Service}", Token) is var state
                && !(state.Contains("num-slaves\r\n$1\r\n1", StringComparison.Ordinal) && state.Contains("num-other-sentinels\r\n$1\r\n2", StringComparison.Ordinal)))
            {
                await Task.Delay(50, Token);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var process in _sentinels)
        {
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
            process.Dispose();
        }
        if (_replica is not null)
            await _replica.DisposeAsync();
        if (_master is not null)
            await _master.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private RedisObjectStore Open(int minReplicas = 0) => RedisObjectStore.Create(
        new RedisStoreOptions
        {
            ConnectionString = string.Join(',', _sentinelPorts.Select(p => $"127.0.0.1:{p}")) + $",serviceName={Service}",
            MinReplicas = minReplicas,
            ReplicaTimeout = TimeSpan.FromSeconds(1),
        },
        TimeProvider.System, new Random(1), NullLogger<RedisObjectStore>.Instance);

    [Fact]
    public async Task A_failover_that_loses_a_tail_begins_an_epoch_and_watchers_start_anew()
    {
        await using IObjectStore store = Open();
        for (var i = 0; i < 20; i++)
            Assert.Equal(i + 1, (await store.CommitAsync(Put($"a/{i}", 0), Token)).Revision);
        await WaitForReplicaAsync(20);

        // The replica is cut off; what is acknowledged from here on lives on the master alone.
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_replica.Port, "REPLICAOF 127.0.0.1 1", Token), StringComparison.Ordinal);
        for (var i = 20; i < 40; i++)
            Assert.Equal(i + 1, (await store.CommitAsync(Put($"a/{i}", 0), Token)).Revision);
        var reading = Task.Run(async () => await RedisFailureTests.RetryAsync(async () =>
        {
            var changes = await store.ReadChangesAsync("pods", 40, 10, TimeSpan.FromMinutes(2), Token);
            Assert.Empty(changes);
            return changes;
        }));
        await _master.KillAsync();

        await Assert.ThrowsAsync<CompactedException>(() => reading);
        var revision = await RedisFailureTests.RetryAsync(async () => await store.GetRevisionAsync("pods", Token));
        Assert.True(revision > 1L << 40);
        var written = await RedisFailureTests.RetryAsync(async () => await store.CommitAsync(Put("a/30", 0), Token));
        Assert.True(written.Revision > revision);
        var snapshot = await RedisFailureTests.RetryAsync(async () => await store.GetSnapshotAsync("pods", Token));
        Assert.InRange(snapshot.Objects.Count, 20, 22);

        // A process that comes later lives in the same epoch.
        await using var late = Open();
        Assert.True(await RedisFailureTests.RetryAsync(async () => await late.GetRevisionAsync("pods", Token)) >= written.Revision);
    }

    [Fact]
    public async Task A_write_that_too_few_replicas_confirm_is_not_acknowledged()
    {
        await using IObjectStore store = Open(minReplicas: 1);
        Assert.Equal(1, (await store.CommitAsync(Put("a/x", 0), Token)).Revision);
        await WaitForReplicaAsync(1);
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_replica.Port, "REPLICAOF 127.0.0.1 1", Token), StringComparison.Ordinal);
        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.CommitAsync(Put("a/x", 1), Token));
        Assert.Contains("replicas", refused.Message, StringComparison.Ordinal);
    }

    private async Task WaitForReplicaAsync(long revision)
    {
        while (!(await RedisServer.CommandAsync(_replica.Port, "HGET {oc:pods}:m rev", Token)).Contains($"\r\n{revision}\r\n", StringComparison.Ordinal))
            await Task.Delay(10, Token);
    }
}
