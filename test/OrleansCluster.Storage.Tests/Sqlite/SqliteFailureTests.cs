using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Sqlite;

/// <summary>Disks that fill up, writes that fail before or after the COMMIT, closing under load, compaction by rule.</summary>
public sealed class SqliteFailureTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("store-failure-").FullName;
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private SqliteObjectStore Open(Action<SqliteStoreOptions>? configure = null)
    {
        var options = new SqliteStoreOptions { Path = Path.Combine(_directory, "store.db"), Durability = StoreDurability.ProcessLoss };
        configure?.Invoke(options);
        return SqliteObjectStore.Open(options, _time, NullLogger<SqliteObjectStore>.Instance);
    }

    private static async Task<long> CommittedAsync(SqliteObjectStore store, Commit commit)
    {
        var result = await ((IObjectStore)store).CommitAsync(commit, Token);
        Assert.Equal(CommitOutcome.Committed, result.Outcome);
        return result.Revision;
    }

    private static async Task<IReadOnlyList<long>> LogAsync(SqliteObjectStore store, long after = 0) =>
        [.. (await store.ReadChangesAsync("pods", after, 100_000, TimeSpan.Zero, Token)).Select(c => c.Revision)];

    [Fact]
    public async Task Failure_before_the_COMMIT_leaves_nothing_behind()
    {
        await using var store = Open();
        await CommittedAsync(store, Put("a/x", 0) with { Claims = ["ip/1"] });
        store.Writer.BeforeCommit = _ => throw new SqliteException("disk I/O error", 10, 778);
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.CommitAsync(
            [
                Put("a/x", 1) with { Claims = ["ip/2"], Queue = new QueueChange("q", QueueAction.Enqueue) },
                Put("b/first", 0, resource: "fresh"),
            ],
            Token));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.AdvanceFenceAsync("pods", "f", Token));
        store.Writer.BeforeCommit = null;

        Assert.Equal(1, await store.GetRevisionAsync("pods", Token));
        Assert.Equal(1, (await store.GetAsync("pods", "a/x", Token))!.Revision);
        Assert.Equal(0, await store.GetRevisionAsync("fresh", Token));
        Assert.Equal(0, (await store.GetQueueStatisticsAsync("pods", "q", Token)).Ready);

        // The store goes on where it was: the same revision is taken by the next commit, and ip/2 is free.
        Assert.Equal(2, await CommittedAsync(store, Put("a/y", 0) with { Claims = ["ip/2"] }));
        Assert.Equal(1, await CommittedAsync(store, Put("b/first", 0, resource: "fresh")));
        Assert.Equal(1, await store.AdvanceFenceAsync("pods", "f", Token));
        Assert.Equal([1, 2], await LogAsync(store));
        Assert.Equal("ip/1", (await ((IObjectStore)store).CommitAsync(Put("a/z", 0) with { Claims = ["ip/1"] }, Token)).Detail);
    }

    [Fact]
    public async Task Failure_after_the_COMMIT_is_an_unknown_outcome_that_the_file_decides()
    {
        await using var store = Open();
        await CommittedAsync(store, Put("a/x", 0));
        var tail = store.ReadChangesAsync("pods", 1, 10, TimeSpan.FromHours(1), Token).AsTask();
        store.Writer.AfterCommit = () => throw new IOException("the answer was lost");
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await ((IObjectStore)store).CommitAsync(
            Put("a/x", 1) with { Claims = ["ip/1"], Queue = new QueueChange("q", QueueAction.Enqueue) }, Token));
        store.Writer.AfterCommit = null;

        // The caller asks again, as it must: the conflict tells that the first attempt was written.
        Assert.Equal(new CommitResult(CommitOutcome.RevisionConflict, 2), await ((IObjectStore)store).CommitAsync(Put("a/x", 1), Token));
        Assert.Equal(2, (await tail.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single().Revision);
        Assert.Equal(2, (await store.GetAsync("pods", "a/x", Token))!.Revision);
        Assert.Equal("ip/1", (await ((IObjectStore)store).CommitAsync(Put("a/z", 0) with { Claims = ["ip/1"] }, Token)).Detail);
        Assert.Equal("a/x", (await store.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token)).Single().Key);
        Assert.Equal([1, 2], await LogAsync(store));
    }

    [Fact]
    public async Task Leases_outlive_a_file_opened_anew()
    {
        await using var store = Open();
        await CommittedAsync(store, Put("a/x", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue) });
        await CommittedAsync(store, Put("a/y", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue) });
        var lease = (await store.LeaseAsync("pods", "q", 1, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token)).Single();
        store.Writer.AfterCommit = () => throw new IOException("the answer was lost");
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await ((IObjectStore)store).CommitAsync(
            Put("a/y", 2) with { Queue = new QueueChange("q", QueueAction.Remove) }, Token));
        store.Writer.AfterCommit = null;
        await CommittedAsync(store, Put("a/z", 0));
        var statistics = await store.GetQueueStatisticsAsync("pods", "q", Token);
        Assert.Equal((0, 1), (statistics.Ready, statistics.Leased));
        await store.CompleteAsync("pods", "q", lease, Token);
        Assert.Equal(0, (await store.GetQueueStatisticsAsync("pods", "q", Token)).Leased);
    }

    [Fact]
    public async Task A_full_disk_refuses_writes_serves_reads_and_recovers()
    {
        await using var store = Open();
        var big = new byte[100_000];
        await CommittedAsync(store, Put("a/x", 0, big));
        SqliteDatabase? database = null;
        store.Writer.BeforeCommit = d => database = d;
        await CommittedAsync(store, Put("a/y", 0));
        store.Writer.BeforeCommit = null;
        database!.SetMaxPages(60);

        long written = 2;
        StoreUnavailableException? full = null;
        for (var i = 0; i < 100 && full is null; i++)
        {
            try
            {
                written = await CommittedAsync(store, Put($"b/{i}", 0, big));
            }
            catch (StoreUnavailableException e)
            {
                full = e;
            }
        }
        Assert.Contains("disk is full", full!.Message, StringComparison.Ordinal);
        Assert.Equal(written, await store.GetRevisionAsync("pods", Token));
        Assert.Equal(big, (await store.GetAsync("pods", "a/x", Token))!.Value);
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await ((IObjectStore)store).CommitAsync(Put("c/x", 0, big), Token));

        database.SetMaxPages(1_000_000);
        Assert.Equal(written + 1, await CommittedAsync(store, Put("c/x", 0, big)));
        Assert.Equal(Enumerable.Range(1, (int)written + 1).Select(i => (long)i), await LogAsync(store));
    }

    [Fact]
    public async Task An_acknowledgement_whose_write_failed_is_written_with_the_next()
    {
        await using (var store = Open())
        {
            await store.AcknowledgeAsync("pods", "g", 1, Token);
            await store.AcknowledgeAsync("pods", "g", 5, Token);
            store.Writer.BeforeCommit = _ => throw new SqliteException("disk I/O error", 10, 778);
            await Assert.ThrowsAsync<StoreUnavailableException>(async () => await ((IObjectStore)store).CommitAsync(Put("a/x", 0), Token));
            store.Writer.BeforeCommit = null;
            await CommittedAsync(store, Put("a/x", 0));
            Assert.Equal(5, await store.GetAcknowledgedAsync("pods", "g", Token));
        }
        await using var again = Open();
        Assert.Equal(5, await again.GetAcknowledgedAsync("pods", "g", Token));
    }

    [Fact]
    public async Task Dispose_FinishesWhatWaits_EndsReaders_AndIsQuick()
    {
        var store = Open();
        var commits = Enumerable.Range(0, 3000).Select(i => ((IObjectStore)store).CommitAsync(Put($"a/{i}", 0), Token).AsTask()).ToArray();
        var tail = store.ReadChangesAsync("pods", 1_000_000, 1, TimeSpan.FromHours(1), Token).AsTask();
        var worker = store.LeaseAsync("pods", "q", 1, TimeSpan.FromHours(1), TimeSpan.FromHours(1), Token).AsTask();
        var start = TimeProvider.System.GetTimestamp();
        await store.DisposeAsync();
        Assert.True(TimeProvider.System.GetElapsedTime(start) < TimeSpan.FromSeconds(5), "Closing took too long.");
        await store.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => tail);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => worker);
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await store.GetRevisionAsync("pods", Token));
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await ((IObjectStore)store).CommitAsync(Put("a/late", 0), Token));
        Assert.All(await Task.WhenAll(commits), r => Assert.Equal(CommitOutcome.Committed, r.Outcome));
        Assert.False(File.Exists(Path.Combine(_directory, "store.db-wal")), "The write-ahead file must be gone after a clean end.");
        await using var again = Open();
        Assert.Equal(3000, await again.GetRevisionAsync("pods", Token));
    }

    [Fact]
    public async Task Commit_CancelledWhileItWaits_IsNotWritten()
    {
        await using var store = Open();
        using var writing = new SemaphoreSlim(0);
        using var go = new SemaphoreSlim(0);
        store.Writer.BeforeCommit = _ =>
        {
            writing.Release();
            go.Wait();
        };
        var first = ((IObjectStore)store).CommitAsync(Put("a/first", 0), Token).AsTask();
        await writing.WaitAsync(Token);
        using var source = new CancellationTokenSource();
        var waiting = ((IObjectStore)store).CommitAsync(Put("a/waiting", 0), source.Token).AsTask();
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        store.Writer.BeforeCommit = null;
        go.Release();
        Assert.Equal(CommitOutcome.Committed, (await first).Outcome);
        await CommittedAsync(store, Put("a/last", 0));
        Assert.Equal(["a/first", "a/last"], (await store.GetSnapshotAsync("pods", Token)).Objects.Select(o => o.Key).Order());
    }

    [Fact]
    public async Task Commits_that_wait_share_a_transaction_and_a_full_queue_holds_back_the_rest()
    {
        await using var store = Open(o =>
        {
            o.MaxWaitingWrites = 10;
            o.MaxGroup = 4;
        });
        var tasks = Enumerable.Range(0, 200).Select(i => ((IObjectStore)store).CommitAsync(Put($"a/{i}", 0), Token).AsTask());
        Assert.All(await Task.WhenAll(tasks), r => Assert.Equal(CommitOutcome.Committed, r.Outcome));
        Assert.Equal(200, await store.GetRevisionAsync("pods", Token));
        Assert.True(store.Writer.Groups < 200, $"{store.Writer.Groups} groups for 200 commits.");
    }

    [Fact]
    public async Task Compaction_follows_age_and_counts()
    {
        await using var store = Open(o => o.Compaction = new CompactionOptions
        {
            Interval = TimeSpan.FromSeconds(10),
            KeepFor = TimeSpan.FromMinutes(1),
            KeepAtLeast = 10,
            KeepAtMost = 100,
        });
        await store.CommitAsync([.. Enumerable.Range(0, 50).Select(i => Put($"a/{i}", 0))], Token);
        await TickUntilAsync(async () => await store.GetCompactedRevisionAsync("pods", Token) == 40, atLeast: TimeSpan.FromSeconds(60));
        await store.CommitAsync([.. Enumerable.Range(50, 500).Select(i => Put($"a/{i}", 0))], Token);
        await TickUntilAsync(async () => await store.GetCompactedRevisionAsync("pods", Token) == 450, atLeast: TimeSpan.Zero);
        Assert.Equal(550, (await store.GetSnapshotAsync("pods", Token)).Objects.Count);

        async Task TickUntilAsync(Func<Task<bool>> condition, TimeSpan atLeast)
        {
            var passed = TimeSpan.Zero;
            for (var i = 0; i < 1000; i++)
            {
                if (await condition())
                {
                    Assert.True(passed >= atLeast, $"Compacted after {passed}.");
                    return;
                }
                _time.Advance(TimeSpan.FromSeconds(10));
                passed += TimeSpan.FromSeconds(10);
                await store.FlushAsync(Token); // A round trip through the writer lets the loop that the clock woke take its turn.
            }
            Assert.Fail($"Not compacted as expected, but through {await store.GetCompactedRevisionAsync("pods", Token)}.");
        }
    }

    [Fact]
    public async Task Compaction_frees_what_updates_leave_behind()
    {
        await using var store = Open();
        long revision = 0;
        for (var i = 0; i < 2000; i++)
            revision = await CommittedAsync(store, Put("a/x", revision));
        await CommittedAsync(store, Put("a/y", 0));
        await store.CompactAsync("pods", long.MaxValue, Token);
        await store.DisposeAsync();
        using var connection = new SqliteConnection($"Data Source={Path.Combine(_directory, "store.db")};Pooling=False");
        await connection.OpenAsync(Token);
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT count(*) FROM log";
        Assert.Equal(2L, await command.ExecuteScalarAsync(Token));
        command.CommandText = "PRAGMA integrity_check";
        Assert.Equal("ok", await command.ExecuteScalarAsync(Token));
    }

    [Fact]
    public void Options_out_of_range_are_all_reported_with_name_value_and_range()
    {
        var options = new SqliteStoreOptions { MaxGroup = 0, ReadConnections = 1000, Compaction = new() { KeepAtLeast = 5, KeepAtMost = 2 } };
        var exception = Assert.Throws<OptionsValidationException>(() => SqliteObjectStore.Open(options, _time, NullLogger<SqliteObjectStore>.Instance));
        Assert.Equal(3, exception.Failures.Count());
        Assert.Contains(exception.Failures, f => f.Contains("SqliteStore:MaxGroup is 0; it must lie between 1 and 4096", StringComparison.Ordinal));
    }
}
