using System.Globalization;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Workloads;

/// <summary>
/// Several clients through all API servers: ConfigMaps created, replaced, patched in all three ways, deleted, read and listed; pods created, patched
/// and deleted; replication controllers scaled; followers of everything. The seed fixes every client's decisions.
/// </summary>
internal sealed class ApiWorkload(IReadOnlyList<ApiEndpoint> endpoints, History history, int seed)
{
    public const string Prefix = "faults-";
    public static readonly IReadOnlyList<string> Namespaces = [Prefix + "a", Prefix + "b"];
    public static readonly IReadOnlyList<string> Controllers = [Prefix + "a/web", Prefix + "a/api", Prefix + "b/web"];
    public static readonly IReadOnlyList<string> Followed = ["configmaps", "pods", "replicationcontrollers", "nodes", "endpoints"];
    private const int Maps = 4;
    private const int Pods = 3;
    private readonly List<ApiFollower> _followers = [];

    public IReadOnlyList<ApiFollower> Followers => _followers;

    /// <summary>How much of a node's cpu a pod asks for.</summary>
    public required string PodCpu { get; init; }

    /// <summary>Longest pause of a client between two operations.</summary>
    public int MaxPauseMs { get; init; } = 60;

    /// <summary>Namespaces, services and replication controllers.</summary>
    public async Task PrepareAsync(CancellationToken cancellation)
    {
        history.Owned.Add("configmaps");
        history.OwnedPrefix = Prefix;
        var client = new ApiClient(0, endpoints, history);
        foreach (var ns in Namespaces)
        {
            await MustAsync(client.CreateAsync(endpoints[0], "namespaces", ns, $$"""{"metadata":{"name":"{{ns}}"} }""", Change.Create(), cancellation));
        }
        foreach (var key in Controllers)
        {
            var (ns, name) = Split(key);
            await MustAsync(client.CreateAsync(
                endpoints[0], "services", key, $$"""{"metadata":{"name":"{{name}}","namespace":"{{ns}}"},"spec":{"selector":{"app":"{{name}}"},"ports":[{"port":80}]} }""",
                Change.Create(), cancellation));
            await MustAsync(client.CreateAsync(
                endpoints[0], "replicationcontrollers", key,
                $$"""
                {"metadata":{"name":"{{name}}","namespace":"{{ns}}"},"spec":{"replicas":2,"selector":{"app":"{{name}}"},"template":{"metadata":{"labels":{"app":"{{name}}"} },"spec":{{PodSpec}} } } }
                """,
                Change.Create(("replicas", "2")), cancellation));
        }
    }

    /// <summary>Starts the followers and waits for their first lists.</summary>
    public List<Task> Follow(CancellationToken cancellation)
    {
        var number = 100;
        // One of everything per server choice, and one that looks at a single namespace.
        foreach (var (resource, ns) in Followed.Select(r => (r, "")).Concat([("configmaps", ""), ("configmaps", Namespaces[0]), ("pods", Namespaces[0])]))
        {
            number++;
            _followers.Add(new ApiFollower(new ApiClient(number, endpoints, history), endpoints, history, resource, ns, new Random((seed * 31) + number)));
        }
        return [.. _followers.Select(f => Task.Run(() => f.RunAsync(cancellation), CancellationToken.None))];
    }

    /// <summary>Runs clients until told to stop.</summary>
    public Task RunAsync(int clients, CancellationToken stop) =>
        Task.WhenAll(Enumerable.Range(1, clients).Select(c => Task.Run(() => ClientAsync(new ApiClient(c, endpoints, history), new Random((seed * 31) + c), stop), CancellationToken.None)));

    private string PodSpec =>
        $$$"""{"terminationGracePeriodSeconds":1,"containers":[{"name":"main","image":"busybox:1.36","resources":{"requests":{"cpu":"{{{PodCpu}}}"} } }]}""";

