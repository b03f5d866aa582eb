using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Storage;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>
/// What a commit costs in the Redis store, against a redis-server of its own that flushes its file before every answer: throughput, latency, CPU of both
/// sides, how long a change takes to a tail, how long a snapshot takes, and what an object costs in Redis' memory.
/// </summary>
internal sealed class StoreRedisScenario : IScenario
{
    private const int Objects = 20_000;

    public string Name => "store-redis";

    public string Description => "commits, tail, snapshot and memory of the Redis store (starts redis-server)";

    public async Task RunAsync(BenchmarkContext context)
    {
        var folder = Directory.CreateTempSubdirectory("orleanscluster-bench-").FullName;
        var port = FreePort();
        using var redis = StartRedis(port, folder);
        try
        {
            await WaitAsync(port, context.Cancellation);
            foreach (var writers in (int[])[1, 16, 64, 256])
                await MeasureCommitsAsync(redis, port, writers, context.Settings.Duration, context.Report, context.Cancellation);
            await MeasureTailAsync(port, context.Report, context.Cancellation);
            await MeasureObjectsAsync(port, packs: true, context.Report, context.Cancellation);
            await MeasureObjectsAsync(port, packs: false, context.Report, context.Cancellation);
        }
        finally
        {
            redis.Kill();
            await redis.WaitForExitAsync(CancellationToken.None);
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task MeasureCommitsAsync(
        Process redis, int port, int writers, TimeSpan duration, Report report, CancellationToken cancellationToken)
    {
        await using IObjectStore store = Open(port, string.Create(CultureInfo.InvariantCulture, $"commits{writers}"));
        await store.GetRevisionAsync("pods", cancellationToken);
        var latencies = new List<double>[writers];
        var stop = Stopwatch.GetTimestamp() + (long)(duration.TotalSeconds * Stopwatch.Frequency);
        var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        redis.Refresh();
        var redisBefore = redis.TotalProcessorTime;
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var own = latencies[writer] = [];
            var key = string.Create(CultureInfo.InvariantCulture, $"ns/pod-{writer}");
            var value = Pod(key);
            long revision = 0;
            while (Stopwatch.GetTimestamp() < stop)
            {
                var start = Stopwatch.GetTimestamp();
                var result = await store.CommitAsync(new Commit { Resource = "pods", Key = key, Value = value, ExpectedRevision = revision }, cancellationToken);
                own.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                if (result.Outcome != CommitOutcome.Committed)
                    throw new InvalidOperationException($"A commit ended with {result}.");
                revision = result.Revision;
            }
        }, cancellationToken)));
        var elapsed = clock.Elapsed;
        var cpu = Process.GetCurrentProcess().TotalProcessorTime - cpuBefore;
        redis.Refresh();
        var redisCpu = redis.TotalProcessorTime - redisBefore;
        double[] all = [.. latencies.SelectMany(l => l).Order()];
        (string, JsonNode)[] parameters = [("appendfsync", "always"), ("writers", writers)];
        report.Add("rate", all.Length / elapsed.TotalSeconds, "commits/s", null, parameters);
        report.Add("cpu", cpu.TotalMicroseconds / all.Length, "us/commit", null, parameters);
        report.Add("redis-cpu", redisCpu.TotalMicroseconds / all.Length, "us/commit", null, parameters);
        report.Add("p50", all[all.Length / 2], "ms", null, parameters);
        report.Add("p99", all[all.Length * 99 / 100], "ms", null, parameters);
    }

    private static async Task MeasureTailAsync(int port, Report report, CancellationToken cancellationToken)
    {
        const int samples = 2000;
        await using IObjectStore writing = Open(port, "tail");
        await using IObjectStore tailing = Open(port, "tail");
        var called = new long[samples + 1];
        var seen = new long[samples + 1];
        var tail = Task.Run(async () =>
        {
            long after = 0;
            while (after < samples)
            {
                foreach (var change in await tailing.ReadChangesAsync("pods", after, 1000, TimeSpan.FromSeconds(10), cancellationToken))
                {
                    seen[change.Revision] = Stopwatch.GetTimestamp();
                    after = change.Revision;
                }
            }
        }, cancellationToken);
        var value = Pod("ns/pod");
        for (var i = 1; i <= samples; i++)
        {
            called[i] = Stopwatch.GetTimestamp();
            await writing.CommitAsync(new Commit { Resource = "pods", Key = "ns/pod", Value = value, ExpectedRevision = i - 1 }, cancellationToken);
        }
        await tail;
        double[] latencies = [.. Enumerable.Range(1, samples).Select(i => Stopwatch.GetElapsedTime(called[i], seen[i]).TotalMilliseconds).Order()];
        report.Add("tail-p50", latencies[samples / 2], "ms", null, ("from", "commit called, other connection"));
        report.Add("tail-p99", latencies[samples * 99 / 100], "ms", null, ("from", "commit called, other connection"));
    }

    /// <summary>Values that cannot be packed are random bytes of the same length.</summary>
    private static async Task MeasureObjectsAsync(int port, bool packs, Report report, CancellationToken cancellationToken)
    {
        await using IObjectStore store = Open(port, packs ? "packed" : "plain");
        var before = await MemoryAsync(port, cancellationToken);
        var clock = Stopwatch.StartNew();
        long bytes = 0;
        Commit[] commits = [.. Enumerable.Range(0, Objects).Select(i =>
        {
            var key = string.Create(CultureInfo.InvariantCulture, $"namespace-{i % 50}/deployment-{i % 400}-5d89d5c9f-{i:x5}");
            var value = Pod(key);
            if (!packs)
                Random.Shared.NextBytes(value);
            bytes += value.Length;
            return new Commit { Resource = "pods", Key = key, Value = value, ExpectedRevision = 0 };
        })];
        clock.Restart();
        await Task.WhenAll(commits.Chunk(Objects / 8).Select(async part => await store.CommitAsync(part, cancellationToken)));
        report.Add("fill", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", Objects), ("packed", packs));
        var json = Math.Round((double)bytes / Objects);
        report.Add("object-in-redis", (await MemoryAsync(port, cancellationToken) - before) / (double)Objects, "bytes", null, ("json", json), ("packed", packs), ("log", "whole"));
        await store.CompactAsync("pods", long.MaxValue, cancellationToken);
        report.Add("object-in-redis", (await MemoryAsync(port, cancellationToken) - before) / (double)Objects, "bytes", null, ("json", json), ("packed", packs), ("log", "compacted"));
        clock.Restart();
        var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        var snapshot = await store.GetSnapshotAsync("pods", cancellationToken);
        report.Add("snapshot", clock.Elapsed.TotalMilliseconds, "ms", null, ("objects", snapshot.Objects.Count), ("packed", packs));
        report.Add("snapshot-cpu", (Process.GetCurrentProcess().TotalProcessorTime - cpuBefore).TotalMilliseconds, "ms", null, ("objects", snapshot.Objects.Count), ("packed", packs));
    }

    private static RedisObjectStore Open(int port, string prefix) => RedisObjectStore.Create(
        new RedisStoreOptions { ConnectionString = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{port}"), KeyPrefix = prefix },
        TimeProvider.System, Random.Shared, NullLogger<RedisObjectStore>.Instance);

    /// <summary>A pod as a Deployment makes it: about as long and as repetitive as a real one.</summary>
    private static byte[] Pod(string key)
    {
        var parts = key.Split('/');
        return Encoding.UTF8.GetBytes(
            $$$"""{"kind":"Pod","apiVersion":"v1","metadata":{"name":"{{{parts[1]}}}","generateName":"web-5d89d5c9f-","namespace":"{{{parts[0]}}}","uid":"{{{Guid.NewGuid()}}}","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app":"web","pod-template-hash":"5d89d5c9f"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d89d5c9f","uid":"{{{Guid.NewGuid()}}}","controller":true,"blockOwnerDeletion":true}]},"spec":{"volumes":[{"name":"kube-api-access-x7k2p","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[{"name":"web","image":"nginx:1.27","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"100m","memory":"64Mi"}},"volumeMounts":[{"name":"kube-api-access-x7k2p","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","nodeName":"node-{{{parts[1].Length % 7}}}","schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"}],"qosClass":"Burstable"}}""");
    }

    private static Process StartRedis(int port, string folder)
    {
        var start = new ProcessStartInfo("redis-server") { RedirectStandardOutput = true, UseShellExecute = false };
        foreach (var argument in (string[])
            ["--port", port.ToString(CultureInfo.InvariantCulture), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        {
            start.ArgumentList.Add(argument);
        }
        var process = Process.Start(start) ?? throw new InvalidOperationException("redis-server did not start.");
        process.OutputDataReceived += static (_, _) => { };
        process.BeginOutputReadLine();
        return process;
    }

    private static async Task WaitAsync(int port, CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                if ((await CommandAsync(port, "PING", cancellationToken)).StartsWith('+'))
                    return;
            }
            catch (SocketException)
            {
                // Not yet.
            }
            await Task.Delay(20, cancellationToken);
        }
    }

    private static async Task<long> MemoryAsync(int port, CancellationToken cancellationToken)
    {
        const string field = "used_memory_dataset:";
        var info = await CommandAsync(port, "INFO memory", cancellationToken);
        var at = info.IndexOf(field, StringComparison.Ordinal) + field.Length;
        return long.Parse(info.AsSpan(at, info.IndexOf('\r', at) - at), CultureInfo.InvariantCulture);
    }

    private static async Task<string> CommandAsync(int port, string command, CancellationToken cancellationToken)
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync("127.0.0.1", port, cancellationToken);
        await socket.SendAsync(Encoding.ASCII.GetBytes(command + "\r\n"), cancellationToken);
        var buffer = new byte[16 << 10];
        return Encoding.ASCII.GetString(buffer, 0, await socket.ReceiveAsync(buffer, cancellationToken));
    }

    private static int FreePort()
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 0));
        return ((System.Net.IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
