using Microsoft.Extensions.Logging.Abstractions;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests;

public sealed class SmokeTests
{
    [Fact]
    public async Task Store_and_cache_work_together()
    {
        var token = TestContext.Current.CancellationToken;
        await using var store = SqliteObjectStore.Open(new SqliteStoreOptions(), TimeProvider.System, NullLogger<SqliteObjectStore>.Instance);
        IObjectStore s = store;
        Assert.Equal(CommitOutcome.Committed, (await s.CommitAsync(Put("a/x", 0), token)).Outcome);
        await using var caches = new ResourceCaches(Registry, store, new ResourceCacheOptions(), TimeProvider.System, new Random(1), NullLogger<ResourceCaches>.Instance);
        var cache = caches.Get("pods");
        var snapshot = await cache.GetLatestAsync(token);
        Assert.Equal(1, snapshot.Count);
        using var watcher = cache.Watch(1);
        await s.CommitAsync([Put("a/x", 1), Put("a/y", 0), Delete("a/x", 2)], token);
        snapshot = await cache.GetLatestAsync(token);
        Assert.Equal(4, snapshot.Revision);
        Assert.Null(snapshot.Find("a", "x"));
        var changes = await watcher.ReadAsync(token);
        Assert.Equal([2, 3, 4], changes.Select(c => c.Revision));
    }
}
