using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Cache;

public sealed class ResourceCacheTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly ResourceCacheOptions _options = new();
    private SqliteObjectStore _sqlite = null!;
    private InterceptedStore _store = null!;
    private ResourceCaches _caches = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        _sqlite = SqliteObjectStore.Open(new SqliteStoreOptions(), _time, NullLogger<SqliteObjectStore>.Instance);
        _store = new InterceptedStore(_sqlite);
        _caches = NewCaches(_options);
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _caches.DisposeAsync();
        await _sqlite.DisposeAsync();
    }

    private ResourceCaches NewCaches(ResourceCacheOptions options) =>
        new(Registry, _store, options, _time, new Random(1), null, NullLogger<ResourceCaches>.Instance);

    private async Task<long> CommitAsync(Commit commit)
    {
        var result = await ((IObjectStore)_store).CommitAsync(commit, Token);
        Assert.Equal(CommitOutcome.Committed, result.Outcome);
        return result.Revision;
    }

    /// <summary>Advances the clock until a task is done.</summary>
    private async Task<T> TickUntilAsync<T>(Task<T> task, TimeSpan step)
    {
        await UntilAsync(() => task.IsCompleted, step);
        return await task;
    }

    private static async Task<List<CacheChange>> TakeAsync(ICacheWatcher watcher, int count)
    {
        var changes = new List<CacheChange>();
        while (changes.Count < count)
            changes.AddRange(await watcher.ReadAsync(Token).AsTask().WaitAsync(Patience, Token));
        return changes;
    }

    [Fact]
    public void Get_UnknownResource_Throws() => Assert.Throws<KeyNotFoundException>(() => _caches.Get("gadgets"));

    [Fact]
    public void Get_SameResource_IsTheSameCache()
    {
        Assert.Same(_caches.Get("pods"), _caches.Get("pods"));
        Assert.Same(Pods, _caches.Get("pods").Definition);
    }

    [Fact]
    public async Task FindEarlier_EveryRevisionOfTheHistory_IsWhatWasThen()
    {
        var random = new Random(7);
        var cache = _caches.Get("pods");
        var begin = (await cache.GetLatestAsync(Token)).Revision;
        var known = new Dictionary<string, long>(StringComparer.Ordinal);
        var then = new List<(long Revision, string[] Objects)> { (begin, []) };
        for (var i = 0; i < 300; i++)
        {
            var key = $"ns/p{random.Next(25)}";
            var revision = known.TryGetValue(key, out var old) && random.Next(3) == 0
                ? await CommitAsync(Delete(key, old))
                : await CommitAsync(Put(key, old));
            var snapshot = await cache.WaitForAsync(revision, Patience, Token);
            if (snapshot.Find("ns", key[3..]) is null)
                known.Remove(key);
            else
                known[key] = revision;
            then.Add((revision, Show(snapshot)));
        }
        Assert.All(then, t => Assert.Equal(t.Objects, Show(cache.FindEarlier(t.Revision)!)));
        Assert.Null(cache.FindEarlier(then[^1].Revision + 1));

        static string[] Show(ICacheSnapshot snapshot) => [.. snapshot.Enumerate().Select(o => $"{o.Key} {o.Revision}")];
    }

    [Fact]
    public async Task FindEarlier_OlderThanTheCache_IsNull()
    {
        var first = await CommitAsync(Put("ns/a", 0));
        await CommitAsync(Put("ns/b", 0));
        var cache = _caches.Get("pods");
        await cache.GetLatestAsync(Token);
        Assert.Null(cache.FindEarlier(first));
    }

    [Fact]
    public async Task Snapshot_HoldsWhatIsStored_InOrder()
    {
        foreach (var key in (string[])["b/x", "a/z", "a/b", "a-b/c", "b/a"])
            await CommitAsync(Put(key, 0));
        var snapshot = await _caches.Get("pods").GetSnapshotAsync(Token);
        Assert.Equal((5, 5L), (snapshot.Count, snapshot.Revision));
        Assert.Equal(["a/b", "a/z", "a-b/c", "b/a", "b/x"], snapshot.Enumerate().Select(o => o.Key.StorageKey));
        Assert.Equal(["a/b", "a/z"], snapshot.Enumerate("a").Select(o => o.Key.StorageKey));
        Assert.Equal(["a/z"], snapshot.Enumerate("a", "a/b").Select(o => o.Key.StorageKey));
        Assert.Empty(snapshot.Enumerate("a", "a/z"));
        Assert.Empty(snapshot.Enumerate("a", "b/a"));
        Assert.Equal(["b/a", "b/x"], snapshot.Enumerate("b", "a/z").Select(o => o.Key.StorageKey));
        Assert.Equal(["a-b/c", "b/a", "b/x"], snapshot.Enumerate(afterStorageKey: "a/zz").Select(o => o.Key.StorageKey));
        Assert.Empty(snapshot.Enumerate("nowhere"));
        Assert.Equal(2, snapshot.Find("a", "z")!.Revision);
        Assert.Null(snapshot.Find("a", "nobody"));
    }

    [Fact]
    public async Task A_snapshot_does_not_change()
    {
        await CommitAsync(Put("a/x", 0));
        var cache = _caches.Get("pods");
        var before = await cache.GetLatestAsync(Token);
        await CommitAsync(Put("a/y", 0));
        await CommitAsync(Delete("a/x", 1));
        var after = await cache.GetLatestAsync(Token);
        Assert.Equal(["a/x"], before.Enumerate().Select(o => o.Key.StorageKey));
        Assert.Equal(["a/y"], after.Enumerate().Select(o => o.Key.StorageKey));
    }

    [Fact]
    public async Task Cluster_scoped_objects_have_no_namespace()
    {
        await CommitAsync(Put("n2", 0, resource: "nodes"));
        await CommitAsync(Put("n1", 0, resource: "nodes"));
        var snapshot = await _caches.Get("nodes").GetLatestAsync(Token);
        Assert.Equal(["n1", "n2"], snapshot.Enumerate().Select(o => o.Key.Name));
        Assert.Equal("n2", snapshot.Enumerate(afterStorageKey: "n1").Single().Key.Name);
        Assert.NotNull(snapshot.Find("", "n1"));
    }

    [Fact]
    public async Task Watch_GivesEveryChangeOnce_WithTypeAndPrevious()
    {
        await CommitAsync(Put("a/x", 0));
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        using var watcher = cache.Watch(1);
        Assert.Equal(1, watcher.Revision);
        await CommitAsync(Put("a/x", 1));
        await CommitAsync(Put("a/y", 0));
        await CommitAsync(Delete("a/x", 2));
        await CommitAsync(Put("a/x", 0));
        var changes = await TakeAsync(watcher, 4);
        Assert.Equal(
            [(ChangeType.Modified, "a/x", 2L, 1L), (ChangeType.Added, "a/y", 3, 0), (ChangeType.Deleted, "a/x", 4, 2), (ChangeType.Added, "a/x", 5, 0)],
            changes.Select(c => (c.Type, c.Object.Key.StorageKey, c.Revision, c.Previous?.Revision ?? 0)));
        Assert.Contains("\"resourceVersion\":\"4\"", Encoding.UTF8.GetString(changes[2].Object.Bytes.Span), StringComparison.Ordinal);
        Assert.Equal(5, watcher.Revision);

        // Any number of watchers share the same objects.
        using var second = cache.Watch(3);
        var again = await TakeAsync(second, 2);
        Assert.Same(changes[2].Object, again[0].Object);
    }

    [Fact]
    public async Task Watch_BeforeTheCacheIsFilled_WaitsForIt()
    {
        await CommitAsync(Put("a/x", 0));
        var gate = new TaskCompletionSource();
        _store.BeforeSnapshot = () => gate.Task;
        var cache = _caches.Get("pods");
        using var watcher = cache.Watch(1);
        using var early = cache.Watch(0);
        var reading = watcher.ReadAsync(Token).AsTask();
        var snapshot = cache.GetSnapshotAsync(Token).AsTask();
        Assert.False(reading.IsCompleted || snapshot.IsCompleted);
        gate.SetResult();
        await CommitAsync(Put("a/y", 0));
        Assert.True((await snapshot.WaitAsync(Patience, Token)).Revision >= 1);
        // Whether the second commit came with the snapshot or after it decides if revision 1 is still a place to continue from.
        try
        {
            Assert.Equal(2, (await reading.WaitAsync(Patience, Token)).Single().Revision);
        }
        catch (CompactedException e)
        {
            Assert.Equal(2, e.CompactedRevision);
        }
        await Assert.ThrowsAsync<CompactedException>(async () => await early.ReadAsync(Token));
    }

    [Fact]
    public async Task Watchers_under_load_see_the_log_exactly()
    {
        const int writers = 4;
        const int each = 150;
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        var watching = Enumerable.Range(0, 5).Select(_ => Task.Run(async () =>
        {
            using var watcher = cache.Watch(0);
            var state = new Dictionary<string, long>(StringComparer.Ordinal);
            long last = 0;
            while (last < writers * each)
            {
                foreach (var change in await watcher.ReadAsync(Token))
                {
                    Assert.Equal(last + 1, change.Revision); // In order, once, without a gap.
                    last = change.Revision;
                    Assert.Equal(change.Previous?.Revision ?? 0, state.GetValueOrDefault(change.Object.Key.StorageKey));
                    Assert.Equal(change.Type == ChangeType.Added, change.Previous is null);
                    if (change.Type == ChangeType.Deleted)
                        state.Remove(change.Object.Key.StorageKey);
                    else
                        state[change.Object.Key.StorageKey] = change.Revision;
                }
                Assert.Equal(last, watcher.Revision);
            }
            return state;
        }, Token)).ToArray();
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var random = new Random(writer);
            var revisions = new long[10];
            for (var i = 0; i < each; i++)
            {
                var k = random.Next(revisions.Length);
                var delete = revisions[k] != 0 && random.Next(3) == 0;
                var revision = await CommitAsync(delete ? Delete($"w{writer}/{k}", revisions[k]) : Put($"w{writer}/{k}", revisions[k]));
                revisions[k] = delete ? 0 : revision;
            }
        }, Token)));
        var states = await Task.WhenAll(watching).WaitAsync(Patience, Token);
        var snapshot = await cache.GetLatestAsync(Token);
        foreach (var state in states)
        {
            Assert.Equal(
                snapshot.Enumerate().Select(o => (o.Key.StorageKey, o.Revision)).OrderBy(o => o.StorageKey, StringComparer.Ordinal),
                state.Select(s => (s.Key, s.Value)).OrderBy(o => o.Key, StringComparer.Ordinal));
        }
    }

    [Fact]
    public async Task A_slow_watcher_is_told_that_its_place_is_gone()
    {
        await using var caches = NewCaches(new ResourceCacheOptions { HistoryCount = 10, HistoryAge = TimeSpan.Zero });
        var cache = caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        using var slow = cache.Watch(0);
        using var quick = cache.Watch(0);
        for (var i = 0; i < 40; i++)
        {
            await CommitAsync(Put($"a/{i}", 0));
            Assert.Equal(i + 1, (await TakeAsync(quick, 1)).Single().Revision);
        }
        var exception = await Assert.ThrowsAsync<CompactedException>(async () => await slow.ReadAsync(Token));
        Assert.Equal(30, exception.CompactedRevision);
        Assert.Throws<CompactedException>(() => cache.Watch(29));
        using var resumed = cache.Watch(30);
        Assert.Equal(10, (await TakeAsync(resumed, 10)).Count);
    }

    [Fact]
    public async Task History_keeps_young_changes_beyond_the_count_and_obeys_the_bytes()
    {
        await using var caches = NewCaches(new ResourceCacheOptions { HistoryCount = 10, HistoryAge = TimeSpan.FromMinutes(1), HistoryBytes = 1 << 16 });
        var cache = caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        for (var i = 0; i < 50; i++)
            await CommitAsync(Put($"a/{i}", 0));
        await cache.GetLatestAsync(Token);
        using (cache.Watch(0))
        {
            // All young: all kept.
        }
        _time.Advance(TimeSpan.FromMinutes(2));
        await CommitAsync(Put("a/50", 0));
        await cache.GetLatestAsync(Token);
        Assert.Equal(41, Assert.Throws<CompactedException>(() => cache.Watch(0)).CompactedRevision);

        for (var i = 51; i < 60; i++)
            await CommitAsync(Put($"a/{i}", 0, Json($"a/{i}", $",\"data\":\"{new string('x', 30_000)}\"")));
        await cache.GetLatestAsync(Token);
        Assert.True(Assert.Throws<CompactedException>(() => cache.Watch(0)).CompactedRevision >= 57);
    }

    [Fact]
    public async Task GetLatest_NeverMissesAnAcknowledgedCommit()
    {
        var cache = _caches.Get("pods");
        await Task.WhenAll(Enumerable.Range(0, 8).Select(writer => Task.Run(async () =>
        {
            long revision = 0;
            for (var i = 0; i < 50; i++)
            {
                revision = await CommitAsync(Put($"a/{writer}", revision));
                var snapshot = await cache.GetLatestAsync(Token);
                Assert.True(snapshot.Revision >= revision, "A read after an acknowledgement must see it.");
                Assert.Equal(revision, snapshot.Find("a", writer.ToString())!.Revision);
            }
        }, Token)));
    }

    [Fact]
    public async Task GetLatest_SharesAQuestion_ButNeverOneSentBefore()
    {
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        var gates = new ConcurrentQueue<TaskCompletionSource>();
        _store.BeforeRevision = () =>
        {
            var gate = new TaskCompletionSource();
            gates.Enqueue(gate);
            return gate.Task;
        };
        var before = _store.RevisionQuestions;
        var first = cache.GetLatestAsync(Token).AsTask(); // Sends a question; the answer (0) is on its way.
        await CommitAsync(Put("a/x", 0));
        var later = Enumerable.Range(0, 10).Select(_ => cache.GetLatestAsync(Token).AsTask()).ToArray();
        Assert.Equal(1, _store.RevisionQuestions - before);

        Assert.True(gates.TryDequeue(out var gate));
        gate.SetResult();
        await first.WaitAsync(Patience, Token);
        while (!gates.TryDequeue(out gate))
            await Task.Yield();
        Assert.All(later, l => Assert.False(l.IsCompleted));
        gate.SetResult();
        foreach (var snapshot in await Task.WhenAll(later).WaitAsync(Patience, Token))
            Assert.NotNull(snapshot.Find("a", "x"));
        Assert.Equal(2, _store.RevisionQuestions - before);
        _store.BeforeRevision = null;
    }

    [Fact]
    public async Task GetLatest_FailsForThoseWhoAskedOnly()
    {
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        _store.BeforeRevision = () => Task.FromException(new StoreUnavailableException("away"));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await cache.GetLatestAsync(Token));
        _store.BeforeRevision = null;
        Assert.Equal(0, (await cache.GetLatestAsync(Token)).Revision);
    }

    [Fact]
    public async Task GetLatest_CacheThatCannotCatchUp_IsUnavailable()
    {
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        _store.Revision = 99;
        var reading = cache.GetLatestAsync(Token).AsTask();
        await Assert.ThrowsAsync<StoreUnavailableException>(() => TickUntilAsync(reading, TimeSpan.FromMilliseconds(500)));
    }

    [Fact]
    public async Task WaitFor_ReturnsWhenTheRevisionIsThere_OrTimesOut()
    {
        var cache = _caches.Get("pods");
        var waiting = cache.WaitForAsync(2, TimeSpan.FromHours(1), Token).AsTask();
        await CommitAsync(Put("a/x", 0));
        await CommitAsync(Put("a/y", 0));
        Assert.True((await waiting.WaitAsync(Patience, Token)).Revision >= 2);
        Assert.Equal(2, (await cache.WaitForAsync(1, TimeSpan.Zero, Token)).Revision);

        var never = cache.WaitForAsync(1000, TimeSpan.FromSeconds(3), Token).AsTask();
        await Assert.ThrowsAsync<TimeoutException>(() => TickUntilAsync(never, TimeSpan.FromMilliseconds(500)));
        using var source = new CancellationTokenSource();
        var cancelled = cache.WaitForAsync(1000, TimeSpan.FromHours(1), source.Token).AsTask();
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
    }

    [Fact]
    public async Task Sinks_get_the_whole_state_first_then_every_batch_until_disposed()
    {
        await CommitAsync(Put("a/x", 0));
        var cache = _caches.Get("pods");
        var calls = new ConcurrentQueue<(long[] Revisions, bool All)>();
        var subscription = cache.Subscribe((changes, all) => calls.Enqueue(([.. changes.Select(c => c.Revision)], all)));
        await UntilAsync(() => !calls.IsEmpty);
        Assert.True(calls.TryDequeue(out var first));
        Assert.True(first.All);
        Assert.Empty(first.Revisions);

        await CommitAsync(Put("a/y", 0));
        await CommitAsync(Put("a/z", 0));
        await UntilAsync(() => calls.SelectMany(c => c.Revisions).Count() == 2);
        Assert.Equal([2, 3], calls.SelectMany(c => c.Revisions));
        Assert.DoesNotContain(calls, c => c.All);

        // A second sink on an idle cache is called at once, and does not disturb the first; one that throws disturbs nobody.
        using var bad = cache.Subscribe((_, _) => throw new InvalidOperationException("a bad sink"));
        var late = new TaskCompletionSource<bool>();
        using var second = cache.Subscribe((_, all) => late.TrySetResult(all));
        Assert.True(await late.Task.WaitAsync(Patience, Token));
        subscription.Dispose();
        var count = calls.Count;
        await CommitAsync(Put("a/w", 0));
        Assert.Equal(4, (await cache.GetLatestAsync(Token)).Revision);
        Assert.Equal(count, calls.Count);
    }

    [Fact]
    public async Task Compacted_past_the_cache_it_fills_anew_and_says_so()
    {
        await CommitAsync(Put("a/x", 0));
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        var fills = 0;
        using var subscription = cache.Subscribe((_, all) => fills += all ? 1 : 0);
        await UntilAsync(() => fills == 1);
        using var watcher = cache.Watch(1);

        // The cache is held back between two reads while the log moves on and is compacted.
        var gate = new TaskCompletionSource();
        var held = new TaskCompletionSource();
        _store.BeforeChanges = () =>
        {
            held.TrySetResult();
            return gate.Task;
        };
        await CommitAsync(Put("a/y", 0)); // Ends the read under way; the next one is held.
        await held.Task.WaitAsync(Patience, Token);
        await CommitAsync(Delete("a/x", 1));
        await CommitAsync(Put("a/z", 0));
        await _store.CompactAsync("pods", 4, Token);
        _store.BeforeChanges = null;
        gate.SetResult();

        var snapshot = await cache.WaitForAsync(4, Patience, Token);
        Assert.Equal(["a/y", "a/z"], snapshot.Enumerate().Select(o => o.Key.StorageKey));
        await UntilAsync(() => fills == 2);
        Assert.Equal(4, (await Assert.ThrowsAsync<CompactedException>(async () =>
        {
            while (true)
                await watcher.ReadAsync(Token);
        })).CompactedRevision);
        using var resumed = cache.Watch(4);
        await CommitAsync(Put("a/z", 4));
        Assert.Equal(ChangeType.Modified, (await TakeAsync(resumed, 1)).Single().Type);
    }

    [Fact]
    public async Task A_store_that_went_back_is_read_anew()
    {
        await CommitAsync(Put("a/x", 0));
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        var fills = 0;
        using var subscription = cache.Subscribe((_, all) => fills += all ? 1 : 0);
        await UntilAsync(() => fills == 1);
        _store.Revision = 0;
        await UntilAsync(() => Volatile.Read(ref fills) >= 2, TimeSpan.FromSeconds(5));
    }

    [Fact]
    public async Task A_store_that_does_not_answer_is_asked_again_and_the_last_state_served_meanwhile()
    {
        await CommitAsync(Put("a/x", 0));
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        var failures = 0;
        _store.BeforeChanges = () =>
        {
            failures++;
            return Task.FromException(new StoreUnavailableException("away"));
        };
        await CommitAsync(Put("a/y", 0));
        await UntilAsync(() => Volatile.Read(ref failures) >= 5, TimeSpan.FromMilliseconds(100));
        Assert.NotNull((await cache.GetSnapshotAsync(Token)).Find("a", "x"));
        _store.BeforeChanges = null;
        await CommitAsync(Put("a/z", 0));
        Assert.Equal(3, (await TickUntilAsync(cache.WaitForAsync(3, TimeSpan.FromDays(1), Token).AsTask(), TimeSpan.FromMilliseconds(100))).Revision);
    }

    [Fact]
    public async Task The_first_fill_waits_for_a_store_that_does_not_answer_yet()
    {
        var failures = 0;
        _store.BeforeSnapshot = () => ++failures < 4 ? Task.FromException(new StoreUnavailableException("away")) : Task.CompletedTask;
        await CommitAsync(Put("a/x", 0));
        var snapshot = await TickUntilAsync(_caches.Get("pods").GetSnapshotAsync(Token).AsTask(), TimeSpan.FromMilliseconds(100));
        Assert.Equal(1, snapshot.Count);
    }

    [Fact]
    public async Task An_unreadable_object_hides_no_other()
    {
        await CommitAsync(Put("a/bad", 0, "not json"u8.ToArray()));
        await CommitAsync(Put("a/good", 0));
        var cache = _caches.Get("pods");
        Assert.Equal("good", (await cache.GetLatestAsync(Token)).Enumerate().Single().Key.Name);
        await CommitAsync(Put("a/worse", 0, "{\"metadata\":{"u8.ToArray()));
        await CommitAsync(Put("a/fine", 0));
        Assert.Equal(["fine", "good"], (await cache.GetLatestAsync(Token)).Enumerate().Select(o => o.Key.Name));
    }

    [Fact]
    public async Task Dispose_EndsWaitersAndWatchers()
    {
        var cache = _caches.Get("pods");
        await cache.GetSnapshotAsync(Token);
        using var watcher = cache.Watch(0);
        var reading = watcher.ReadAsync(Token).AsTask();
        var waiting = cache.WaitForAsync(10, TimeSpan.FromHours(1), Token).AsTask();
        await _caches.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => reading);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting);
        Assert.Throws<ObjectDisposedException>(() => _caches.Get("nodes"));
    }

    /// <summary>Waits for a condition, advancing the clock in steps if it takes the clock to come true.</summary>
    private async Task UntilAsync(Func<bool> condition, TimeSpan step = default)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (!condition())
        {
            patience.Token.ThrowIfCancellationRequested();
            _time.Advance(step);
            await Task.Yield();
        }
    }
}
