namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>Create, get, update and delete of config maps and pods over HTTPS at several numbers of concurrent callers.</summary>
internal sealed class ApiCrudScenario : IScenario
{
    private static readonly int[] Callers = [1, 16, 64];

    // Requests per second of the peer at 1, 16 and 64 callers; 0: not measured.
    private static readonly Dictionary<(string Resource, string Verb), double[]> Peers = new()
    {
        [("configmaps", "create")] = [377, 958, 1021],
        [("configmaps", "get")] = [631, 1988, 1877],
        [("configmaps", "update")] = [331, 841, 923],
        [("pods", "create")] = [189, 549, 740],
        [("pods", "update")] = [187, 413, 488],
        [("pods", "delete")] = [138, 318, 517],
    };

    /// <summary>The peer's p99 of a config map's creation at 64 callers, ms.</summary>
    private const double PeerCreateP99 = 148;

    public string Name => "api-crud";

    public string Description => "create, get, update, delete of ConfigMaps and Pods at 1, 16 and 64 callers over HTTPS";

    public async Task RunAsync(BenchmarkContext context)
    {
        foreach (var resource in (string[])["configmaps", "pods"])
        {
            await using var server = await context.StartServerAsync();
            using var client = context.Connect(server);
            // The first requests compile the server's code; they belong to `startup`, not here.
            await RunAsync(context, client, resource, "warm", 16, TimeSpan.FromSeconds(Math.Max(2, context.Settings.Duration.TotalSeconds)), report: false);
            for (var i = 0; i < Callers.Length; i++)
                await RunAsync(context, client, resource, $"c{Callers[i]}", Callers[i], context.Settings.Duration, report: true);
        }
    }

    private static async Task RunAsync(
        BenchmarkContext context, LoadClient client, string resource, string prefix, int callers, TimeSpan duration, bool report)
    {
        var path = $"/api/v1/namespaces/default/{resource}";
        const int most = 200_000;
        var stored = new byte[most][];
        var made = await client.RunAsync(
            callers, duration, most,
            async (i, token) => stored[i] = await client.SendAsync(HttpMethod.Post, path, Body(resource, $"{prefix}-{i}"), token), context.Cancellation);
        var got = await client.RunAsync(
            callers, duration, most, (i, token) => client.SendAsync(HttpMethod.Get, $"{path}/{prefix}-{i % made.Count}", null, token), context.Cancellation);
        for (var i = 0; i < made.Count; i++)
            stored[i] = Bodies.WithoutRevision(stored[i]);
        var updated = await client.RunAsync(
            callers, duration, most,
            (i, token) => client.SendAsync(HttpMethod.Put, $"{path}/{prefix}-{i % made.Count}", Bodies.WithCounter(stored[i % made.Count], i + 1), token),
            context.Cancellation);
        var deleted = await client.RunAsync(
            callers, null, made.Count, (i, token) => client.SendAsync(HttpMethod.Delete, $"{path}/{prefix}-{i}", null, token), context.Cancellation);
        if (!report)
            return;
        foreach (var (verb, result) in ((string, LoadResult)[])[("create", made), ("get", got), ("update", updated), ("delete", deleted)])
            Tell(context, client, resource, verb, callers, result);
    }

    private static void Tell(BenchmarkContext context, LoadClient client, string resource, string verb, int callers, LoadResult result)
    {
        (string, System.Text.Json.Nodes.JsonNode)[] parameters = [("resource", resource), ("verb", verb), ("callers", callers), ("http", client.Http2 ? "2" : "1.1")];
        var peer = Peers.TryGetValue((resource, verb), out var figures) ? new Peer(figures[Array.IndexOf(Callers, callers)], HigherIsBetter: true) : null;
        context.Report.Add("rate", result.Rate, "requests/s", peer, parameters);
        context.Report.Add("p50", result.P50, "ms", null, parameters);
        context.Report.Add(
            "p99", result.P99, "ms", (resource, verb, callers) is ("configmaps", "create", 64) ? new Peer(PeerCreateP99, HigherIsBetter: false) : null, parameters);
        context.Report.Add("server-cpu", result.ServerCpuEach, "us/request", null, parameters);
        context.Report.Add("client-cpu", result.ClientCpuEach, "us/request", null, parameters);
    }

    private static byte[] Body(string resource, string name) => resource == "pods" ? Bodies.Pod(name) : Bodies.ConfigMap(name);
}