    private async Task ClientAsync(ApiClient client, Random random, CancellationToken stop)
    {
        try
        {
            while (!stop.IsCancellationRequested)
            {
                // Requests are not cut short by the end of the run: their outcome would be unknown for no reason.
                await StepAsync(client, random);
                await Task.Delay(random.Next(MaxPauseMs), stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The run is over.
        }
    }

    private Task StepAsync(ApiClient client, Random random)
    {
        var to = client.Endpoint(random);
        var map = $"{Namespaces[random.Next(Namespaces.Count)]}/m{random.Next(Maps)}";
        return random.Next(100) switch
        {
            < 12 => client.GetAsync(to, "configmaps", map, anyState: false, CancellationToken.None),
            < 15 => client.GetAsync(to, "configmaps", map, anyState: true, CancellationToken.None),
            < 20 => client.ListAsync(to, "configmaps", random.Next(2) == 0 ? "" : Namespaces[random.Next(Namespaces.Count)], CancellationToken.None, anyState: random.Next(4) == 0),
            < 22 => client.ListAsync(to, "pods", "", CancellationToken.None),
            < 85 => MapAsync(client, to, map, random),
            < 95 => PodAsync(client, to, $"{Namespaces[random.Next(Namespaces.Count)]}/p{random.Next(Pods)}", random),
            _ => ScaleAsync(client, to, Controllers[random.Next(Controllers.Count)], random),
        };
    }

    private async Task MapAsync(ApiClient client, ApiEndpoint to, string key, Random random)
    {
        var token = string.Create(CultureInfo.InvariantCulture, $"t{history.NextId()}");
        var (ns, name) = Split(key);
        var mine = $"c{client.Id}";
        switch (random.Next(9))
        {
            case 0 or 1:
                await client.CreateAsync(
                    to, "configmaps", key, $$"""{"metadata":{"name":"{{name}}","namespace":"{{ns}}"},"data":{"v":"{{token}}"} }""", Change.Create(("v", token)), CancellationToken.None);
                break;
            case 2:
                await client.UpdateAsync(
                    to, "configmaps", key, $$"""{"metadata":{"name":"{{name}}","namespace":"{{ns}}"},"data":{"v":"{{token}}"} }""", Change.Replace(("v", token)), null,
                    CancellationToken.None);
                break;
            case 3 or 4:
                if ((await client.GetAsync(to, "configmaps", key, anyState: false, CancellationToken.None)).Answer is { } seen)
                {
                    var body = $$"""{"metadata":{"name":"{{name}}","namespace":"{{ns}}","resourceVersion":"{{seen.Revision}}"},"data":{"v":"{{token}}"} }""";
                    // Another server than the one that was read from.
                    await client.UpdateAsync(client.Endpoint(random), "configmaps", key, body, Change.Replace(("v", token)), seen.Revision, CancellationToken.None);
                }
                break;
            case 5:
                await client.PatchAsync(to, "configmaps", key, "merge", $$$"""{"data":{"{{{mine}}}":"{{{token}}}"}}""", Change.Merge((mine, token)), null, CancellationToken.None);
                break;
            case 6:
                await client.PatchAsync(
                    to, "configmaps", key, "strategic-merge", $$$"""{"data":{"{{{mine}}}":"{{{token}}}","v":null}}""", Change.Merge((mine, token), ("v", null)), null, CancellationToken.None);
                break;
            case 7:
                await client.PatchAsync(
                    to, "configmaps", key, "json", $$"""[{"op":"add","path":"/data/{{mine}}","value":"{{token}}"}]""", Change.Merge((mine, token)), null, CancellationToken.None);
                break;
            default:
                await client.DeleteAsync(to, "configmaps", key, "{}", CancellationToken.None);
                break;
        }
    }

    private async Task PodAsync(ApiClient client, ApiEndpoint to, string key, Random random)
    {
        var token = string.Create(CultureInfo.InvariantCulture, $"t{history.NextId()}");
        var (ns, name) = Split(key);
        switch (random.Next(4))
        {
            case 0 or 1:
                await client.CreateAsync(
                    to, "pods", key,
                    $$"""{"metadata":{"name":"{{name}}","namespace":"{{ns}}","annotations":{"{{ApiObjects.Prefix}}v":"{{token}}"} },"spec":{{PodSpec}} }""",
                    Change.Create(("v", token)), CancellationToken.None);
                break;
            case 2:
                await client.PatchAsync(
                    to, "pods", key, "merge", $$$"""{"metadata":{"annotations":{"{{{ApiObjects.Prefix}}}c{{{client.Id}}}":"{{{token}}}"} } }""",
                    Change.Merge(($"c{client.Id}", token)), null, CancellationToken.None);
                break;
            default:
                await client.DeleteAsync(to, "pods", key, """{"gracePeriodSeconds":1}""", CancellationToken.None);
                break;
        }
    }

    private Task<Operation> ScaleAsync(ApiClient client, ApiEndpoint to, string key, Random random)
    {
        var token = string.Create(CultureInfo.InvariantCulture, $"t{history.NextId()}");
        var replicas = random.Next(5).ToString(CultureInfo.InvariantCulture);
        return client.PatchAsync(
            to, "replicationcontrollers", key, "merge",
            $$$"""{"metadata":{"annotations":{"{{{ApiObjects.Prefix}}}c{{{client.Id}}}":"{{{token}}}"} },"spec":{"replicas":{{{replicas}}} } }""",
            Change.Merge(($"c{client.Id}", token), ("replicas", replicas)), null, CancellationToken.None);
    }

    private static (string Namespace, string Name) Split(string key)
    {
        var slash = key.IndexOf('/', StringComparison.Ordinal);
        return (key[..slash], key[(slash + 1)..]);
    }

    private static async Task MustAsync(Task<Operation> doing)
    {
        var operation = await doing;
        if (operation.Outcome != Outcome.Ok)
            throw new InvalidOperationException($"Preparing the run failed: {operation}");
    }
}
