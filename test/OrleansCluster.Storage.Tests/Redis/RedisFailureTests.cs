using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Redis;

/// <summary>What stores do when Redis dies, comes back, or comes back as something older than it was. Each test has a server of its own.</summary>
public sealed class RedisFailureTests : IAsyncLifetime
{
    private RedisServer _redis = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _redis = await RedisServer.StartAsync(Token);

    public async ValueTask DisposeAsync()
    {
        if (_redis is not null)
            await _redis.DisposeAsync();
    }

    private RedisObjectStore Open(TimeProvider? time = null) => RedisObjectStore.Create(
        new RedisStoreOptions { ConnectionString = _redis.Address, CommandTimeout = TimeSpan.FromSeconds(5) },
        time ?? TimeProvider.System, new Random(1), NullLogger<RedisObjectStore>.Instance);

    private static async Task<long> CommittedAsync(IObjectStore store, Commit commit)
    {
        var result = await store.CommitAsync(commit, Token);
        Assert.Equal(CommitOutcome.Committed, result.Outcome);
        return result.Revision;
    }

    /// <summary>Repeats what an outage may end, until the test's time is up.</summary>
    internal static async Task<T> RetryAsync<T>(Func<Task<T>> action)
    {
        while (true)
        {
            try
            {
                return await action();
            }
            catch (StoreUnavailableException)
            {
                await Task.Delay(20, Token);
            }
        }
    }

