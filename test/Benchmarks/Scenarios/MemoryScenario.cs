using System.Globalization;
using System.Text;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>What the process takes: idle, and with many pods.</summary>
internal sealed class MemoryScenario : IScenario
{
    private const int DefaultPods = 10_000;

    /// <summary>Resident memory of the peer's four processes, MiB: idle.</summary>
    private const double PeerIdle = 468;

    /// <summary>The same with 10,000 pods: the low end of what was measured (1.2 to 2.1 GiB).</summary>
    private const double PeerWithPods = 1229;

    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(15);

    /// <summary>Until the objects' grains have been idle long enough to be collected, and their memory has been given back.</summary>
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(105);

    public string Name => "memory";

    public string Description => "resident memory and GC heap of the server: idle, with 10,000 pods just made, and two minutes later";

    public async Task RunAsync(BenchmarkContext context)
    {
        var pods = context.Settings.Pods ?? DefaultPods;
        await using var server = await context.StartServerAsync();
        using var client = context.Connect(server);
        await Task.Delay(Settle, context.Cancellation);
        await TellAsync(context, server, client, 0, new Peer(PeerIdle, HigherIsBetter: false), "idle");
        await client.RunAsync(
            64, null, pods, (i, token) => client.SendAsync(HttpMethod.Post, "/api/v1/namespaces/default/pods", Bodies.Pod($"pod-{i}"), token), context.Cancellation);
        await Task.Delay(Settle, context.Cancellation);
        await TellAsync(context, server, client, pods, pods == DefaultPods ? new Peer(PeerWithPods, HigherIsBetter: false) : null);
        await Task.Delay(Idle, context.Cancellation);
        await TellAsync(context, server, client, pods, pods == DefaultPods ? new Peer(PeerWithPods, HigherIsBetter: false) : null, "idle for 2 min");
        context.Report.Add("peak", server.PeakMiB, "MiB", null, ("pods", pods));
    }

    private static async Task TellAsync(BenchmarkContext context, ServerProcess server, LoadClient client, int pods, Peer? peer, string state = "just made")
    {
        context.Report.Add("resident", server.ResidentMiB, "MiB", peer, ("pods", pods), ("state", state));
        var metrics = Encoding.UTF8.GetString(await client.SendAsync(HttpMethod.Get, "/metrics", null, context.Cancellation));
        const string heap = "dotnet_gc_heap_bytes ";
        if (metrics.Split('\n').FirstOrDefault(l => l.StartsWith(heap, StringComparison.Ordinal)) is { } line)
            context.Report.Add("gc-heap", double.Parse(line[heap.Length..], CultureInfo.InvariantCulture) / (1 << 20), "MiB", null, ("pods", pods), ("state", state));
    }
}
