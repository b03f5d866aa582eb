using System.Text;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Transfer;

/// <summary>
/// What an export and an import promise, for a pair of stores: one to read, one to write. A pair's tests derive from this class and say where the two are.
/// </summary>
public abstract class StoreTransferBattery : IAsyncLifetime
{
    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    protected TransferStore From { get; private set; } = null!;

    protected TransferStore To { get; private set; } = null!;

    protected abstract Task<TransferStore> MakeSourceAsync();

    protected abstract Task<TransferStore> MakeTargetAsync();

    public async ValueTask InitializeAsync() => (From, To) = (await MakeSourceAsync(), await MakeTargetAsync());

    public async ValueTask DisposeAsync()
    {
        await From.DisposeAsync();
        await To.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    protected static async Task<byte[]> ExportAsync(TransferStore store)
    {
        await using var transfer = store.Transfer();
        using var file = new MemoryStream();
        await StoreFileWriter.WriteAsync(file, transfer.ReadAllAsync(null, Token), null, Token);
        return file.ToArray();
    }

    protected static async Task ImportAsync(TransferStore store, byte[] file, bool replace = false)
    {
        await StoreFileReader.VerifyAsync(new MemoryStream(file), Token);
        await using var transfer = store.Transfer();
        await transfer.WriteAllAsync(StoreFileReader.ReadAsync(new MemoryStream(file), Token), replace, Token);
    }

    protected static async Task<List<StoreRecord>> RecordsAsync(byte[] file)
    {
        List<StoreRecord> records = [];
        await foreach (var record in StoreFileReader.ReadAsync(new MemoryStream(file), Token))
            records.Add(record);
        return records;
    }

    protected static async Task<StoreCondition> ConditionAsync(TransferStore store)
    {
        await using var transfer = store.Transfer();
        return await transfer.GetConditionAsync(Token);
    }

    /// <summary>A store with one of everything; returns the revision of `pods`.</summary>
    protected static async Task<long> FillAsync(TransferStore place)
    {
        await using var store = await place.OpenAsync();
        var results = await store.CommitAsync(
            [
                Put("a/x", 0) with { Claims = ["ip/1", "ip/2"], Queue = new QueueChange("q", QueueAction.Enqueue, -7) },
                Put("a/gone", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue, 9) },
                Put("a/y", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue, 9) },
                Put("a/z", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue, 9) },
                Put("a/binary", 0, [0, 255, 10, 13, 1]),
                Put("a/lines", 0, Encoding.UTF8.GetBytes("{\n}")),
                Put("a/empty", 0, []),
                Put("a/ünïcode ☃", 0, Encoding.UTF8.GetBytes("""{"metadata":{"name":"ünïcode ☃"},"data":{"quote":"\"\\\u0000","n":1.50e3}}""")),
                Put("a/big", 0, Encoding.UTF8.GetBytes($$"""{"metadata":{"name":"big"},"data":"{{new string('x', 3 << 20)}}"}""")),
                Put("n1", 0, resource: "nodes"),
            ],
            Token);
        Assert.All(results, r => Assert.Equal(CommitOutcome.Committed, r.Outcome));
        var revision = results[0].Revision;
        Assert.Equal(CommitOutcome.Committed, (await store.CommitAsync(Put("a/x", revision, Json("a/x", ",\"n\":2")), Token)).Outcome);
        Assert.Equal(CommitOutcome.Committed, (await store.CommitAsync(
            Delete("a/gone", results[1].Revision) with { Queue = new QueueChange("q", QueueAction.Remove) }, Token)).Outcome);
        await store.AdvanceFenceAsync("pods", "node/n1", Token);
        await store.AdvanceFenceAsync("pods", "node/n1", Token);
        await store.AdvanceFenceAsync("other", "f", Token);
        await store.AcknowledgeAsync("pods", "controllers", 3, Token);
        await store.LeaseAsync("pods", "q", 1, TimeSpan.FromDays(1), TimeSpan.Zero, Token);
        return await store.GetRevisionAsync("pods", Token);
    }

    [Fact]
    public async Task An_import_is_the_exported_store_in_a_new_epoch()
    {
        var revision = await FillAsync(From);
        IReadOnlyList<StoredObject> before;
        long fence;
        await using (var source = await From.OpenAsync())
        {
            before = (await source.GetSnapshotAsync("pods", Token)).Objects;
            fence = await source.AdvanceFenceAsync("pods", "node/n1", Token);
        }
        await ImportAsync(To, await ExportAsync(From));

        await using var store = await To.OpenAsync();
        var snapshot = await store.GetSnapshotAsync("pods", Token);
        Assert.Equal(
            before.OrderBy(o => o.Key, StringComparer.Ordinal).Select(o => (o.Key, o.Revision, Convert.ToHexString(o.Value))),
            snapshot.Objects.OrderBy(o => o.Key, StringComparer.Ordinal).Select(o => (o.Key, o.Revision, Convert.ToHexString(o.Value))));
        Assert.Single((await store.GetSnapshotAsync("nodes", Token)).Objects);

        // A new epoch, far above, and nothing of the old history is to be had.
        Assert.InRange(snapshot.Revision, (new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeSeconds() << 21), (1L << 53) - 1);
        Assert.True(snapshot.Revision > revision + 1_000_000);
        Assert.Equal(snapshot.Revision, await store.GetCompactedRevisionAsync("pods", Token));
        await Assert.ThrowsAsync<CompactedException>(async () => await store.ReadChangesAsync("pods", revision, 10, TimeSpan.Zero, Token));
        await Assert.ThrowsAsync<CompactedException>(async () => await store.ReadChangesAsync("pods", 0, 10, TimeSpan.Zero, Token));
        Assert.Empty(await store.ReadChangesAsync("pods", snapshot.Revision, 10, TimeSpan.Zero, Token));
        Assert.Null(await store.GetAcknowledgedAsync("pods", "controllers", Token));

        // The history goes on without a gap.
        var x = snapshot.Objects.Single(o => o.Key == "a/x");
        Assert.Equal(new CommitResult(CommitOutcome.Committed, snapshot.Revision + 1), await store.CommitAsync(Put("a/x", x.Revision), Token));
        Assert.Equal(new CommitResult(CommitOutcome.Committed, snapshot.Revision + 2), await store.CommitAsync(Put("b/new", 0), Token));
        Assert.Equal(
            [snapshot.Revision + 1, snapshot.Revision + 2],
            (await store.ReadChangesAsync("pods", snapshot.Revision, 10, TimeSpan.Zero, Token)).Select(c => c.Revision));

        // Claims are held as before, fences are above all that were given out.
        Assert.Equal("ip/2", (await store.CommitAsync(Put("b/thief", 0) with { Claims = ["ip/2"] }, Token)).Detail);
        Assert.Equal(CommitOutcome.FenceConflict, (await store.CommitAsync(Put("b/old", 0) with { Fence = new Fence("node/n1", fence) }, Token)).Outcome);
        Assert.True(await store.AdvanceFenceAsync("pods", "node/n1", Token) > fence + 1_000_000);

        // The queue, by priority and age; the lease has ended with the store that gave it.
        var items = await store.LeaseAsync("pods", "q", 10, TimeSpan.FromMinutes(1), TimeSpan.Zero, Token);
        Assert.Equal(["a/y", "a/z", "a/x"], items.Select(i => i.Key));
        Assert.Equal([9, 9, -7], items.Select(i => i.Priority));
        Assert.All(items, i => Assert.Equal(1, i.Attempt));
    }

    [Fact]
    public async Task An_import_goes_on_after_the_store_was_opened_again_and_compacted()
    {
        await FillAsync(From);
        await ImportAsync(To, await ExportAsync(From));
        long revision;
        await using (var store = await To.OpenAsync())
        {
            var x = await store.GetAsync("pods", "a/x", Token);
            revision = (await store.CommitAsync(Put("a/x", x!.Revision), Token)).Revision;
            await store.CommitAsync(
                Delete("a/y", (await store.GetAsync("pods", "a/y", Token))!.Revision) with { Queue = new QueueChange("q", QueueAction.Remove) }, Token);
            await store.CompactAsync("pods", revision + 1, Token);
        }
        await using (var store = await To.OpenAsync())
        {
            Assert.Equal(revision + 1, await store.GetRevisionAsync("pods", Token));
            Assert.Equal(revision, (await store.GetAsync("pods", "a/x", Token))!.Revision);
            Assert.Null(await store.GetAsync("pods", "a/y", Token));
            Assert.Equal(7, (await store.GetSnapshotAsync("pods", Token)).Objects.Count);
        }
        Assert.Empty(await ProblemsAsync(To));
    }

    [Fact]
    public async Task An_export_of_an_import_holds_the_same_objects()
    {
        await FillAsync(From);
        var first = await RecordsAsync(await ExportAsync(From));
        await ImportAsync(To, await ExportAsync(From));
        var second = await RecordsAsync(await ExportAsync(To));
        static IEnumerable<string> Objects(List<StoreRecord> records) => records.Select(record => record switch
        {
            ObjectRecord o => $"{o.Key} {o.Revision} {Convert.ToHexString(o.Value)} {string.Join(',', o.Claims.Order(StringComparer.Ordinal))}",
            QueueRecord q => $"{q.Queue} {q.Key} {q.Priority}",
            ResourceRecord begun => begun.Resource,
            _ => "",
        }).Order(StringComparer.Ordinal);
        Assert.Equal(Objects(first), Objects(second));
    }

    [Fact]
    public async Task An_export_while_others_write_is_of_one_revision_per_resource()
    {
        await FillAsync(From);
        await using var store = await From.OpenAsync();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        // Each write moves a claim and a queue item along with a pair of counters, so that a torn export would show.
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var writing = Task.Run(async () =>
        {
            var revisions = new long[64];
            for (var round = 1; !stop.IsCancellationRequested; round++)
            {
                var results = await store.CommitAsync([.. Enumerable.Range(0, revisions.Length).Select(i => Put($"w/{i}", revisions[i],
                    Encoding.UTF8.GetBytes($$"""{"metadata":{"name":"{{i}}","namespace":"w"},"round":{{round}}}""")) with
                {
                    Claims = [$"round/{i}/{round}"],
                    Queue = new QueueChange("w", round % 2 == 1 ? QueueAction.Enqueue : QueueAction.Remove),
                })], Token);
                for (var i = 0; i < revisions.Length; i++)
                    revisions[i] = results[i].Revision;
                if (round == 3)
                    started.TrySetResult();
            }
        }, Token);
        await Task.WhenAny(started.Task, writing);

        for (var export = 0; export < 5; export++)
        {
            ResourceRecord? resource = null;
            Dictionary<string, int> rounds = new(StringComparer.Ordinal);
            HashSet<string> queued = new(StringComparer.Ordinal);
            long highest = 0, podsRevision = 0;
            foreach (var record in await RecordsAsync(await ExportAsync(From)))
            {
                switch (record)
                {
                    case ResourceRecord r:
                        resource = r;
                        break;
                    case ObjectRecord o when o.Key.StartsWith("w/", StringComparison.Ordinal):
                        var round = System.Text.Json.JsonDocument.Parse(o.Value).RootElement.GetProperty("round").GetInt32();
                        Assert.Equal([$"round/{o.Key[2..]}/{round}"], o.Claims);
                        rounds[o.Key] = round;
                        highest = Math.Max(highest, o.Revision);
                        podsRevision = resource!.Revision;
                        break;
                    case QueueRecord q when q.Queue == "w":
                        queued.Add(q.Key);
                        break;
                }
            }
            Assert.Equal(64, rounds.Count);
            // The object written last is of the exported revision itself: nothing committed before it is missing.
            Assert.Equal(podsRevision, highest);
            foreach (var (key, round) in rounds)
                Assert.Equal(round % 2 == 1, queued.Contains(key));
            Assert.InRange(rounds.Values.Max() - rounds.Values.Min(), 0, 1);
        }
        await stop.CancelAsync();
        await writing;
    }

    [Fact]
    public async Task Import_IntoAFilledStore_IsRefusedUnlessItReplaces()
    {
        await FillAsync(From);
        var file = await ExportAsync(From);
        Assert.Equal(StoreCondition.Empty, await ConditionAsync(To));
        long before;
        await using (var store = await To.OpenAsync())
            before = (await store.CommitAsync(Put("old/one", 0) with { Claims = ["ip/1"] }, Token)).Revision;
        Assert.Equal(StoreCondition.Filled, await ConditionAsync(To));
        var refusal = await Assert.ThrowsAsync<StoreImportException>(() => ImportAsync(To, file));
        Assert.Contains("--replace", refusal.Message, StringComparison.Ordinal);
        await using (var store = await To.OpenAsync())
            Assert.Equal(before, (await store.GetAsync("pods", "old/one", Token))!.Revision);

        await ImportAsync(To, file, replace: true);
        await using (var store = await To.OpenAsync())
        {
            Assert.Null(await store.GetAsync("pods", "old/one", Token));
            Assert.NotNull(await store.GetAsync("pods", "a/x", Token));
            Assert.Equal("ip/1", (await store.CommitAsync(Put("b/thief", 0) with { Claims = ["ip/1"] }, Token)).Detail);
        }
        Assert.Empty(await ProblemsAsync(To));
    }

    [Fact]
    public async Task Import_ThatBreaksOff_LeavesWhatWasThereOrAStoreThatSaysSo()
    {
        await FillAsync(From);
        var file = await ExportAsync(From);
        await using (var transfer = To.Transfer())
            await Assert.ThrowsAsync<IOException>(() => transfer.WriteAllAsync(BreakOffAsync(file, 9), replace: false, Token));
        var condition = await ConditionAsync(To);
        Assert.NotEqual(StoreCondition.Filled, condition);
        if (condition == StoreCondition.HalfImported)
        {
            await Assert.ThrowsAsync<StoreUnavailableException>(async () =>
            {
                await using var half = await To.OpenAsync();
                await half.GetSnapshotAsync("pods", Token);
            });
            await Assert.ThrowsAsync<StoreImportException>(() => ImportAsync(To, file));
        }
        await ImportAsync(To, file, replace: true);
        await using (var store = await To.OpenAsync())
            Assert.NotNull(await store.GetAsync("pods", "a/x", Token));

        // And once more over a filled one.
        await using (var transfer = To.Transfer())
            await Assert.ThrowsAsync<IOException>(() => transfer.WriteAllAsync(BreakOffAsync(file, 6), replace: true, Token));
        if (await ConditionAsync(To) == StoreCondition.Filled)
        {
            await using var store = await To.OpenAsync();
            Assert.NotNull(await store.GetAsync("pods", "a/x", Token));
        }
    }

    private static async IAsyncEnumerable<StoreRecord> BreakOffAsync(byte[] file, int after)
    {
        await foreach (var record in StoreFileReader.ReadAsync(new MemoryStream(file), Token))
        {
            if (after-- == 0)
                throw new IOException("the file's disk is gone");
            yield return record;
        }
    }

    [Fact]
    public async Task Check_OfASoundStore_FindsNothing()
    {
        await using (var store = await From.OpenAsync())
        {
            var x = (await store.CommitAsync(Put("a/x", 0) with { Claims = ["ip/1"], Queue = new QueueChange("q", QueueAction.Enqueue) }, Token)).Revision;
            await store.CommitAsync(Put("a/x", x) with { Claims = ["ip/2"] }, Token);
            await store.CommitAsync(Put("a/y", 0) with { Claims = ["ip/1"] }, Token);
            await store.AdvanceFenceAsync("pods", "f", Token);
        }
        await using var transfer = From.Transfer();
        var report = await StoreCheck.RunAsync(transfer, Token);
        Assert.Empty(report.Problems);
        var pods = Assert.Single(report.Resources);
        Assert.Equal(("pods", 3L, 0L, 3L, 2L, 2L, 1L, 1L), (pods.Resource, pods.Revision, pods.Compacted, pods.LogEntries, pods.Objects, pods.Claims, pods.Fences, pods.QueueItems));
        Assert.Equal(Json("a/x").Length + Json("a/y").Length, pods.ValueBytes);
        Assert.InRange(pods.StoredBytes, 100, 100_000);
    }

    [Fact]
    public async Task Check_FindsValuesThatAreNoObjectsOrAnothers_AndQueueItemsOfNone()
    {
        await using (var store = await From.OpenAsync())
        {
            await store.CommitAsync([Put("a/x", 0, [1, 2]), Put("a/y", 0, Json("b/y")), Put("a/z", 0, "{}"u8.ToArray()), Put("a/queued", 0) with { Queue = new QueueChange("q", QueueAction.Enqueue) }], Token);
            await store.CommitAsync(Delete("a/queued", 4), Token);
        }
        var problems = await ProblemsAsync(From, all: true);
        Assert.Collection(
            problems.Order(StringComparer.Ordinal),
            p => Assert.Contains("'a/queued': it is in the queue 'q' but does not exist", p, StringComparison.Ordinal),
            p => Assert.Contains("'a/x': its value is no JSON object", p, StringComparison.Ordinal),
            p => Assert.Contains("'a/y': its value says that it is 'b/y'", p, StringComparison.Ordinal),
            p => Assert.Contains("'a/z': its value is no API object", p, StringComparison.Ordinal));
    }

    /// <summary>Problems, without those of the values that are no API objects on purpose.</summary>
    protected static async Task<IReadOnlyList<string>> ProblemsAsync(TransferStore place, bool all = false)
    {
        await using var transfer = place.Transfer();
        var report = await StoreCheck.RunAsync(transfer, Token);
        return [.. report.Problems.Where(p => all || !p.Contains("object", StringComparison.Ordinal))];
    }
}

public sealed class SqliteToSqliteTransferTests : StoreTransferBattery
{
    protected override Task<TransferStore> MakeSourceAsync() => Task.FromResult<TransferStore>(new SqliteTransferStore());

    protected override Task<TransferStore> MakeTargetAsync() => Task.FromResult<TransferStore>(new SqliteTransferStore());
}