    [Fact]
    public async Task Killed_in_the_middle_of_writes_nothing_acknowledged_is_lost_and_watchers_go_on()
    {
        const int writers = 6, kills = 3;
        await using var store = Open();
        await using var other = Open();
        await CommittedAsync(store, Put("a/first", 0));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var acknowledged = new ConcurrentDictionary<long, (string Key, string Value)>();
        var writing = Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var from = (IObjectStore)(writer % 2 == 0 ? store : other);
            long revision = 0;
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                var (key, value) = ($"w/{writer}", $"{writer} {i}");
                CommitResult result;
                try
                {
                    result = await from.CommitAsync(Put(key, revision, Encoding.ASCII.GetBytes(value)), Token);
                }
                catch (StoreUnavailableException)
                {
                    // Unknown outcome: ask, as a grain does.
                    revision = (await RetryAsync(async () => await from.GetAsync("pods", key, Token)))?.Revision ?? 0;
                    continue;
                }
                Assert.Equal(CommitOutcome.Committed, result.Outcome);
                revision = result.Revision;
                Assert.True(acknowledged.TryAdd(revision, (key, value)), $"Revision {revision} was given out twice.");
            }
        })).ToArray();
        var tailed = new List<StoredChange>();
        var tail = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
                tailed.AddRange(await RetryAsync(async () => await other.ReadChangesAsync("pods", tailed.Count, 100, TimeSpan.FromSeconds(1), Token)));
        }, Token);
        for (var kill = 0; kill < kills; kill++)
        {
            var before = acknowledged.Count;
            while (acknowledged.Count < before + 150)
                await Task.Delay(5, Token);
            await _redis.KillAsync();
            await _redis.StartAsync(Token);
        }
        var after = acknowledged.Count;
        while (acknowledged.Count < after + 150)
            await Task.Delay(5, Token);
        await stop.CancelAsync();
        await Task.WhenAll(writing);
        await tail;

        var revision = await store.GetRevisionAsync("pods", Token);
        Assert.True(revision < 1L << 40, "A restart of a durable Redis must not begin a new epoch.");
        while (tailed.Count < revision)
            tailed.AddRange(await other.ReadChangesAsync("pods", tailed.Count, 1000, TimeSpan.Zero, Token));
        Assert.Equal(Enumerable.Range(1, (int)revision).Select(i => (long)i), tailed.Select(c => c.Revision));
        foreach (var (at, (key, value)) in acknowledged)
            Assert.Equal((key, value), (tailed[(int)at - 1].Key, Encoding.ASCII.GetString(tailed[(int)at - 1].Value)));
    }

    [Theory]
    [InlineData(0)] // The process that knows better is the first to look.
    [InlineData(10)] // Another writes first, and is still below what has been seen.
    [InlineData(80)] // Another writes first, past what has been seen.
    public async Task An_older_file_under_running_stores_begins_an_epoch_and_repeats_no_revision(int writtenBefore)
    {
        await using var store = Open();
        var fence = await store.AdvanceFenceAsync("pods", "node/n", Token);
        for (var i = 0; i < 50; i++)
            await CommittedAsync(store, Put($"a/{i}", 0));
        var copy = CopyData();
        for (var i = 0; i < 50; i++)
            await CommittedAsync(store, Put($"b/{i}", 0));
        Assert.True(await store.AdvanceFenceAsync("pods", "node/n", Token) > fence);
        var lostFence = await store.AdvanceFenceAsync("pods", "node/new", Token);
        var reading = Task.Run(async () => await RetryAsync(async () => await store.ReadChangesAsync("pods", 100, 10, TimeSpan.FromMinutes(1), Token)));

        await _redis.KillAsync();
        await RestoreAsync(copy);
        if (writtenBefore > 0)
        {
            // It has seen nothing of the lost writes, so it cannot know; the next who does ends this.
            await using var ignorant = Open();
            for (var i = 0; i < writtenBefore; i++)
            {
                await RetryAsync(async () => await ((IObjectStore)ignorant).CommitAsync(Put($"c/{i}", 0), Token));
            }
        }

        await Assert.ThrowsAsync<CompactedException>(() => reading);
        var revision = await RetryAsync(async () => await store.GetRevisionAsync("pods", Token));
        Assert.True(revision > 1L << 40, $"A new epoch begins far above, not at {revision}.");
        Assert.True(await store.GetCompactedRevisionAsync("pods", Token) > 180);
        for (var after = 0; after <= 180; after += 20)
            await Assert.ThrowsAsync<CompactedException>(async () => await store.ReadChangesAsync("pods", after, 10, TimeSpan.Zero, Token));
        var snapshot = await store.GetSnapshotAsync("pods", Token);
        Assert.Equal(50, snapshot.Objects.Count(o => o.Key.StartsWith("a/", StringComparison.Ordinal)));
        Assert.DoesNotContain(snapshot.Objects, o => o.Key.StartsWith("b/", StringComparison.Ordinal));

        // Connections heal one by one; from here on all must work.
        await RetryAsync(async () => await Task.WhenAll(Enumerable.Range(0, 16).Select(i => ((IObjectStore)store).CommitAsync(Put($"h/{i}", 999), Token).AsTask())));

        // Fences that were given out do not hold again, those the file never knew included.
        foreach (var (name, value) in new[] { ("node/n", fence), ("node/n", fence + 1), ("node/new", lostFence) })
            Assert.Equal(CommitOutcome.FenceConflict, (await ((IObjectStore)store).CommitAsync(Put("f", 0) with { Fence = new Fence(name, value) }, Token)).Outcome);
        Assert.True(await store.AdvanceFenceAsync("pods", "node/new", Token) > lostFence + 1);
        Assert.True(await CommittedAsync(store, Put("a/0", 1)) > revision);
        await store.CompactAsync("pods", long.MaxValue, Token);
        Assert.Equal(snapshot.Objects.Count, (await store.GetSnapshotAsync("pods", Token)).Objects.Count);
    }

    [Fact]
    public async Task A_file_put_in_place_while_nothing_runs_needs_an_epoch_that_is_begun_by_hand()
    {
        await using (var store = Open())
        {
            for (var i = 0; i < 10; i++)
                await CommittedAsync(store, Put($"a/{i}", 0));
        }
        var copy = CopyData();
        await using (var store = Open())
        {
            for (var i = 10; i < 20; i++)
                await CommittedAsync(store, Put($"a/{i}", 0));
        }
        await _redis.KillAsync();
        await RestoreAsync(copy);
        await using var restored = Open();
        var first = await restored.BeginEpochAsync("pods", Token);
        Assert.True(first > 1L << 40);
        Assert.Equal(first, await restored.GetRevisionAsync("pods", Token));
        await Assert.ThrowsAsync<CompactedException>(async () => await restored.ReadChangesAsync("pods", 15, 10, TimeSpan.Zero, Token));
        Assert.Equal(first + 1, await CommittedAsync(restored, Put("a/15", 0)));
        Assert.Equal(first + 1, (await restored.ReadChangesAsync("pods", first, 10, TimeSpan.Zero, Token)).Single().Revision);
        Assert.Equal(11, (await restored.GetSnapshotAsync("pods", Token)).Objects.Count);
        Assert.True(await restored.BeginEpochAsync("pods", Token) > first + 1, "Another epoch is above the first.");
    }

    [Fact]
    public async Task Data_wiped_under_running_stores_begins_an_epoch()
    {
        await using var store = Open();
        await using var other = Open();
        var revision = await CommittedAsync(store, Put("a/x", 0));
        Assert.Equal(revision, await other.GetRevisionAsync("pods", Token));
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_redis.Port, "FLUSHALL", Token), StringComparison.Ordinal);
        var fresh = await CommittedAsync(store, Put("a/x", 0));
        Assert.True(fresh > 1L << 40);
        Assert.Equal(fresh, await other.GetRevisionAsync("pods", Token));
        await Assert.ThrowsAsync<CompactedException>(async () => await other.ReadChangesAsync("pods", revision, 10, TimeSpan.Zero, Token));
    }

    [Fact]
    public async Task A_master_that_was_demoted_and_promoted_again_has_the_same_process_and_another_history()
    {
        await using var replica = await RedisServer.StartAsync(Token, "--repl-diskless-sync-delay", "0");
        await ReplicateAsync(replica, _redis);
        await using var store = Open();
        await using var other = Open();
        for (var i = 0; i < 20; i++)
            await CommittedAsync(store, Put($"a/{i}", 0));
        Assert.Equal(20, await other.GetRevisionAsync("pods", Token));
        while (!(await RedisServer.CommandAsync(replica.Port, "HGET {oc:pods}:m rev", Token)).Contains("20", StringComparison.Ordinal))
            await Task.Delay(10, Token);
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(replica.Port, "REPLICAOF NO ONE", Token), StringComparison.Ordinal);
        for (var i = 20; i < 40; i++)
            await CommittedAsync(store, Put($"a/{i}", 0));

        await ReplicateAsync(_redis, replica);
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_redis.Port, "REPLICAOF NO ONE", Token), StringComparison.Ordinal);
        Assert.StartsWith(":", await RedisServer.CommandAsync(_redis.Port, "CLIENT KILL TYPE normal SKIPME yes", Token), StringComparison.Ordinal);

        // It has not seen the lost writes, and the server still knows its scripts.
        var written = await RetryAsync(async () => await ((IObjectStore)other).CommitAsync(Put("b/x", 0), Token));
        Assert.True(written.Revision > 1L << 40, $"Revision {written.Revision} was given out before.");
        Assert.True(await RetryAsync(async () => await store.GetRevisionAsync("pods", Token)) >= written.Revision);
        Assert.Null(await RetryAsync(async () => await store.GetAsync("pods", "a/30", Token)));
    }

    private static async Task ReplicateAsync(RedisServer replica, RedisServer master)
    {
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(master.Port, "CONFIG SET repl-diskless-sync-delay 0", Token), StringComparison.Ordinal);
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(replica.Port, $"REPLICAOF 127.0.0.1 {master.Port}", Token), StringComparison.Ordinal);
        while (!(await RedisServer.CommandAsync(replica.Port, "INFO replication", Token)).Contains("master_link_status:up", StringComparison.Ordinal))
            await Task.Delay(10, Token);
    }

    [Fact]
    public async Task A_restart_without_a_durable_log_begins_an_epoch()
    {
        await using var store = Open();
        var revision = await CommittedAsync(store, Put("a/x", 0));
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_redis.Port, "CONFIG SET appendfsync everysec", Token), StringComparison.Ordinal);
        await _redis.DisposeAsync();
        _redis = await RedisServer.StartAsync(Token, "--appendfsync", "everysec");
        await using var other = Open();
        revision = await CommittedAsync(other, Put("a/x", 0));
        await _redis.KillAsync();
        await _redis.StartAsync(Token);
        Assert.True(await RetryAsync(async () => await other.GetRevisionAsync("pods", Token)) > revision + 1000);
    }

    [Fact]
    public async Task An_outage_fails_calls_in_time_and_heals_by_itself()
    {
        await using var store = Open();
        var revision = await CommittedAsync(store, Put("a/x", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue) });
        var item = (await store.LeaseAsync("pods", "q", 1, TimeSpan.FromHours(1), TimeSpan.Zero, Token)).Single();
        await _redis.KillAsync();
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.GetRevisionAsync("pods", Token));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await CommittedAsync(store, Put("a/x", revision)));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.ReadChangesAsync("pods", revision, 1, TimeSpan.FromMinutes(1), Token));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.LeaseAsync("pods", "q", 1, TimeSpan.FromHours(1), TimeSpan.FromMinutes(1), Token));
        await _redis.StartAsync(Token);
        Assert.Equal(revision, await RetryAsync(async () => await store.GetRevisionAsync("pods", Token)));
        // The lease is durable, too.
        Assert.Empty(await store.LeaseAsync("pods", "q", 1, TimeSpan.FromHours(1), TimeSpan.Zero, Token));
        await store.CompleteAsync("pods", "q", item, Token);
        Assert.Equal(new QueueStatistics(0, 0, 0, TimeSpan.Zero), await store.GetQueueStatisticsAsync("pods", "q", Token));
    }

    [Fact]
    public async Task Two_stores_lose_no_update_to_each_other()
    {
        const int writers = 8, each = 25;
        await using var first = Open();
        await using var second = Open();
        await CommittedAsync(first, Put("a/counter", 0, "0"u8.ToArray()));
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var store = (IObjectStore)(writer % 2 == 0 ? first : second);
            for (var done = 0; done < each;)
            {
                var current = (await store.GetAsync("pods", "a/counter", Token))!;
                var next = Encoding.ASCII.GetBytes((int.Parse(Encoding.ASCII.GetString(current.Value)) + 1).ToString());
                if ((await store.CommitAsync(Put("a/counter", current.Revision, next), Token)).Outcome == CommitOutcome.Committed)
                    done++;
            }
        })));
        Assert.Equal($"{writers * each}", Encoding.ASCII.GetString((await second.GetAsync("pods", "a/counter", Token))!.Value));
    }

    [Fact]
    public async Task Stores_wake_each_other_and_a_lease_of_the_dead_runs_out()
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        await using var survivor = Open(time);
        var dying = Open(time);
        var reading = survivor.ReadChangesAsync("pods", 0, 10, TimeSpan.FromHours(1), Token).AsTask();
        var leasing = survivor.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.FromHours(1), Token).AsTask();
        var revision = await CommittedAsync(dying, Put("a/x", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue) });
        Assert.Equal(revision, (await reading.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single().Revision);
        var item = (await leasing.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single();
        await survivor.ReleaseAsync("pods", "q", item, TimeSpan.Zero, Token);

        var lost = (await dying.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token)).Single();
        await dying.DisposeAsync();
        Assert.Empty(await survivor.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token));
        time.Advance(TimeSpan.FromSeconds(61));
        var taken = (await survivor.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token)).Single();
        Assert.Equal((lost.Key, lost.Attempt + 1, lost.EnqueuedAt), (taken.Key, taken.Attempt, taken.EnqueuedAt));
        Assert.Empty(await survivor.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token));
    }

    [Fact]
    public async Task Start_TellsWhatIsWrong()
    {
        await using (var store = Open())
            await store.StartAsync(Token);
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_redis.Port, "CONFIG SET maxmemory 1gb", Token), StringComparison.Ordinal);
        Assert.StartsWith("+OK", await RedisServer.CommandAsync(_redis.Port, "CONFIG SET maxmemory-policy allkeys-lru", Token), StringComparison.Ordinal);
        await using (var store = Open())
            Assert.Contains("noeviction", (await Assert.ThrowsAsync<StoreUnavailableException>(() => store.StartAsync(Token))).Message, StringComparison.Ordinal);
        await _redis.KillAsync();
        await using (var store = Open())
            Assert.Contains("does not answer", (await Assert.ThrowsAsync<StoreUnavailableException>(() => store.StartAsync(Token))).Message, StringComparison.Ordinal);
    }

    private string CopyData()
    {
        var copy = Directory.CreateDirectory(_redis.Folder + "-copy").FullName;
        foreach (var file in Directory.GetFiles(Path.Combine(_redis.Folder, "appendonlydir")))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)), overwrite: true);
        return copy;
    }

    private async Task RestoreAsync(string copy)
    {
        var target = Path.Combine(_redis.Folder, "appendonlydir");
        Directory.Delete(target, recursive: true);
        Directory.Move(copy, target);
        await _redis.StartAsync(Token);
    }
}
