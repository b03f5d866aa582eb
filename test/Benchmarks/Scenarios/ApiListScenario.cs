namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>A list of all pods as JSON, by one caller.</summary>
internal sealed class ApiListScenario : IScenario
{
    private const int Repeats = 11;

    public string Name => "api-list";

    public string Description => "LIST of 5,000 and 20,000 pods as JSON, one caller";

    public async Task RunAsync(BenchmarkContext context)
    {
        await using var server = await context.StartServerAsync();
        using var client = context.Connect(server);
        var there = 0;
        foreach (var (count, peer) in context.Settings.Pods is { } pods ? [(pods, 0.0)] : ((int, double)[])[(5_000, 156), (20_000, 729)])
        {
            var first = there;
            await client.RunAsync(
                64, null, count - first,
                (i, token) => client.SendAsync(HttpMethod.Post, "/api/v1/namespaces/default/pods", Bodies.Pod($"pod-{first + i}"), token), context.Cancellation);
            there = count;
            long bytes = 0;
            await client.SendAsync(HttpMethod.Get, "/api/v1/pods", null, context.Cancellation);
            var result = await client.RunAsync(
                1, null, Repeats,
                async (_, token) => bytes = (await client.SendAsync(HttpMethod.Get, "/api/v1/pods", null, token)).LongLength, context.Cancellation);
            context.Report.Add("p50", result.P50, "ms", peer == 0 ? null : new Peer(peer, HigherIsBetter: false), ("pods", count));
            context.Report.Add("size", bytes / 1e6, "MB", null, ("pods", count));
            context.Report.Add("server-cpu", result.ServerCpuEach / 1000, "ms/request", null, ("pods", count));
        }
    }
}
