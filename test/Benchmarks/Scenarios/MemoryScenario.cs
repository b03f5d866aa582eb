using System.Globalization;
using System.Text;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>What the process takes: idle, and with many pods.</summary>
internal sealed class MemoryScenario : IScenario
{
    private const int DefaultPods = 10_000;

    /// <summary>Resident memory of the peer's four processes, MiB: idle.</summary>
    private const double PeerIdle = 468;

    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(5);

    public string Name => "memory";

    public string Description => "resident memory and GC heap of the server: idle, and with 10,000 pods";

    public async Task RunAsync(BenchmarkContext context)
    {
        var pods = context.Settings.Pods ?? DefaultPods;
        await using var server = await context.StartServerAsync();
        using var client = context.Connect(server);
        await Task.Delay(Settle, context.Cancellation);
        await TellAsync(context, server, client, 0, new Peer(PeerIdle, HigherIsBetter: false));
        await client.RunAsync(
            64, null, pods, (i, token) => client.SendAsync(HttpMethod.Post, "/api/v1/namespaces/default/pods", Bodies.Pod($"pod-{i}"), token), context.Cancellation);
        await Task.Delay(Settle, context.Cancellation);
        await TellAsync(context, server, client, pods, null);
        context.Report.Add("peak", server.PeakMiB, "MiB", null, ("pods", pods));
    }

    private static async Task TellAsync(BenchmarkContext context, ServerProcess server, LoadClient client, int pods, Peer? peer)
    {
        context.Report.Add("resident", server.ResidentMiB, "MiB", peer, ("pods", pods));
        var metrics = Encoding.UTF8.GetString(await client.SendAsync(HttpMethod.Get, "/metrics", null, context.Cancellation));
        const string heap = "dotnet_gc_heap_bytes ";
        if (metrics.Split('\n').FirstOrDefault(l => l.StartsWith(heap, StringComparison.Ordinal)) is { } line)
            context.Report.Add("gc-heap", double.Parse(line[heap.Length..], CultureInfo.InvariantCulture) / (1 << 20), "MiB", null, ("pods", pods));
    }
}
