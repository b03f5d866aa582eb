using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests;

public abstract partial class ObjectStoreBattery
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    private static Commit Enqueue(string key, long expected = 0, long priority = 0) =>
        Put(key, expected) with { Queue = new QueueChange("pending", QueueAction.Enqueue, priority) };

    private static Commit Dequeue(string key, long expected) => Put(key, expected) with { Queue = new QueueChange("pending", QueueAction.Remove) };

    private async Task<IReadOnlyList<QueueItem>> LeaseAsync(int maxCount = 100) => await Store.LeaseAsync("pods", "pending", maxCount, Minute, TimeSpan.Zero, Token);

    private async Task<(long Ready, long Leased, long Delayed)> CountsAsync()
    {
        var statistics = await Store.GetQueueStatisticsAsync("pods", "pending", Token);
        return (statistics.Ready, statistics.Leased, statistics.Delayed);
    }

    [Fact]
    public async Task Lease_GivesHighestPriorityFirstThenOldest()
    {
        await Store.CommitAsync([Enqueue("a", priority: 1), Enqueue("b", priority: 5), Enqueue("c", priority: 1), Enqueue("d", priority: 5), Enqueue("e", priority: -1)], Token);
        Assert.Equal(["b", "d", "a"], (await LeaseAsync(3)).Select(i => i.Key));
        Assert.Equal(["c", "e"], (await LeaseAsync()).Select(i => i.Key));
        Assert.Empty(await LeaseAsync());
    }

    [Fact]
    public async Task Queue_change_of_a_refused_commit_does_not_happen()
    {
        await Store.CommitAsync(Enqueue("a", expected: 3), Token);
        Assert.Empty(await LeaseAsync());
        var revision = await CommittedAsync(Enqueue("a"));
        await Store.CommitAsync(Dequeue("a", revision + 1), Token);
        Assert.Equal((1, 0, 0), await CountsAsync());
    }

    [Fact]
    public async Task Enqueue_OfAQueuedKey_LeavesItAsItIs()
    {
        var revision = await CommittedAsync(Enqueue("a", priority: 1));
        await CommittedAsync(Enqueue("b", priority: 2));
        revision = await CommittedAsync(Enqueue("a", revision, priority: 9));
        var items = await LeaseAsync();
        Assert.Equal([("b", 2L), ("a", 1L)], items.Select(i => (i.Key, i.Priority)));
        await CommittedAsync(Enqueue("a", revision));
        Assert.Empty(await LeaseAsync()); // Leased it stays.
        Assert.Equal((0, 2, 0), await CountsAsync());
    }

    [Fact]
    public async Task Remove_ByCommit_TakesWaitingAndLeasedItemsOut()
    {
        var a = await CommittedAsync(Enqueue("a"));
        var b = await CommittedAsync(Enqueue("b"));
        var leased = (await LeaseAsync(1)).Single();
        Assert.Equal("a", leased.Key);
        await Store.CommitAsync([Dequeue("a", a), Dequeue("b", b)], Token);
        Assert.Equal((0, 0, 0), await CountsAsync());

        // What is left of the lease has no effect on the key's next stay in the queue.
        var again = await Store.GetAsync("pods", "a", Token);
        await CommittedAsync(Enqueue("a", again!.Revision));
        await Store.CompleteAsync("pods", "pending", leased, Token);
        await Store.ReleaseAsync("pods", "pending", leased, Minute, Token);
        Assert.Equal((1, 0, 0), await CountsAsync());
        var next = (await LeaseAsync()).Single();
        Assert.Equal(1, next.Attempt);
        Assert.NotEqual(leased.LeaseId, next.LeaseId);
    }

    [Fact]
    public async Task Queue_changes_of_one_call_follow_each_other()
    {
        var results = await Store.CommitAsync([Enqueue("a"), Dequeue("a", 1), Enqueue("a", 2, priority: 4), Enqueue("b"), Dequeue("b", 4)], Token);
        Assert.All(results, r => Assert.Equal(CommitOutcome.Committed, r.Outcome));
        var item = (await LeaseAsync()).Single();
        Assert.Equal(("a", 4L), (item.Key, item.Priority));
    }

    [Fact]
    public async Task A_removal_of_the_object_can_take_it_out_of_its_queue()
    {
        var revision = await CommittedAsync(Enqueue("a"));
        await CommittedAsync(Delete("a", revision) with { Queue = new QueueChange("pending", QueueAction.Remove) });
        Assert.Equal((0, 0, 0), await CountsAsync());
    }

    [Fact]
    public async Task Lease_ThatRunsOut_GivesTheItemToAnother()
    {
        await CommittedAsync(Enqueue("a"));
        var first = (await LeaseAsync()).Single();
        Assert.Equal((0, 1, 0), await CountsAsync());
        await PassAsync(Minute / 2);
        Assert.Empty(await LeaseAsync());
        await PassAsync(Minute);
        var second = (await LeaseAsync()).Single();
        Assert.Equal(("a", 2), (second.Key, second.Attempt));
        Assert.Equal(first.EnqueuedAt, second.EnqueuedAt);

        await Store.CompleteAsync("pods", "pending", first, Token); // The lease is no longer its own.
        await Store.ReleaseAsync("pods", "pending", first, TimeSpan.Zero, Token);
        Assert.Equal((0, 1, 0), await CountsAsync());
        await Store.CompleteAsync("pods", "pending", second, Token);
        Assert.Equal((0, 0, 0), await CountsAsync());
    }

    [Fact]
    public async Task Release_MakesTheItemDueAfterTheDelay_AtItsOldPlace()
    {
        await Store.CommitAsync([Enqueue("a"), Enqueue("b")], Token);
        var a = (await LeaseAsync(1)).Single();
        await Store.ReleaseAsync("pods", "pending", a, TimeSpan.FromSeconds(10), Token);
        Assert.Equal((1, 0, 1), await CountsAsync());
        var b = (await LeaseAsync()).Single();
        Assert.Equal("b", b.Key);
        await Store.ReleaseAsync("pods", "pending", b, TimeSpan.Zero, Token);
        await PassAsync(TimeSpan.FromSeconds(11));
        Assert.Equal([("a", 2), ("b", 2)], (await LeaseAsync()).Select(i => (i.Key, i.Attempt)));
    }

    [Fact]
    public async Task Wake_MakesDelayedItemsDue_AllOrThoseNamed()
    {
        await Store.CommitAsync([Enqueue("a"), Enqueue("b"), Enqueue("c")], Token);
        var items = await LeaseAsync();
        foreach (var item in items.Take(2))
            await Store.ReleaseAsync("pods", "pending", item, TimeSpan.FromHours(1), Token);
        await Store.WakeAsync("pods", "pending", ["b", "b", "c", "nobody"], Token); // c is leased and stays so.
        Assert.Equal((1, 1, 1), await CountsAsync());
        Assert.Equal("b", (await LeaseAsync()).Single().Key);
        await Store.WakeAsync("pods", "pending", null, Token);
        Assert.Equal("a", (await LeaseAsync()).Single().Key);
    }

    [Fact]
    public async Task Lease_Waiting_IsWokenByEnqueueReleaseAndWake()
    {
        var enqueued = Store.LeaseAsync("pods", "pending", 5, Minute, TimeSpan.FromHours(1), Token).AsTask();
        Assert.False(enqueued.IsCompleted);
        await CommittedAsync(Enqueue("a"));
        var item = (await enqueued.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single();

        var released = Store.LeaseAsync("pods", "pending", 5, Minute, TimeSpan.FromHours(1), Token).AsTask();
        await Store.ReleaseAsync("pods", "pending", item, TimeSpan.Zero, Token);
        item = (await released.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single();

        await Store.ReleaseAsync("pods", "pending", item, TimeSpan.FromHours(2), Token);
        var woken = Store.LeaseAsync("pods", "pending", 5, Minute, TimeSpan.FromHours(1), Token).AsTask();
        await Store.WakeAsync("pods", "pending", null, Token);
        Assert.Equal("a", (await woken.WaitAsync(TimeSpan.FromSeconds(30), Token)).Single().Key);
    }

    [Fact]
    public async Task Lease_Waiting_GetsWhatBecomesDueMeanwhile()
    {
        await Store.CommitAsync([Enqueue("a"), Enqueue("b")], Token);
        var items = await LeaseAsync();
        await Store.ReleaseAsync("pods", "pending", items[0], TimeSpan.FromSeconds(5), Token);
        var delayed = Store.LeaseAsync("pods", "pending", 1, Minute * 10, TimeSpan.FromHours(1), Token).AsTask();
        Assert.Equal("a", (await PassUntilAsync(delayed, TimeSpan.FromSeconds(20))).Single().Key);
        var expired = Store.LeaseAsync("pods", "pending", 1, Minute * 10, TimeSpan.FromHours(1), Token).AsTask();
        Assert.Equal("b", (await PassUntilAsync(expired, TimeSpan.FromSeconds(80))).Single().Key);
    }

    [Fact]
    public async Task Lease_WaitRunsOut_GivesAnEmptyList()
    {
        var leasing = Store.LeaseAsync("pods", "pending", 1, Minute, TimeSpan.FromSeconds(3), Token).AsTask();
        Assert.Empty(await PassUntilAsync(leasing, TimeSpan.FromSeconds(10)));
    }

    [Fact]
    public async Task Queue_statistics_tell_sizes_and_age()
    {
        Assert.Equal(new QueueStatistics(0, 0, 0, TimeSpan.Zero), await Store.GetQueueStatisticsAsync("pods", "pending", Token));
        await CommittedAsync(Enqueue("a"));
        await PassAsync(TimeSpan.FromSeconds(20));
        await CommittedAsync(Enqueue("b"));
        await PassAsync(TimeSpan.FromSeconds(10));
        var statistics = await Store.GetQueueStatisticsAsync("pods", "pending", Token);
        Assert.Equal(2, statistics.Ready);
        Assert.InRange(statistics.OldestAge.TotalSeconds, 30, 40);
    }

    [Fact]
    public async Task Queues_are_apart_by_name_and_resource()
    {
        await CommittedAsync(Enqueue("a"));
        await CommittedAsync(Put("b", 0) with { Queue = new QueueChange("other", QueueAction.Enqueue) });
        await CommittedAsync(Put("c", 0, resource: "nodes") with { Queue = new QueueChange("pending", QueueAction.Enqueue) });
        Assert.Equal("a", (await LeaseAsync()).Single().Key);
        Assert.Equal("b", (await Store.LeaseAsync("pods", "other", 5, Minute, TimeSpan.Zero, Token)).Single().Key);
        Assert.Equal("c", (await Store.LeaseAsync("nodes", "pending", 5, Minute, TimeSpan.Zero, Token)).Single().Key);
    }

    [Fact]
    public async Task Concurrent_workers_get_every_item_exactly_once()
    {
        const int items = 200;
        var seen = new System.Collections.Concurrent.ConcurrentBag<string>();
        using var done = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var workers = Enumerable.Range(0, 6).Select(_ => Task.Run(async () =>
        {
            while (seen.Count < items)
            {
                try
                {
                    foreach (var item in await Store.LeaseAsync("pods", "pending", 3, TimeSpan.FromHours(1), TimeSpan.FromHours(1), done.Token))
                    {
                        seen.Add(item.Key);
                        await Store.CompleteAsync("pods", "pending", item, Token);
                    }
                    if (seen.Count >= items)
                        await done.CancelAsync();
                }
                catch (OperationCanceledException) when (!Token.IsCancellationRequested)
                {
                    return;
                }
            }
        })).ToArray();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(writer => Task.Run(async () =>
        {
            for (var i = 0; i < items / 4; i++)
                await CommittedAsync(Enqueue($"{writer}-{i}"));
        })));
        await Task.WhenAll(workers).WaitAsync(TimeSpan.FromSeconds(60), Token);
        Assert.Equal(items, seen.Count);
        Assert.Equal(items, seen.Distinct().Count());
        Assert.Equal((0, 0, 0), await CountsAsync());
    }
}
