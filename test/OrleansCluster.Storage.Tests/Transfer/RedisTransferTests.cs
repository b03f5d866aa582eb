using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Storage.Tests.Redis;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Transfer;

/// <summary>A store of its own on the tests' Redis.</summary>
public sealed class RedisTransferStore(RedisStoreOptions options) : TransferStore
{
    public RedisStoreOptions Options => options;

    public override Task<IObjectStore> OpenAsync() =>
        Task.FromResult<IObjectStore>(RedisObjectStore.Create(options, Time, new Random(1), NullLogger<RedisObjectStore>.Instance));

    public override IStoreTransfer Transfer() => new RedisTransfer(options, Time);
}

public sealed class RedisToRedisTransferTests(RedisFixture redis) : StoreTransferBattery
{
    protected override async Task<TransferStore> MakeSourceAsync() => new RedisTransferStore(await redis.OptionsAsync());

    protected override async Task<TransferStore> MakeTargetAsync() => new RedisTransferStore(await redis.OptionsAsync());

    [Fact]
    public async Task Import_WhileTheStoreIsInUse_IsRefused_AndForcedSendsReadersToANewSnapshot()
    {
        await FillAsync(From);
        var file = await ExportAsync(From);
        await using var store = await To.OpenAsync();
        await store.CommitAsync(Put("old/one", 0), Token);
        Assert.Contains("--force", (await Assert.ThrowsAsync<StoreImportException>(() => ImportAsync(To, file, replace: true))).Message, StringComparison.Ordinal);

        var tail = store.ReadChangesAsync("pods", 1, 10, TimeSpan.FromMinutes(1), Token).AsTask();
        await using (var transfer = new RedisTransfer(((RedisTransferStore)To).Options, TimeProvider.System) { Force = true })
            await transfer.WriteAllAsync(StoreFileReader.ReadAsync(new MemoryStream(file), Token), replace: true, Token);
        await Assert.ThrowsAsync<CompactedException>(() => tail.WaitAsync(TimeSpan.FromSeconds(30), Token));
        Assert.Null(await store.GetAsync("pods", "old/one", Token));
        var x = await store.GetAsync("pods", "a/x", Token);
        Assert.Equal(CommitOutcome.Committed, (await store.CommitAsync(Put("a/x", x!.Revision), Token)).Outcome);
        Assert.Equal(CommitOutcome.RevisionConflict, (await store.CommitAsync(Put("old/one", 1), Token)).Outcome);
    }

    [Fact]
    public async Task Check_FindsMissingValuesClaimsThatDisagreeAndGapsInTheLog()
    {
        var options = ((RedisTransferStore)From).Options;
        await using (var store = await From.OpenAsync())
        {
            for (var i = 1; i <= 5; i++)
                await store.CommitAsync(Put($"a/{i}", 0) with { Claims = [$"ip/{i}"] }, Token);
        }
        await using (var redisConnection = await StackExchange.Redis.ConnectionMultiplexer.ConnectAsync(options.ConnectionString))
        {
            var database = redisConnection.GetDatabase();
            var name = $"{{{options.KeyPrefix}:pods}}:";
            await database.HashDeleteAsync(name + "v", "2");
            await database.HashSetAsync(name + "v", "4", new byte[] { 9, 9 });
            await database.HashSetAsync(name + "c", "ip/1", "a/5");
            await database.StreamDeleteAsync(name + "l", ["3-0"]);
        }
        var problems = await ProblemsAsync(From, all: true);
        Assert.Collection(
            problems.Order(StringComparer.Ordinal),
            p => Assert.Equal("pods 'a/2': the value of its revision 2 is missing.", p),
            p => Assert.Contains("pods 'a/4': The stored value has format 9", p, StringComparison.Ordinal),
            p => Assert.Equal("pods: 'a/1' holds the claim 'ip/1', which belongs to 'a/5'.", p),
            p => Assert.Equal("pods: The log has a gap: 2 is followed by 4.", p));
        await Assert.ThrowsAsync<InvalidDataException>(() => ExportAsync(From));
    }
}

public sealed class SqliteToRedisTransferTests(RedisFixture redis) : StoreTransferBattery
{
    protected override Task<TransferStore> MakeSourceAsync() => Task.FromResult<TransferStore>(new SqliteTransferStore());

    protected override async Task<TransferStore> MakeTargetAsync() => new RedisTransferStore(await redis.OptionsAsync());
}

public sealed class RedisToSqliteTransferTests(RedisFixture redis) : StoreTransferBattery
{
    protected override async Task<TransferStore> MakeSourceAsync() => new RedisTransferStore(await redis.OptionsAsync());

    protected override Task<TransferStore> MakeTargetAsync() => Task.FromResult<TransferStore>(new SqliteTransferStore());
}

/// <summary>From and to a Redis Cluster: resources lie on three servers.</summary>
public sealed class RedisClusterTransferTests(RedisClusterFixture cluster) : StoreTransferBattery
{
    protected override async Task<TransferStore> MakeSourceAsync() => new RedisTransferStore(await cluster.OptionsAsync());

    protected override async Task<TransferStore> MakeTargetAsync() => new RedisTransferStore(await cluster.OptionsAsync());
}
