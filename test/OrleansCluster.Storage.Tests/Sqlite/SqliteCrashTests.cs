using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Storage.CrashWriter;

namespace OrleansCluster.Storage.Tests.Sqlite;

/// <summary>
/// Kills a writing process at random moments, again and again on the same file, and looks at what is left: every acknowledged commit is there, nothing
/// is half-written, revisions have no gap, and claims and queue agree with the objects.
/// </summary>
public sealed class SqliteCrashTests(ITestOutputHelper output)
{
    private const int Lanes = 2;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public Task Nothing_acknowledged_is_lost_by_hundreds_of_kills() => RunAsync(kills: 240, atMost: TimeSpan.FromSeconds(60));

    [Fact]
    [Trait("Category", "Long")]
    public Task Nothing_acknowledged_is_lost_by_thousands_of_kills() => RunAsync(kills: 4000, atMost: TimeSpan.FromHours(1));

    private async Task RunAsync(int kills, TimeSpan atMost)
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("CRASH_SEED"), CultureInfo.InvariantCulture, out var given) ? given : Random.Shared.Next(1 << 20);
        output.WriteLine($"CRASH_SEED={seed}");
        var directory = Directory.CreateTempSubdirectory("store-crash-").FullName;
        var started = Stopwatch.StartNew();
        var counts = await Task.WhenAll(Enumerable.Range(0, Lanes).Select(lane => Task.Run(async () =>
        {
            var random = new Random(seed + lane);
            var ledger = new Ledger(Path.Combine(directory, $"lane{lane}.db"));
            var done = 0;
            for (; done < kills / Lanes && started.Elapsed < atMost; done++)
            {
                await ledger.WriteAndKillAsync(random);
                try
                {
                    await ledger.VerifyAsync();
                }
                catch (Exception e)
                {
                    throw new InvalidOperationException($"Lane {lane}, kill {done}, CRASH_SEED={seed}, files in {directory}: {e.Message}", e);
                }
            }
            return (Kills: done, ledger.Acknowledged, ledger.Unacknowledged);
        })));
        output.WriteLine($"{counts.Sum(c => c.Kills)} kills, {counts.Sum(c => c.Acknowledged)} acknowledged commits, "
            + $"{counts.Sum(c => c.Unacknowledged)} written but not acknowledged, {started.Elapsed}");
        Assert.True(counts.Sum(c => c.Acknowledged) > kills, "The writers got nothing done.");
        Directory.Delete(directory, recursive: true);
    }

    /// <summary>What the killed writers of one file were promised, against what the file holds.</summary>
    private sealed class Ledger(string path)
    {
        /// <summary>Last acknowledged commit of each key.</summary>
        private readonly Dictionary<string, CrashRecord> _last = new(StringComparer.Ordinal);
        private readonly List<CrashRecord> _thisRun = [];
        private long _fence;
        private long _revision;

        public long Acknowledged { get; private set; }

        public long Unacknowledged { get; private set; }

        public async Task WriteAndKillAsync(Random random)
        {
            _thisRun.Clear();
            using var process = Process.Start(new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
            {
                ArgumentList = { Path.Combine(AppContext.BaseDirectory, "OrleansCluster.Storage.CrashWriter.dll"), path, random.Next(1 << 20).ToString(CultureInfo.InvariantCulture) },
                UseShellExecute = false,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            var errors = process.StandardError.ReadToEndAsync(Token);
            // Either a moment in the stream of acknowledgements, or soon after the start, where recovery itself is interrupted.
            var records = random.Next(8) == 0 ? random.Next(2) : random.Next(1, 600);
            var buffer = new byte[CrashRecord.Size];
            var stream = process.StandardOutput.BaseStream;
            try
            {
                for (var i = 0; i < records && await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, Token) == buffer.Length; i++)
                    _thisRun.Add(CrashRecord.Read(buffer));
                if (random.Next(2) == 0)
                    Thread.SpinWait(random.Next(100_000));
                if (process.HasExited)
                    Assert.Fail($"The writer ended by itself: {await errors}");
            }
            finally
            {
                process.Kill();
            }
            // What is still in the pipe was acknowledged, too.
            while (await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, Token) == buffer.Length)
                _thisRun.Add(CrashRecord.Read(buffer));
            await process.WaitForExitAsync(Token);
            await errors;
        }

        public async Task VerifyAsync()
        {
            await using var store = SqliteObjectStore.Open(
                new SqliteStoreOptions { Path = path, Durability = StoreDurability.ProcessLoss }, TimeProvider.System, NullLogger<SqliteObjectStore>.Instance);
            var revision = await store.GetRevisionAsync("pods", Token);
            var compacted = await store.GetCompactedRevisionAsync("pods", Token);
            var snapshot = await store.GetSnapshotAsync("pods", Token);
            var log = await store.ReadChangesAsync("pods", compacted, int.MaxValue, TimeSpan.Zero, Token);

            // Revisions in order, without a gap, never back.
            Assert.Equal(revision - compacted, log.Count);
            for (var i = 0; i < log.Count; i++)
                Assert.Equal(compacted + 1 + i, log[i].Revision);
            Assert.True(revision >= _revision, $"The revision went from {_revision} back to {revision}.");

            // Acknowledged commits.
            foreach (var record in _thisRun)
            {
                if (record.Kind == RecordKind.Fence)
                    _fence = Math.Max(_fence, record.Revision);
                if (record.Kind != RecordKind.Committed)
                    continue;
                Acknowledged++;
                var key = $"w{record.Key / 12}/{record.Key % 12}";
                _last[key] = record;
                Assert.True(record.Revision <= revision, $"The acknowledged revision {record.Revision} of {key} is gone; the store is at {revision}.");
                if (record.Revision <= compacted)
                    continue;
                var change = log[(int)(record.Revision - compacted - 1)];
                Assert.Equal((key, record.Commit, record.ValueHash), (change.Key, change.Kind, Checksum.Of(change.Value)));
            }
            var before = _thisRun.Count(r => r.Kind == RecordKind.Committed);
            Unacknowledged += Math.Max(0, revision - _revision - before);
            _revision = revision;

            // Nothing half-written: parsing checks the checksum. The state is what the log says.
            var objects = snapshot.Objects.ToDictionary(o => o.Key, StringComparer.Ordinal);
            foreach (var (key, record) in _last)
            {
                var current = objects.GetValueOrDefault(key);
                var later = log.LastOrDefault(c => string.Equals(c.Key, key, StringComparison.Ordinal) && c.Revision > record.Revision);
                if (later is not null)
                    Assert.Equal(later.Kind == CommitKind.Put ? later.Revision : null, current?.Revision);
                else if (record.Revision > compacted || current?.Revision == record.Revision)
                    Assert.Equal(record.Commit == CommitKind.Put ? record.Revision : null, current?.Revision);
            }
            foreach (var change in log)
                CrashValue.Parse(change.Value);

            // Claims and queue, as the values say they must be.
            var claims = new Dictionary<string, string>(StringComparer.Ordinal);
            var queued = new HashSet<string>(StringComparer.Ordinal);
            foreach (var obj in snapshot.Objects)
            {
                var (claim, isQueued) = CrashValue.Parse(obj.Value);
                if (claim.Length > 0)
                    Assert.True(claims.TryAdd(claim, obj.Key), $"{obj.Key} and {claims.GetValueOrDefault(claim)} both hold {claim}.");
                if (isQueued)
                    queued.Add(obj.Key);
            }
            Assert.Equal(claims.OrderBy(c => c.Key, StringComparer.Ordinal), store.ClaimOwners("pods").OrderBy(c => c.Key, StringComparer.Ordinal));
            var leased = await store.LeaseAsync("pods", "pending", 10_000, TimeSpan.FromHours(1), TimeSpan.Zero, Token);
            Assert.Equal(queued.Order(StringComparer.Ordinal), leased.Select(i => i.Key).Order(StringComparer.Ordinal));

            var fence = await store.AdvanceFenceAsync("pods", "epoch", Token);
            Assert.True(fence > _fence, $"Fence {fence} after {_fence} was handed out.");
            _fence = fence;
        }
    }
}
