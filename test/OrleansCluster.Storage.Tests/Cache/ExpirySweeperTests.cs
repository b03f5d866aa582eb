using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Cache;

public sealed class ExpirySweeperTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Objects_go_when_their_time_has_passed_since_their_last_write_and_no_others_do()
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 12, 0, 0, TimeSpan.Zero));
        await using var store = SqliteObjectStore.Open(new SqliteStoreOptions(), time, NullLogger<SqliteObjectStore>.Instance);
        IObjectStore objects = store;
        await using var caches = new ResourceCaches(Registry, store, new ResourceCacheOptions(), time, new Random(1), NullLogger<ResourceCaches>.Instance);
        await objects.CommitAsync(
            [
                Event("a/old", 0, "2026-01-01T11:10:00Z"), // Expires at 12:10.
                Event("a/fresh", 0, "2026-01-01T12:00:00Z"), // At 13:00.
                Event("a/touched", 0, "2026-01-01T11:10:00Z"), // Written again below.
                Put("a/pod", 0),
            ],
            Token);
        var cache = caches.Get("events");
        await cache.GetLatestAsync(Token);
        using var sweeper = new ExpirySweeper(
            Registry, caches, store, Options.Create(new ExpirySweeperOptions { BatchSize = 1 }), time, NullLogger<ExpirySweeper>.Instance);
        await sweeper.StartAsync(Token);
        await objects.CommitAsync(Event("a/touched", 3, "2026-01-01T11:10:00Z"), Token);

        await UntilGoneAsync("old");
        Assert.True(time.GetUtcNow() >= new DateTimeOffset(2026, 1, 1, 12, 10, 0, TimeSpan.Zero));
        Assert.NotNull((await cache.GetLatestAsync(Token)).Find("a", "fresh"));
        await UntilGoneAsync("fresh");
        Assert.True(time.GetUtcNow() >= new DateTimeOffset(2026, 1, 1, 13, 0, 0, TimeSpan.Zero));
        await UntilGoneAsync("touched");

        // A removal is an ordinary change with the object's last state.
        var change = (await store.ReadChangesAsync("events", 4, 1, TimeSpan.Zero, Token)).Single();
        Assert.Equal((CommitKind.Delete, "a/old"), (change.Kind, change.Key));
        Assert.Equal(Event("a/old", 0, "2026-01-01T11:10:00Z").Value, change.Value);
        Assert.NotNull(await store.GetAsync("pods", "a/pod", Token));
        await sweeper.StopAsync(Token);

        async Task UntilGoneAsync(string name)
        {
            for (var i = 0; i < 100_000; i++)
            {
                if ((await cache.GetLatestAsync(Token)).Find("a", name) is null)
                    return;
                time.Advance(TimeSpan.FromSeconds(5));
                await Task.Yield();
            }
            Assert.Fail($"{name} is still there at {time.GetUtcNow()}.");
        }
    }

    private static Commit Event(string key, long expected, string lastTimestamp) =>
        Put(key, expected, Json(key, $",\"lastTimestamp\":\"{lastTimestamp}\""), "events");
}
