using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Sqlite;

/// <summary>The battery on a store with a private file, and the helpers of the variants below.</summary>
public class SqlitePrivateFileTests : ObjectStoreBattery
{
    protected FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    protected virtual SqliteStoreOptions Options { get; } = new();

    protected override Task<IObjectStore> OpenAsync() =>
        Task.FromResult<IObjectStore>(SqliteObjectStore.Open(Options, Time, NullLogger<SqliteObjectStore>.Instance));

    protected override async Task PassAsync(TimeSpan time)
    {
        Time.Advance(time);
        // What the clock woke runs on the pool; it is given a chance before the next step.
        await Task.Yield();
    }
}

/// <summary>The battery on a file, and what must survive closing it.</summary>
public class SqliteFileTests : SqlitePrivateFileTests
{
    private readonly string _directory = Directory.CreateTempSubdirectory("store-tests-").FullName;

    protected override SqliteStoreOptions Options => new() { Path = Path.Combine(_directory, "sub", "store.db"), Durability = StoreDurability.ProcessLoss };

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    private async Task RestartAsync()
    {
        await Store.DisposeAsync();
        Replace(await OpenAsync());
    }

    [Fact]
    public async Task Everything_committed_survives_a_restart()
    {
        await Store.CommitAsync(
            [
                Put("a/x", 0) with { Claims = ["ip/1", "ip/2"], Queue = new QueueChange("q", QueueAction.Enqueue, 7) },
                Put("a/y", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue, 9) },
                Put("a/z", 0, resource: "nodes"),
                Delete("a/y", 2),
            ],
            Token);
        await Store.AdvanceFenceAsync("pods", "f", Token);
        await Store.AdvanceFenceAsync("pods", "f", Token);
        await Store.AcknowledgeAsync("pods", "g", 1, Token);
        await Store.AcknowledgeAsync("pods", "g", 3, Token);
        var lease = (await Store.LeaseAsync("pods", "q", 1, TimeSpan.FromDays(1), TimeSpan.Zero, Token)).Single();
        await RestartAsync();

        Assert.Equal(3, await Store.GetRevisionAsync("pods", Token));
        Assert.Equal(1, await Store.GetRevisionAsync("nodes", Token));
        Assert.Equal(Json("a/x"), (await Store.GetSnapshotAsync("pods", Token)).Objects.Single().Value);
        Assert.Equal([1, 2, 3], (await Store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token)).Select(c => c.Revision));
        Assert.Equal("ip/2", (await Store.CommitAsync(Put("a/w", 0) with { Claims = ["ip/2"] }, Token)).Detail);
        Assert.Equal(CommitOutcome.FenceConflict, (await Store.CommitAsync(Put("a/w", 0) with { Fence = new Fence("f", 1) }, Token)).Outcome);
        Assert.Equal(3, await Store.AdvanceFenceAsync("pods", "f", Token));
        Assert.Equal(3, await Store.GetAcknowledgedAsync("pods", "g", Token));

        // The process that held the lease is gone, and so is the lease.
        var items = await Store.LeaseAsync("pods", "q", 5, TimeSpan.FromDays(1), TimeSpan.Zero, Token);
        Assert.Equal([("a/y", 9L), ("a/x", 7L)], items.Select(i => (i.Key, i.Priority)));
        Assert.Equal(lease.EnqueuedAt, items[0].EnqueuedAt);
        await Store.CompleteAsync("pods", "q", lease, Token);
        Assert.Equal(2, (await Store.GetQueueStatisticsAsync("pods", "q", Token)).Leased);
        await Store.CompleteAsync("pods", "q", items[0], Token);
        await RestartAsync();
        Assert.Equal("a/x", (await Store.LeaseAsync("pods", "q", 5, Minute, TimeSpan.Zero, Token)).Single().Key);
    }

    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task Revisions_go_on_after_a_restart_even_if_the_log_is_empty()
    {
        await Store.CommitAsync([Put("a/x", 0), Delete("a/x", 1)], Token);
        await Store.CompactAsync("pods", 2, Token);
        await RestartAsync();
        Assert.Equal(2, await Store.GetRevisionAsync("pods", Token));
        Assert.Equal(2, await Store.GetCompactedRevisionAsync("pods", Token));
        await Assert.ThrowsAsync<CompactedException>(async () => await Store.ReadChangesAsync("pods", 1, 1, TimeSpan.Zero, Token));
        Assert.Equal(3, await CommittedAsync(Put("a/x", 0)));
    }

    [Fact]
    public async Task A_second_store_on_the_same_file_is_refused_and_says_why()
    {
        var exception = await Assert.ThrowsAsync<StoreUnavailableException>(OpenAsync);
        Assert.Contains("in use by another process", exception.Message, StringComparison.Ordinal);
        await CommittedAsync(Put("a/x", 0));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Only_the_owner_may_read_the_files(bool existedBefore)
    {
        if (OperatingSystem.IsWindows())
            return;
        var path = Path.Combine(_directory, "private.db");
        if (existedBefore)
            await File.WriteAllBytesAsync(path, [], Token);
        await using var store = SqliteObjectStore.Open(new SqliteStoreOptions { Path = path }, Time, NullLogger<SqliteObjectStore>.Instance);
        var files = Directory.GetFiles(_directory, "private.db*").Where(file => !file.EndsWith(".lock", StringComparison.Ordinal)).ToArray();
        Assert.Contains(path, files);
        foreach (var file in files)
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
    }

    [Fact]
    public async Task A_file_of_another_version_or_that_is_no_database_is_refused()
    {
        var path = Path.Combine(_directory, "not-a-database.db");
        await File.WriteAllTextAsync(path, new string('x', 10_000), Token);
        Assert.Throws<StoreUnavailableException>(() =>
            SqliteObjectStore.Open(new SqliteStoreOptions { Path = path }, Time, NullLogger<SqliteObjectStore>.Instance));

        // The refused start has let go of the file.
        File.Delete(path);
        await using var store = SqliteObjectStore.Open(new SqliteStoreOptions { Path = path }, Time, NullLogger<SqliteObjectStore>.Instance);
    }
}

/// <summary>The battery without the window in memory and with tiny groups: every tail reads the file, every long call is several transactions.</summary>
public sealed class SqliteWithoutWindowTests : SqliteFileTests
{
    protected override SqliteStoreOptions Options
    {
        get
        {
            var options = base.Options;
            options.WindowCount = 0;
            options.MaxGroup = 3;
            options.ReadConnections = 1;
            options.CheckpointPages = 100;
            return options;
        }
    }
}

/// <summary>The battery with a window that holds a few changes, so that reads cross its edge.</summary>
public sealed class SqliteSmallWindowTests : SqliteFileTests
{
    protected override SqliteStoreOptions Options
    {
        get
        {
            var options = base.Options;
            options.WindowCount = 5;
            return options;
        }
    }
}
