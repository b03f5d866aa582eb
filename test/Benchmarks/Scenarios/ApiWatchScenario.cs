using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Diagnostics;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>Many watchers of one namespace while its objects change: how many events reach them, and how late.</summary>
internal sealed class ApiWatchScenario : IScenario
{
    private const int Watchers = 100;
    private const int Objects = 100;
    private const int Writers = 8;

    /// <summary>Watchers whose events are timed; the others only count, so that the load generator stays light.</summary>
    private const int Timed = 3;

    public string Name => "api-watch";

    public string Description => "100 watchers of 100 changing config maps: events per second and lag";

    public async Task RunAsync(BenchmarkContext context)
    {
        await using var server = await context.StartServerAsync();
        using var client = context.Connect(server);
        const string path = "/api/v1/namespaces/default/configmaps";
        var stored = new byte[Objects][];
        await client.RunAsync(
            16, null, Objects,
            async (i, token) => stored[i] = Bodies.WithoutRevision(await client.SendAsync(HttpMethod.Post, path, Bodies.ConfigMap($"watched-{i}"), token)),
            context.Cancellation);

        // Warm both paths before anything counts.
        await client.RunAsync(8, TimeSpan.FromSeconds(1), int.MaxValue, (i, token) => PutAsync(client, stored, i, token), context.Cancellation);

        var list = await client.SendAsync(HttpMethod.Get, path + "?labelSelector=app%3Dbench", null, context.Cancellation);
        var revision = System.Text.Json.Nodes.JsonNode.Parse(list)!["metadata"]!["resourceVersion"]!.ToString();
        using var watching = context.Connect(server);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.Cancellation);
        var sent = new ConcurrentDictionary<int, long>();
        var counts = new long[Watchers];
        var lags = new List<double>[Timed];
        var connected = new CountdownEvent(Watchers);
        var readers = Enumerable.Range(0, Watchers).Select(w => Task.Run(
            () => WatchAsync(watching, $"{path}?watch=true&labelSelector=app%3Dbench&resourceVersion={revision}", w, counts, sent, lags, connected, stop.Token), stop.Token)).ToArray();
        await Task.Run(() => connected.Wait(TimeSpan.FromSeconds(30)), context.Cancellation);

        var cpu = server.CpuTime;
        var begin = Stopwatch.GetTimestamp();
        var writes = await client.RunAsync(
            Writers, context.Settings.Duration, int.MaxValue,
            async (i, token) =>
            {
                sent[i] = Stopwatch.GetTimestamp();
                await PutAsync(client, stored, i, token);
            },
            context.Cancellation);
        var wanted = (long)writes.Count * Watchers;
        while (counts.Sum() < wanted && Stopwatch.GetElapsedTime(begin) < context.Settings.Duration + TimeSpan.FromSeconds(30))
            await Task.Delay(2, context.Cancellation);
        var elapsed = Stopwatch.GetElapsedTime(begin);
        var serverCpu = server.CpuTime - cpu;
        await stop.CancelAsync();
        await Task.WhenAll(readers);
        connected.Dispose();

        var got = counts.Sum();
        double[] lag = [.. lags.SelectMany(l => l).Order()];
        context.Report.Add("events", got / elapsed.TotalSeconds, "events/s", new Peer(47_000, HigherIsBetter: true), ("watchers", Watchers), ("writers", Writers));
        context.Report.Add("writes", writes.Rate, "requests/s", null, ("watchers", Watchers), ("writers", Writers));
        context.Report.Add("missed", wanted - got, "events", null, ("watchers", Watchers));
        context.Report.Add("lag-p50", lag.Length == 0 ? 0 : lag[lag.Length / 2], "ms", null, ("watchers", Watchers), ("from", "request sent"));
        context.Report.Add("lag-p99", lag.Length == 0 ? 0 : lag[lag.Length * 99 / 100], "ms", null, ("watchers", Watchers), ("from", "request sent"));
        context.Report.Add("server-cpu", serverCpu.TotalMicroseconds / got, "us/event", null, ("watchers", Watchers), ("includes", "the writes"));
    }

    private static Task PutAsync(LoadClient client, byte[][] stored, int i, CancellationToken token) => client.SendAsync(
        HttpMethod.Put, $"/api/v1/namespaces/default/configmaps/watched-{i % Objects}", Bodies.WithCounter(stored[i % Objects], i), token);

    private static async Task WatchAsync(
        LoadClient client, string path, int watcher, long[] counts, ConcurrentDictionary<int, long> sent, List<double>[] lags, CountdownEvent connected,
        CancellationToken cancellationToken)
    {
        var own = new List<double>();
        if (watcher < Timed)
            lags[watcher] = own;
        try
        {
            using var response = await client.StreamAsync(path, cancellationToken);
            response.EnsureSuccessStatusCode();
            connected.Signal();
            await using var stream = await response.Content.ReadAsStreamAsync(cancellationToken);
            var buffer = new byte[64 * 1024];
            var kept = 0;
            while (true)
            {
                var read = await stream.ReadAsync(buffer.AsMemory(kept), cancellationToken);
                if (read == 0)
                    return;
                var now = Stopwatch.GetTimestamp();
                var filled = kept + read;
                var rest = buffer.AsSpan(0, filled);
                while (rest.IndexOf((byte)'\n') is var end and >= 0)
                {
                    if (watcher < Timed && Counter(rest[..end]) is { } number && sent.TryGetValue(number, out var at))
                        own.Add(Stopwatch.GetElapsedTime(at, now).TotalMilliseconds);
                    Volatile.Write(ref counts[watcher], counts[watcher] + 1);
                    rest = rest[(end + 1)..];
                }
                kept = rest.Length;
                rest.CopyTo(buffer);
            }
        }
        catch (OperationCanceledException)
        {
            // The measurement is over.
        }
    }

    private static int? Counter(ReadOnlySpan<byte> line)
    {
        var at = line.IndexOf("bench/counter\":\""u8);
        return at >= 0 && Utf8Parser.TryParse(line.Slice(at + "bench/counter\":\""u8.Length, 8), out int number, out _) ? number : null;
    }
}
