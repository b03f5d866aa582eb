using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

[assembly: AssemblyFixture(typeof(OrleansCluster.Storage.Tests.Redis.RedisFixture))]
[assembly: AssemblyFixture(typeof(OrleansCluster.Storage.Tests.Redis.RedisClusterFixture))]

namespace OrleansCluster.Storage.Tests.Redis;

/// <summary>The battery on one durable Redis.</summary>
public class RedisBatteryTests(RedisFixture redis) : ObjectStoreBattery
{
    protected FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    protected virtual async Task<RedisStoreOptions> OptionsAsync() => await redis.OptionsAsync();

    protected override async Task<IObjectStore> OpenAsync() =>
        RedisObjectStore.Create(await OptionsAsync(), Time, new Random(1), NullLogger<RedisObjectStore>.Instance);

    protected override async Task PassAsync(TimeSpan time)
    {
        Time.Advance(time);
        // What the clock woke runs on the pool; it is given a chance before the next step.
        await Task.Yield();
    }
}

/// <summary>The battery with tiny groups on one connection: every long call is several scripts.</summary>
public sealed class RedisTinyGroupsTests(RedisFixture redis) : RedisBatteryTests(redis)
{
    protected override async Task<RedisStoreOptions> OptionsAsync()
    {
        var options = await base.OptionsAsync();
        options.CommitConnections = 1;
        options.MaxGroup = 3;
        return options;
    }
}

/// <summary>The battery with the older protocol, whose answers have other shapes.</summary>
public sealed class RedisResp2Tests(RedisFixture redis) : RedisBatteryTests(redis)
{
    protected override async Task<RedisStoreOptions> OptionsAsync()
    {
        var options = await base.OptionsAsync();
        options.ConnectionString += ",protocol=resp2";
        return options;
    }
}

/// <summary>The battery on a Redis Cluster of three masters; pods and nodes lie on different ones.</summary>
public sealed class RedisClusterTests(RedisFixture redis, RedisClusterFixture cluster) : RedisBatteryTests(redis)
{
    protected override Task<RedisStoreOptions> OptionsAsync() => cluster.OptionsAsync();

    [Fact]
    public async Task Resources_are_spread_over_the_masters()
    {
        string[] resources = ["pods", "nodes", "services", "events", "leases", "configmaps", "secrets", "namespaces", "endpoints", "jobs.batch"];
        foreach (var resource in resources)
            await CommittedAsync(TestObjects.Put("x", 0, resource: resource));
        foreach (var server in cluster.Servers)
            Assert.DoesNotContain(":0\r\n", await RedisServer.CommandAsync(server.Port, "DBSIZE", Token), StringComparison.Ordinal);
    }
}
