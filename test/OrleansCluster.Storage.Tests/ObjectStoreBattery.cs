using System.Text;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests;

/// <summary>
/// What every <see cref="IObjectStore"/> promises. A store's tests derive from this class (and its queue half) and say how to open one and how to let
/// time pass. A difference between stores is a bug in one of them.
/// </summary>
public abstract partial class ObjectStoreBattery : IAsyncLifetime
{
    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    protected IObjectStore Store { get; private set; } = null!;

    /// <summary>Opens an empty store.</summary>
    protected abstract Task<IObjectStore> OpenAsync();

    /// <summary>Lets time pass for the store.</summary>
    protected abstract Task PassAsync(TimeSpan time);

    public async ValueTask InitializeAsync() => Store = await OpenAsync();

    public virtual async ValueTask DisposeAsync()
    {
        await Store.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    protected void Replace(IObjectStore store) => Store = store;

    protected async Task<long> CommittedAsync(Commit commit)
    {
        var result = await Store.CommitAsync(commit, Token);
        Assert.Equal(CommitOutcome.Committed, result.Outcome);
        return result.Revision;
    }

    /// <summary>Lets time pass in steps until a task is done.</summary>
    protected async Task<T> PassUntilAsync<T>(Task<T> task, TimeSpan atMost)
    {
        for (var passed = TimeSpan.Zero; !task.IsCompleted && passed < atMost; passed += TimeSpan.FromSeconds(1))
            await PassAsync(TimeSpan.FromSeconds(1));
        return await task.WaitAsync(TimeSpan.FromSeconds(30), Token);
    }

    [Fact]
    public async Task An_empty_resource_has_revision_0_and_nothing_in_it()
    {
        Assert.Equal(0, await Store.GetRevisionAsync("pods", Token));
        Assert.Equal(0, await Store.GetCompactedRevisionAsync("pods", Token));
        Assert.Null(await Store.GetAsync("pods", "a/x", Token));
        var snapshot = await Store.GetSnapshotAsync("pods", Token);
        Assert.Equal(0, snapshot.Revision);
        Assert.Empty(snapshot.Objects);
        Assert.Empty(await Store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token));
    }

    [Fact]
    public async Task Commit_NewObject_TakesTheFirstRevisionAndCanBeRead()
    {
        var value = Json("a/x");
        Assert.Equal(1, await CommittedAsync(Put("a/x", 0, value)));

        Assert.Equal(1, await Store.GetRevisionAsync("pods", Token));
        var stored = await Store.GetAsync("pods", "a/x", Token);
        Assert.Equal("a/x", stored!.Key);
        Assert.Equal(1, stored.Revision);
        Assert.Equal(value, stored.Value);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    public async Task Commit_AbsentObjectWithExpectedRevision_ConflictsWith0(long expected)
    {
        var result = await Store.CommitAsync(Put("a/x", expected), Token);
        Assert.Equal(new CommitResult(CommitOutcome.RevisionConflict, 0), result);
        Assert.Equal(0, await Store.GetRevisionAsync("pods", Token));
    }

    [Fact]
    public async Task Commit_ExistingObjectWithoutExpectedRevision_ConflictsWithThePresentOne()
    {
        await CommittedAsync(Put("a/other", 0));
        await CommittedAsync(Put("a/x", 0));
        Assert.Equal(new CommitResult(CommitOutcome.RevisionConflict, 2), await Store.CommitAsync(Put("a/x", 0), Token));
    }

    [Fact]
    public async Task Commit_StaleRevision_ConflictsAndChangesNothing()
    {
        var first = await CommittedAsync(Put("a/x", 0));
        var second = await CommittedAsync(Put("a/x", first, "two"u8.ToArray()));
        Assert.Equal(new CommitResult(CommitOutcome.RevisionConflict, second), await Store.CommitAsync(Put("a/x", first, "three"u8.ToArray()), Token));
        Assert.Equal(new CommitResult(CommitOutcome.RevisionConflict, second), await Store.CommitAsync(Delete("a/x", first), Token));
        Assert.Equal("two"u8.ToArray(), (await Store.GetAsync("pods", "a/x", Token))!.Value);
        Assert.Equal(second, await Store.GetRevisionAsync("pods", Token));
    }

    [Fact]
    public async Task Commit_Removal_TakesARevisionAndTheLogKeepsTheLastState()
    {
        var first = await CommittedAsync(Put("a/x", 0, "one"u8.ToArray()));
        var removed = await CommittedAsync(Delete("a/x", first, "last"u8.ToArray()));
        Assert.Equal(first + 1, removed);
        Assert.Null(await Store.GetAsync("pods", "a/x", Token));
        Assert.Empty((await Store.GetSnapshotAsync("pods", Token)).Objects);
        var change = (await Store.ReadChangesAsync("pods", first, 10, TimeSpan.Zero, Token)).Single();
        Assert.Equal((removed, "a/x", CommitKind.Delete), (change.Revision, change.Key, change.Kind));
        Assert.Equal("last"u8.ToArray(), change.Value);

        // The key is free again, and only for a creation.
        Assert.Equal(new CommitResult(CommitOutcome.RevisionConflict, 0), await Store.CommitAsync(Put("a/x", removed), Token));
        Assert.Equal(removed + 1, await CommittedAsync(Put("a/x", 0)));
    }

    [Fact]
    public async Task Commit_ManyInOneCall_AreIndependentAndLaterSeeEarlier()
    {
        var results = await Store.CommitAsync(
            [
                Put("a/x", 0),
                Put("a/x", 0), // Conflicts with the first.
                Put("a/x", 1), // Updates it.
                Put("a/y", 5), // Conflicts.
                Put("a/y", 0),
                Delete("a/x", 2),
                Put("a/x", 0), // Creates it again.
            ],
            Token);
        Assert.Equal(
            [
                new CommitResult(CommitOutcome.Committed, 1),
                new CommitResult(CommitOutcome.RevisionConflict, 1),
                new CommitResult(CommitOutcome.Committed, 2),
                new CommitResult(CommitOutcome.RevisionConflict, 0),
                new CommitResult(CommitOutcome.Committed, 3),
                new CommitResult(CommitOutcome.Committed, 4),
                new CommitResult(CommitOutcome.Committed, 5),
            ],
            results);
        Assert.Equal([1, 2, 3, 4, 5], (await Store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token)).Select(c => c.Revision));
    }

