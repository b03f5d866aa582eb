using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Storage;
using OrleansCluster.Storage.CrashWriter;

// Usage: <database> <seed>. Writes to the database until it is killed, and reports on standard output every acknowledgement it gets (see CrashRecord).
// Several writers, each with keys of its own, so that the order of reports per key is the order of its commits.
const int writers = 6;
const int keysPerWriter = 12;
var seed = int.Parse(args[1], System.Globalization.CultureInfo.InvariantCulture);
using var output = Console.OpenStandardOutput();
var outputGate = new Lock();

var store = SqliteObjectStore.Open(
    new SqliteStoreOptions { Path = args[0], CheckpointPages = 100 + (seed % 7 * 50), MaxGroup = 1 + (seed % 64) },
    TimeProvider.System,
    NullLogger<SqliteObjectStore>.Instance);
var snapshot = await store.GetSnapshotAsync("pods", CancellationToken.None);
Report(new CrashRecord(RecordKind.Ready, 0, CommitKind.Put, snapshot.Revision, 0));

var revisions = snapshot.Objects.ToDictionary(o => o.Key, o => o.Revision, StringComparer.Ordinal);
await Task.WhenAll(
    [
        .. Enumerable.Range(0, writers).Select(w => Task.Run(() => WriteAsync(w, new Random((seed * 31) + w)))),
        Task.Run(() => AdvanceAndCompactAsync(new Random(seed))),
    ]);

async Task WriteAsync(int writer, Random random)
{
    var own = new long[keysPerWriter];
    for (var k = 0; k < own.Length; k++)
        own[k] = revisions.GetValueOrDefault(Name(writer, k));
    while (true)
    {
        var k = random.Next(own.Length);
        var key = Name(writer, k);
        var kind = own[k] != 0 && random.Next(4) == 0 ? CommitKind.Delete : CommitKind.Put;
        var claim = random.Next(2) == 0 ? $"ip/{random.Next(writers * keysPerWriter)}" : "";
        var queued = kind == CommitKind.Put && random.Next(2) == 0;
        var value = CrashValue.Make(claim, queued, random.Next(20) == 0 ? random.Next(20_000) : random.Next(1500), random.NextInt64());
        var result = await ((IObjectStore)store).CommitAsync(
            new Commit
            {
                Resource = "pods",
                Key = key,
                Kind = kind,
                Value = value,
                ExpectedRevision = own[k],
                Claims = claim.Length == 0 ? [] : [claim],
                Queue = new QueueChange("pending", queued ? QueueAction.Enqueue : QueueAction.Remove),
            },
            CancellationToken.None);
        if (result.Outcome == CommitOutcome.ClaimConflict)
            continue;
        if (result.Outcome != CommitOutcome.Committed)
            throw new InvalidOperationException($"{key}: {result}, expected {own[k]}");
        own[k] = kind == CommitKind.Put ? result.Revision : 0;
        Report(new CrashRecord(RecordKind.Committed, (writer * keysPerWriter) + k, kind, result.Revision, Checksum.Of(value)));
    }
}

async Task AdvanceAndCompactAsync(Random random)
{
    while (true)
    {
        var value = await store.AdvanceFenceAsync("pods", "epoch", CancellationToken.None);
        Report(new CrashRecord(RecordKind.Fence, 0, CommitKind.Put, value, 0));
        if (random.Next(4) == 0)
            await store.CompactAsync("pods", await store.GetRevisionAsync("pods", CancellationToken.None) - 2000, CancellationToken.None);
    }
}

static string Name(int writer, int key) => $"w{writer}/{key}";

void Report(CrashRecord record)
{
    Span<byte> buffer = stackalloc byte[CrashRecord.Size];
    record.Write(buffer);
    lock (outputGate)
    {
        output.Write(buffer);
        output.Flush();
    }
}
