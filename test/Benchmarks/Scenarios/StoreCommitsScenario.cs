using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>
/// What a commit costs in the embedded store: throughput, latency and CPU at several numbers of concurrent writers, how long a change takes to a tail,
/// how long a snapshot of many objects takes, and what an object costs in a cache.
/// </summary>
internal sealed class StoreCommitsScenario : IScenario
{
    public string Name => "store-commits";

    public string Description => "commits, tail, snapshot and cache of the embedded store";

    /// <summary>Size of a value: a small pod.</summary>
    private const int ValueBytes = 1300;

    /// <summary>Runs all measurements; the disk under the temporary folder is what is measured.</summary>
    public async Task RunAsync(BenchmarkContext context)
    {
        var folder = Directory.CreateTempSubdirectory("orleanscluster-bench-").FullName;
        try
        {
            foreach (var durability in (StoreDurability[])[StoreDurability.PowerLoss, StoreDurability.ProcessLoss])
            {
                foreach (var writers in (int[])[1, 16, 64, 256])
                    await MeasureCommitsAsync(folder, durability, writers, context.Settings.Duration, context.Report, context.Cancellation);
            }
            await MeasureTailAsync(folder, context.Report, context.Cancellation);
            await MeasureSnapshotAsync(folder, 20_000, context.Report, context.Cancellation);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task MeasureCommitsAsync(
        string directory, StoreDurability durability, int writers, TimeSpan duration, Report report, CancellationToken cancellationToken)
    {
        var path = Path.Combine(directory, $"store-commits-{Guid.NewGuid():N}", "store.db");
        try
        {
            await using var store = Open(path, durability);
            var latencies = new List<double>[writers];
            var stop = Stopwatch.GetTimestamp() + (long)(duration.TotalSeconds * Stopwatch.Frequency);
            var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
            var clock = Stopwatch.StartNew();
            await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
            {
                var own = latencies[writer] = [];
                var value = Value($"ns/pod-{writer}");
                var key = $"ns/pod-{writer}";
                long revision = 0;
                while (Stopwatch.GetTimestamp() < stop)
                {
                    var start = Stopwatch.GetTimestamp();
                    var result = await ((IObjectStore)store).CommitAsync(
                        new Commit { Resource = "pods", Key = key, Value = value, ExpectedRevision = revision }, cancellationToken);
                    own.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
                    if (result.Outcome != CommitOutcome.Committed)
                        throw new InvalidOperationException($"A commit ended with {result}.");
                    revision = result.Revision;
                }
            }, cancellationToken)));
            var elapsed = clock.Elapsed;
            var cpu = Process.GetCurrentProcess().TotalProcessorTime - cpuBefore;
            double[] all = [.. latencies.SelectMany(l => l).Order()];
            (string, JsonNode)[] parameters = [("durability", durability.ToString()), ("writers", writers)];
            report.Add("rate", all.Length / elapsed.TotalSeconds, "commits/s", null, parameters);
            report.Add("cpu", cpu.TotalMicroseconds / all.Length, "us/commit", null, parameters);
            report.Add("p50", all[all.Length / 2] / 1000, "ms", null, parameters);
            report.Add("p99", all[all.Length * 99 / 100] / 1000, "ms", null, parameters);
            report.Add("group", (double)all.Length / store.Writer.Groups, "commits", null, parameters);
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    private static async Task MeasureTailAsync(string directory, Report report, CancellationToken cancellationToken)
    {
        const int samples = 2000;
        var path = Path.Combine(directory, $"store-tail-{Guid.NewGuid():N}", "store.db");
        try
        {
            await using var store = Open(path, StoreDurability.PowerLoss);
            var acknowledged = new long[samples + 1];
            var seen = new long[samples + 1];
            var tail = Task.Run(async () =>
            {
                long after = 0;
                while (after < samples)
                {
                    foreach (var change in await store.ReadChangesAsync("pods", after, 1000, TimeSpan.FromSeconds(10), cancellationToken))
                    {
                        seen[change.Revision] = Stopwatch.GetTimestamp();
                        after = change.Revision;
                    }
                }
            }, cancellationToken);
            var value = Value("ns/pod");
            for (var i = 1; i <= samples; i++)
            {
                acknowledged[i] = Stopwatch.GetTimestamp();
                await ((IObjectStore)store).CommitAsync(
                    new Commit { Resource = "pods", Key = "ns/pod", Value = value, ExpectedRevision = i - 1 }, cancellationToken);
            }
            await tail;
            double[] latencies = [.. Enumerable.Range(1, samples).Select(i => Stopwatch.GetElapsedTime(acknowledged[i], seen[i]).TotalMicroseconds).Order()];
            report.Add("tail-p50", latencies[samples / 2] / 1000, "ms", null, ("from", "commit called"));
            report.Add("tail-p99", latencies[samples * 99 / 100] / 1000, "ms", null, ("from", "commit called"));
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    private static async Task MeasureSnapshotAsync(string directory, int objects, Report report, CancellationToken cancellationToken)
    {
        var path = Path.Combine(directory, $"store-snapshot-{Guid.NewGuid():N}", "store.db");
        try
        {
            var clock = Stopwatch.StartNew();
            await using (var filling = Open(path, StoreDurability.PowerLoss))
            {
                Commit[] commits = [.. Enumerable.Range(0, objects).Select(i => new Commit
                {
                    Resource = "pods",
                    Key = $"namespace-{i % 50}/deployment-{i % 400}-5d89d5c9f-{i:x5}",
                    Value = Value($"namespace-{i % 50}/deployment-{i % 400}-5d89d5c9f-{i:x5}"),
                    ExpectedRevision = 0,
                })];
                clock.Restart();
                await filling.CommitAsync(commits, cancellationToken);
                report.Add("fill", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", objects));
                clock.Restart();
            }
            report.Add("close", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", objects));
            report.Add("file", new FileInfo(path).Length / 1e6, "MB", null, ("objects", objects));

            clock.Restart();
            await using var store = Open(path, StoreDurability.PowerLoss);
            report.Add("open", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", objects));
            for (var i = 0; i < 3; i++)
                await MeasureOneSnapshotAsync(store, report, cancellationToken);

            var registry = new ResourceRegistry([new ResourceDefinition
            {
                Group = "", Version = "v1", Kind = "Pod", Plural = "pods", Singular = "pod", Namespaced = true, Strategy = new PlainStrategy(),
            }]);
            await Task.Yield(); // Leaves the stack of what ran before, which still holds the last snapshot.
            var before = Settled();
            var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
            clock.Restart();
            await using var caches = new ResourceCaches(
                registry, store, new ResourceCacheOptions(), TimeProvider.System, new Random(1), null, NullLogger<ResourceCaches>.Instance);
            var cached = await caches.Get("pods").GetLatestAsync(cancellationToken);
            report.Add("cache-fill", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", cached.Count));
            report.Add("cache-fill-cpu", (Process.GetCurrentProcess().TotalProcessorTime - cpuBefore).TotalMilliseconds, "ms", null, ("objects", cached.Count));
            await Task.Yield();
            var json = cached.Enumerate().Average(o => o.Bytes.Length);
            var each = (Settled() - before) / (double)cached.Count;
            report.Add("cached-object", each, "bytes", null, ("json", Math.Round(json)), ("budget", Math.Round((2 * json) + 300)));
            clock.Restart();
            var total = cached.Enumerate().Sum(o => (long)o.ItemBytes.Length);
            report.Add("enumeration", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", cached.Count), ("bytes", total));
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    // A method of its own, so that no local keeps the snapshot alive when memory is measured.
    private static async Task MeasureOneSnapshotAsync(SqliteObjectStore store, Report report, CancellationToken cancellationToken)
    {
        var clock = Stopwatch.StartNew();
        var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        var snapshot = await store.GetSnapshotAsync("pods", cancellationToken);
        var cpu = Process.GetCurrentProcess().TotalProcessorTime - cpuBefore;
        report.Add("snapshot", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", snapshot.Objects.Count));
        report.Add("snapshot-cpu", cpu.TotalMilliseconds, "ms", null, ("objects", snapshot.Objects.Count));
    }

    private static long Settled()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return GC.GetTotalMemory(forceFullCollection: true);
    }

    private static SqliteObjectStore Open(string path, StoreDurability durability) => SqliteObjectStore.Open(
        new SqliteStoreOptions { Path = path, Durability = durability }, TimeProvider.System, NullLogger<SqliteObjectStore>.Instance);

    private static byte[] Value(string key)
    {
        var parts = key.Split('/');
        var head = $$"""{"kind":"Pod","apiVersion":"v1","metadata":{"name":"{{parts[1]}}","namespace":"{{parts[0]}}","uid":"{{Guid.NewGuid()}}","labels":{"app":"web","pod-template-hash":"5d89d5c9f"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"{{Guid.NewGuid()}}","controller":true}]},"spec":{"nodeName":"node-1","filler":" """;
        return Encoding.UTF8.GetBytes(head + new string('x', ValueBytes - head.Length - 3) + "\"}}");
    }

    private sealed class PlainStrategy : ResourceStrategy
    {
        public override IReadOnlyList<SelectableField> SelectableFields => [new("spec.nodeName"), new("status.phase")];
    }
}