    [Fact]
    public async Task Commit_NoCommits_GivesNoResults() => Assert.Empty(await Store.CommitAsync([], Token));

    [Fact]
    public async Task Commit_MoreThanAGroup_KeepsOrder()
    {
        var results = await Store.CommitAsync([.. Enumerable.Range(0, 1500).Select(i => Put($"a/p{i}", 0))], Token);
        Assert.Equal(Enumerable.Range(1, 1500).Select(i => (long)i), results.Select(r => r.Revision));
        Assert.All(results, r => Assert.Equal(CommitOutcome.Committed, r.Outcome));
    }

    [Fact]
    public async Task Resources_count_revisions_apart_and_do_not_see_each_other()
    {
        var results = await Store.CommitAsync([Put("x", 0), Put("x", 0, resource: "nodes"), Put("x", 1), Put("y", 0, resource: "nodes")], Token);
        Assert.Equal([1, 1, 2, 2], results.Select(r => r.Revision));
        Assert.Null(await Store.GetAsync("pods", "y", Token));
        Assert.Equal(["x", "y"], (await Store.GetSnapshotAsync("nodes", Token)).Objects.Select(o => o.Key).Order());
        Assert.Equal(["x", "x"], (await Store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token)).Select(c => c.Key));
    }

    [Fact]
    public async Task Values_of_any_size_and_content_come_back_unchanged()
    {
        var random = new Random(11);
        byte[][] values = [[], [0], new byte[1], new byte[5000], new byte[1_000_000]];
        foreach (var value in values.Skip(2))
            random.NextBytes(value);
        for (var i = 0; i < values.Length; i++)
            await CommittedAsync(Put($"ä/{i}", 0, values[i]));
        for (var i = 0; i < values.Length; i++)
            Assert.Equal(values[i], (await Store.GetAsync("pods", $"ä/{i}", Token))!.Value);
        Assert.Equal(values, (await Store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token)).Select(c => c.Value));
        Assert.Equal(values, (await Store.GetSnapshotAsync("pods", Token)).Objects.OrderBy(o => o.Revision).Select(o => o.Value));
    }

    [Fact]
    public async Task Commit_BadArguments_AreRefused()
    {
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.CommitAsync(Put("", 0), Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.CommitAsync(Put("a", -1), Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.CommitAsync(Delete("a", 0), Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.CommitAsync(Put("a", 0) with { Resource = "" }, Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.CommitAsync(Put("a", 0) with { Claims = ["x\ny"] }, Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.ReadChangesAsync("pods", 0, 0, TimeSpan.Zero, Token));
        Assert.Equal(0, await Store.GetRevisionAsync("pods", Token));
    }

    [Fact]
    public async Task Commit_CancelledBefore_DoesNothing()
    {
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Store.CommitAsync(Put("a/x", 0), cancelled.Token));
        Assert.Equal(0, await Store.GetRevisionAsync("pods", Token));
    }

    [Fact]
    public async Task Concurrent_compare_and_set_loses_no_update()
    {
        const int writers = 16;
        const int each = 25;
        await CommittedAsync(Put("a/counter", 0, "0"u8.ToArray()));
        await Task.WhenAll(Enumerable.Range(0, writers).Select(_ => Task.Run(async () =>
        {
            for (var done = 0; done < each;)
            {
                var current = (await Store.GetAsync("pods", "a/counter", Token))!;
                var next = Encoding.ASCII.GetBytes((int.Parse(Encoding.ASCII.GetString(current.Value)) + 1).ToString());
                var result = await Store.CommitAsync(Put("a/counter", current.Revision, next), Token);
                if (result.Outcome == CommitOutcome.Committed)
                    done++;
                else
                    Assert.True(result.Revision > current.Revision, "A conflict must tell of a newer revision.");
            }
        })));
        var final = (await Store.GetAsync("pods", "a/counter", Token))!;
        Assert.Equal((writers * each).ToString(), Encoding.ASCII.GetString(final.Value));
        Assert.Equal((writers * each) + 1, final.Revision);
    }

    [Fact]
    public async Task A_caller_reads_its_own_acknowledged_commit()
    {
        await Task.WhenAll(Enumerable.Range(0, 16).Select(writer => Task.Run(async () =>
        {
            long revision = 0;
            for (var i = 0; i < 20; i++)
            {
                revision = await CommittedAsync(Put($"a/{writer}", revision));
                Assert.Equal(revision, (await Store.GetAsync("pods", $"a/{writer}", Token))!.Revision);
                Assert.True(await Store.GetRevisionAsync("pods", Token) >= revision);
                Assert.Contains(
                    await Store.ReadChangesAsync("pods", revision - 1, 1, TimeSpan.Zero, Token), c => c.Revision == revision && c.Key == $"a/{writer}");
            }
        })));
    }

    // Claims.

    [Fact]
    public async Task Claim_HeldByAnother_ConflictsAndNamesTheClaim()
    {
        await CommittedAsync(Put("a/x", 0) with { Claims = ["ip/1", "port/80"] });
        Assert.Equal(
            new CommitResult(CommitOutcome.ClaimConflict, 0, "port/80"),
            await Store.CommitAsync(Put("a/y", 0) with { Claims = ["ip/2", "port/80"] }, Token));
        // Nothing of the refused commit stays: ip/2 is free.
        await CommittedAsync(Put("a/z", 0) with { Claims = ["ip/2"] });
        Assert.Null(await Store.GetAsync("pods", "a/y", Token));
    }

    [Fact]
    public async Task Claims_are_replaced_kept_and_freed()
    {
        var revision = await CommittedAsync(Put("a/x", 0) with { Claims = ["ip/1", "ip/2", "ip/2"] });
        revision = await CommittedAsync(Put("a/x", revision)); // Null keeps them.
        Assert.Equal(CommitOutcome.ClaimConflict, (await Store.CommitAsync(Put("a/y", 0) with { Claims = ["ip/1"] }, Token)).Outcome);
        revision = await CommittedAsync(Put("a/x", revision) with { Claims = ["ip/2", "ip/3"] }); // Its own is no conflict; ip/1 is freed.
        var other = await CommittedAsync(Put("a/y", 0) with { Claims = ["ip/1"] });
        Assert.Equal("ip/3", (await Store.CommitAsync(Put("a/y", other) with { Claims = ["ip/3"] }, Token)).Detail);
        revision = await CommittedAsync(Put("a/x", revision) with { Claims = [] }); // An empty list frees all.
        other = await CommittedAsync(Put("a/y", other) with { Claims = ["ip/1", "ip/2", "ip/3"] });
        await CommittedAsync(Delete("a/y", other)); // So does a removal.
        await CommittedAsync(Put("a/x", revision) with { Claims = ["ip/1", "ip/2", "ip/3"] });
    }

    [Fact]
    public async Task Claims_move_within_one_call_and_are_per_resource()
    {
        var revision = await CommittedAsync(Put("a/x", 0) with { Claims = ["ip/1"] });
        var results = await Store.CommitAsync(
            [
                Put("a/y", 0) with { Claims = ["ip/1"] },
                Delete("a/x", revision),
                Put("a/y", 0) with { Claims = ["ip/1"] },
                Put("a/x", 0) with { Claims = ["ip/1"] },
                Put("a/x", 0, resource: "nodes") with { Claims = ["ip/1"] },
            ],
            Token);
        Assert.Equal(
            [CommitOutcome.ClaimConflict, CommitOutcome.Committed, CommitOutcome.Committed, CommitOutcome.ClaimConflict, CommitOutcome.Committed],
            results.Select(r => r.Outcome));
    }

    [Fact]
    public async Task Concurrent_claims_of_one_name_have_one_winner()
    {
        var results = await Task.WhenAll(Enumerable.Range(0, 32).Select(i =>
            Task.Run(async () => await Store.CommitAsync(Put($"a/{i}", 0) with { Claims = ["ip/1"] }, Token))));
        Assert.Single(results, r => r.Outcome == CommitOutcome.Committed);
        Assert.Equal(31, results.Count(r => r.Outcome == CommitOutcome.ClaimConflict));
    }

    // Fences.

    [Fact]
    public async Task Fence_ThatMovedOn_RefusesItsPredecessor()
    {
        Assert.Equal(1, await Store.AdvanceFenceAsync("pods", "node/n1", Token));
        var revision = await CommittedAsync(Put("a/x", 0) with { Fence = new Fence("node/n1", 1) });
        Assert.Equal(2, await Store.AdvanceFenceAsync("pods", "node/n1", Token));
        var refused = await Store.CommitAsync(Put("a/x", revision) with { Fence = new Fence("node/n1", 1) }, Token);
        Assert.Equal(CommitOutcome.FenceConflict, refused.Outcome);
        await CommittedAsync(Put("a/x", revision) with { Fence = new Fence("node/n1", 2) });
    }

    [Fact]
    public async Task Fences_are_apart_by_name_and_resource_and_start_at_0()
    {
        Assert.Equal(1, await Store.AdvanceFenceAsync("pods", "a", Token));
        Assert.Equal(1, await Store.AdvanceFenceAsync("pods", "b", Token));
        Assert.Equal(1, await Store.AdvanceFenceAsync("nodes", "a", Token));
        Assert.Equal(CommitOutcome.FenceConflict, (await Store.CommitAsync(Put("x", 0) with { Fence = new Fence("c", 1) }, Token)).Outcome);
        await CommittedAsync(Put("x", 0) with { Fence = new Fence("c", 0) });
        Assert.Equal(1, await Store.GetRevisionAsync("pods", Token)); // A fence takes no revision.
    }

    [Fact]
    public async Task Concurrent_advances_of_a_fence_give_each_value_once()
    {
        var values = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => Store.AdvanceFenceAsync("pods", "f", Token).AsTask()));
        Assert.Equal(Enumerable.Range(1, 50).Select(i => (long)i), values.Order());
    }

    // Change log.

    [Fact]
    public async Task ReadChanges_GivesEntriesAfterARevisionInOrderUpToACount()
    {
        for (var i = 0; i < 10; i++)
            await CommittedAsync(Put($"a/{i}", 0));
        Assert.Equal([4, 5, 6], (await Store.ReadChangesAsync("pods", 3, 3, TimeSpan.Zero, Token)).Select(c => c.Revision));
        Assert.Equal(10, (await Store.ReadChangesAsync("pods", 9, 100, TimeSpan.Zero, Token)).Single().Revision);
        Assert.Empty(await Store.ReadChangesAsync("pods", 10, 100, TimeSpan.Zero, Token));
    }

    [Fact]
    public async Task ReadChanges_Waiting_IsWokenByACommit()
    {
        var reading = Store.ReadChangesAsync("pods", 0, 10, TimeSpan.FromMinutes(10), Token).AsTask();
        await CommittedAsync(Put("x", 0, resource: "nodes"));
        Assert.False(reading.IsCompleted);
        await CommittedAsync(Put("a/x", 0));
        Assert.Equal(1, (await reading.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single().Revision);
    }

    [Fact]
    public async Task ReadChanges_WaitRunsOut_GivesAnEmptyList()
    {
        var reading = Store.ReadChangesAsync("pods", 0, 10, TimeSpan.FromSeconds(3), Token).AsTask();
        Assert.Empty(await PassUntilAsync(reading, TimeSpan.FromSeconds(10)));
    }

    [Fact]
    public async Task ReadChanges_RevisionFromTheFuture_WaitsForTheOneAfterIt()
    {
        var reading = Store.ReadChangesAsync("pods", 2, 10, TimeSpan.FromMinutes(10), Token).AsTask();
        await Store.CommitAsync([Put("a/1", 0), Put("a/2", 0)], Token);
        Assert.False(reading.IsCompleted);
        await CommittedAsync(Put("a/3", 0));
        Assert.Equal(3, (await reading.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single().Revision);
    }

    [Fact]
    public async Task ReadChanges_Cancelled_Throws()
    {
        using var source = new CancellationTokenSource();
        var reading = Store.ReadChangesAsync("pods", 0, 10, TimeSpan.FromMinutes(10), source.Token).AsTask();
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
    }

    [Fact]
    public async Task Compact_DropsTheLogAndKeepsTheObjects()
    {
        await Store.CommitAsync([Put("a/1", 0), Put("a/2", 0), Put("a/1", 1), Delete("a/2", 2), Put("a/3", 0), Put("a/3", 5)], Token);
        await Store.CompactAsync("pods", 4, Token);

        Assert.Equal(4, await Store.GetCompactedRevisionAsync("pods", Token));
        Assert.Equal(6, await Store.GetRevisionAsync("pods", Token));
        for (var after = 0; after < 4; after++)
        {
            var exception = await Assert.ThrowsAsync<CompactedException>(async () => await Store.ReadChangesAsync("pods", after, 10, TimeSpan.Zero, Token));
            Assert.Equal(4, exception.CompactedRevision);
        }
        Assert.Equal([5, 6], (await Store.ReadChangesAsync("pods", 4, 10, TimeSpan.Zero, Token)).Select(c => c.Revision));
        Assert.Equal([("a/1", 3L), ("a/3", 6L)], (await Store.GetSnapshotAsync("pods", Token)).Objects.Select(o => (o.Key, o.Revision)).Order());
        Assert.Equal(3, (await Store.GetAsync("pods", "a/1", Token))!.Revision);

        // Objects older than the log can still be changed, compacted again and removed.
        await CommittedAsync(Put("a/1", 3));
        await Store.CompactAsync("pods", 7, Token);
        Assert.Equal([("a/1", 7L), ("a/3", 6L)], (await Store.GetSnapshotAsync("pods", Token)).Objects.Select(o => (o.Key, o.Revision)).Order());
        await CommittedAsync(Delete("a/1", 7));
        await Store.CompactAsync("pods", 8, Token);
        Assert.Equal("a/3", (await Store.GetSnapshotAsync("pods", Token)).Objects.Single().Key);
        Assert.Equal(9, await CommittedAsync(Put("a/1", 0)));
    }

    [Fact]
    public async Task Compact_NeverGoesBackNorAhead()
    {
        await Store.CommitAsync([Put("a/1", 0), Put("a/2", 0), Put("a/3", 0)], Token);
        await Store.CompactAsync("pods", 2, Token);
        await Store.CompactAsync("pods", 1, Token);
        Assert.Equal(2, await Store.GetCompactedRevisionAsync("pods", Token));
        await Store.CompactAsync("pods", 1000, Token);
        Assert.Equal(3, await Store.GetCompactedRevisionAsync("pods", Token));
        Assert.Equal(4, await CommittedAsync(Put("a/4", 0)));
        Assert.Equal(4, (await Store.ReadChangesAsync("pods", 3, 10, TimeSpan.Zero, Token)).Single().Revision);
        Assert.Equal(0, await Store.GetCompactedRevisionAsync("nodes", Token));
    }

    [Fact]
    public async Task Compact_Large_WhileWritersRun_LosesNothing()
    {
        long[] revisions = [.. (await Store.CommitAsync([.. Enumerable.Range(0, 500).Select(i => Put($"a/{i}", 0))], Token)).Select(r => r.Revision)];
        var writing = Task.Run(async () =>
        {
            for (var round = 0; round < 6; round++)
            {
                var results = await Store.CommitAsync([.. revisions.Select((r, i) => Put($"a/{i}", r))], Token);
                revisions = [.. results.Select(r => r.Revision)];
            }
        }, Token);
        while (!writing.IsCompleted)
            await Store.CompactAsync("pods", await Store.GetRevisionAsync("pods", Token), Token);
        await writing;
        await Store.CompactAsync("pods", long.MaxValue, Token);
        var snapshot = await Store.GetSnapshotAsync("pods", Token);
        Assert.Equal(revisions.Order(), snapshot.Objects.Select(o => o.Revision).Order());
        Assert.All(snapshot.Objects, o => Assert.Equal(Json(o.Key), o.Value));
    }

    [Fact]
    public async Task Snapshot_and_log_after_it_are_the_current_state_at_any_moment()
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var writers = Enumerable.Range(0, 6).Select(writer => Task.Run(async () =>
        {
            var random = new Random(writer);
            var revisions = new long[20];
            for (var i = 0; i < 150; i++)
            {
                var k = random.Next(revisions.Length);
                var commit = revisions[k] != 0 && random.Next(3) == 0
                    ? Delete($"w{writer}/{k}", revisions[k])
                    : Put($"w{writer}/{k}", revisions[k], Encoding.UTF8.GetBytes($"{writer}/{i}"));
                var revision = await CommittedAsync(commit);
                revisions[k] = commit.Kind == CommitKind.Put ? revision : 0;
            }
        })).ToArray();
        var readers = Enumerable.Range(0, 3).Select(_ => Task.Run(async () =>
        {
            do
            {
                var first = await Store.GetSnapshotAsync("pods", Token);
                var state = first.Objects.ToDictionary(o => o.Key, o => o.Revision);
                Assert.True(first.Objects.All(o => o.Revision <= first.Revision), "A snapshot holds nothing newer than itself.");
                var after = first.Revision;
                for (var reads = 0; reads < 3; reads++)
                {
                    foreach (var change in await Store.ReadChangesAsync("pods", after, 7, TimeSpan.Zero, Token))
                    {
                        Assert.Equal(after + 1, change.Revision);
                        after = change.Revision;
                        if (change.Kind == CommitKind.Put)
                            state[change.Key] = change.Revision;
                        else
                            Assert.True(state.Remove(change.Key), "A removal must find its object.");
                    }
                }
                // Replay the rest up to a second snapshot: both ways lead to the same state.
                var second = await Store.GetSnapshotAsync("pods", Token);
                foreach (var change in await Store.ReadChangesAsync("pods", after, 10_000, TimeSpan.Zero, Token))
                {
                    if (change.Revision > second.Revision)
                        break;
                    after = change.Revision;
                    if (change.Kind == CommitKind.Put)
                        state[change.Key] = change.Revision;
                    else
                        state.Remove(change.Key);
                }
                Assert.Equal(second.Revision, after);
                Assert.Equal(second.Objects.Select(o => (o.Key, o.Revision)).Order(), state.Select(s => (s.Key, s.Value)).Order());
            }
            while (!stop.IsCancellationRequested);
        })).ToArray();
        await Task.WhenAll(writers);
        await stop.CancelAsync();
        await Task.WhenAll(readers);
    }

    [Fact]
    public async Task A_tail_sees_every_change_once_and_in_order()
    {
        const int writers = 8;
        const int each = 50;
        var tail = Task.Run(async () =>
        {
            var seen = new List<StoredChange>();
            while (seen.Count < writers * each)
                seen.AddRange(await Store.ReadChangesAsync("pods", seen.Count == 0 ? 0 : seen[^1].Revision, 10, TimeSpan.FromMinutes(10), Token));
            return seen;
        });
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            for (var i = 0; i < each; i++)
                await CommittedAsync(Put($"{writer}/{i}", 0));
        })));
        var changes = await tail.WaitAsync(TimeSpan.FromSeconds(30), Token);
        Assert.Equal(Enumerable.Range(1, writers * each).Select(i => (long)i), changes.Select(c => c.Revision));
        Assert.Equal(writers * each, changes.Select(c => c.Key).Distinct().Count());
    }

    // Consumer groups.

    [Fact]
    public async Task Acknowledged_revision_is_null_at_first_and_never_goes_back()
    {
        Assert.Null(await Store.GetAcknowledgedAsync("pods", "g", Token));
        await Store.AcknowledgeAsync("pods", "g", 0, Token);
        Assert.Equal(0, await Store.GetAcknowledgedAsync("pods", "g", Token));
        await Store.AcknowledgeAsync("pods", "g", 7, Token);
        await Store.AcknowledgeAsync("pods", "g", 5, Token);
        Assert.Equal(7, await Store.GetAcknowledgedAsync("pods", "g", Token));
        Assert.Null(await Store.GetAcknowledgedAsync("pods", "h", Token));
        Assert.Null(await Store.GetAcknowledgedAsync("nodes", "g", Token));
    }
}
