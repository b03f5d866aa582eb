using System.Diagnostics;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.Benchmarks;

/// <summary>
/// What a commit costs in the embedded store: throughput, latency and CPU at several numbers of concurrent writers, how long a change takes to a tail,
/// how long a snapshot of many objects takes, and what an object costs in a cache.
/// </summary>
internal static class StoreCommitsScenario
{
    /// <summary>Size of a value: a small pod.</summary>
    private const int ValueBytes = 1300;

    /// <summary>Runs all measurements and prints one line each.</summary>
    /// <param name="directory">Where the databases are made; the disk under it is what is measured.</param>
    /// <param name="duration">Length of each throughput measurement.</param>
    /// <param name="output">Receives the lines.</param>
    /// <param name="cancellationToken">Ends the run.</param>
    public static async Task RunAsync(string directory, TimeSpan duration, TextWriter output, CancellationToken cancellationToken)
    {
        foreach (var durability in (StoreDurability[])[StoreDurability.PowerLoss, StoreDurability.ProcessLoss])
        {
            foreach (var writers in (int[])[1, 16, 64, 256])
                await MeasureCommitsAsync(directory, durability, writers, duration, output, cancellationToken);
        }
        await MeasureTailAsync(directory, output, cancellationToken);
        await MeasureSnapshotAsync(directory, 20_000, output, cancellationToken);
    }

    private static async Task MeasureCommitsAsync(
        string directory, StoreDurability durability, int writers, TimeSpan duration, TextWriter output, CancellationToken cancellationToken)
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
            await WriteAsync(output,
                $"commits durability={durability} writers={writers}: {all.Length / elapsed.TotalSeconds:F0}/s, cpu {cpu.TotalMicroseconds / all.Length:F1} us/commit, "
                + $"p50 {all[all.Length / 2]:F0} us, p99 {all[all.Length * 99 / 100]:F0} us, max {all[^1]:F0} us, "
                + $"{(double)all.Length / store.Writer.Groups:F1} commits/group");
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    private static async Task MeasureTailAsync(string directory, TextWriter output, CancellationToken cancellationToken)
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
            await WriteAsync(output, $"tail: commit called until change read p50 {latencies[samples / 2]:F0} us, p99 {latencies[samples * 99 / 100]:F0} us");
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    private static async Task MeasureSnapshotAsync(string directory, int objects, TextWriter output, CancellationToken cancellationToken)
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
                await WriteAsync(output, $"fill: {objects} objects in {clock.ElapsedMilliseconds} ms");
                clock.Restart();
            }
            await WriteAsync(output, $"close: {clock.Elapsed.TotalMilliseconds:F1} ms, file {new FileInfo(path).Length / 1e6:F1} MB, values {objects * ValueBytes / 1e6:F1} MB");

            clock.Restart();
            await using var store = Open(path, StoreDurability.PowerLoss);
            await WriteAsync(output, $"open with {objects} objects: {clock.Elapsed.TotalMilliseconds:F1} ms");
            for (var i = 0; i < 3; i++)
                await MeasureOneSnapshotAsync(store, output, cancellationToken);

            var registry = new ResourceRegistry([new ResourceDefinition
            {
                Group = "", Version = "v1", Kind = "Pod", Plural = "pods", Singular = "pod", Namespaced = true, Strategy = new PlainStrategy(),
            }]);
            await Task.Yield(); // Leaves the stack of what ran before, which still holds the last snapshot.
            var before = Settled();
            var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
            clock.Restart();
            await using var caches = new ResourceCaches(
                registry, store, new ResourceCacheOptions(), TimeProvider.System, new Random(1), NullLogger<ResourceCaches>.Instance);
            var cached = await caches.Get("pods").GetLatestAsync(cancellationToken);
            await WriteAsync(output, $"cache filled with {cached.Count} objects: {clock.Elapsed.TotalMilliseconds:F1} ms, "
                + $"cpu {(Process.GetCurrentProcess().TotalProcessorTime - cpuBefore).TotalMilliseconds:F0} ms");
            await Task.Yield();
            var json = cached.Enumerate().Average(o => o.Bytes.Length);
            var each = (Settled() - before) / (double)cached.Count;
            await WriteAsync(output, $"memory per cached object: {each:F0} bytes, its JSON {json:F0} (budget {(2 * json) + 300:F0})");
            clock.Restart();
            var total = cached.Enumerate().Sum(o => (long)o.ItemBytes.Length);
            await WriteAsync(output, $"enumeration of {cached.Count} objects ({total} bytes): {clock.Elapsed.TotalMilliseconds:F2} ms");
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    // A method of its own, so that no local keeps the snapshot alive when memory is measured.
    private static async Task MeasureOneSnapshotAsync(SqliteObjectStore store, TextWriter output, CancellationToken cancellationToken)
    {
        var clock = Stopwatch.StartNew();
        var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        var snapshot = await store.GetSnapshotAsync("pods", cancellationToken);
        var cpu = Process.GetCurrentProcess().TotalProcessorTime - cpuBefore;
        await WriteAsync(output, $"snapshot of {snapshot.Objects.Count} objects: {clock.Elapsed.TotalMilliseconds:F1} ms, cpu {cpu.TotalMilliseconds:F0} ms");
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

    private static Task WriteAsync(TextWriter output, string line) => output.WriteLineAsync(line);

    private sealed class PlainStrategy : ResourceStrategy
    {
        public override IReadOnlyList<SelectableField> SelectableFields => [new("spec.nodeName"), new("status.phase")];
    }
}
