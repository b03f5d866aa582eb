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
        await using var caches = new ResourceCaches(Registry, store, new ResourceCacheOptions(), time, new Random(1), null, NullLogger<ResourceCaches>.Instance);
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
        sweeper.Follow();
        await SweepUntilAsync(() => Task.FromResult(sweeper.Waiting >= 3)); // It has seen what is there,
        await objects.CommitAsync(Event("a/touched", 3, "2026-01-01T11:10:00Z"), Token);
        await SweepUntilAsync(() => Task.FromResult(sweeper.Waiting >= 4)); // and the write.
        Assert.Equal(3, (await cache.GetLatestAsync(Token)).Count);

        time.Advance(TimeSpan.FromMinutes(10));
        await SweepUntilGoneAsync("old");
        Assert.Equal(2, (await cache.GetLatestAsync(Token)).Count);
        time.Advance(TimeSpan.FromMinutes(49));
        await sweeper.SweepAsync(Token);
        Assert.Equal(2, (await cache.GetLatestAsync(Token)).Count);
        time.Advance(TimeSpan.FromMinutes(1));
        await SweepUntilGoneAsync("fresh");
        await SweepUntilGoneAsync("touched");

        // A removal is an ordinary change with the object's last state.
        var change = (await store.ReadChangesAsync("events", 4, 1, TimeSpan.Zero, Token)).Single();
        Assert.Equal((CommitKind.Delete, "a/old"), (change.Kind, change.Key));
        Assert.Equal(Event("a/old", 0, "2026-01-01T11:10:00Z").Value, change.Value);
        Assert.NotNull(await store.GetAsync("pods", "a/pod", Token));

        Task SweepUntilGoneAsync(string name) => SweepUntilAsync(async () => (await cache.GetLatestAsync(Token)).Find("a", name) is null);

        async Task SweepUntilAsync(Func<Task<bool>> condition)
        {
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            while (!await condition())
            {
                patience.Token.ThrowIfCancellationRequested();
                await sweeper.SweepAsync(Token);
                await Task.Yield();
            }
        }
    }

    private static Commit Event(string key, long expected, string lastTimestamp) =>
        Put(key, expected, Json(key, $",\"lastTimestamp\":\"{lastTimestamp}\""), "events");
}
