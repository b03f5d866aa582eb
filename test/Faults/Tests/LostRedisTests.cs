using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;
using OrleansCluster.Faults.Nemesis;

namespace OrleansCluster.Faults.Tests;

/// <summary>Redis comes back empty: what the processes remember must not be mistaken for what is stored.</summary>
public sealed class LostRedisTests
{
    private const string ConfigMaps = "api/v1/namespaces/default/configmaps";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>
    /// Redis loses everything it had (FLUSHALL, no file). The silos find each other again by themselves and begin a new epoch; what the API servers and node agents
    /// make at their start (namespaces, nodes) is there again when they are started again. Bringing the data back is the restore of docs/operations.md.
    /// </summary>
    [Fact]
    public async Task Everything_in_Redis_is_lost_and_the_silos_begin_anew_by_themselves()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 2, apiServers: 1, kubelets: 1);
        var table = Assert.Single(await RedisAsync(cluster, "KEYS", "*members*"));
        var rows = await RowsAsync(cluster, table);
        await CreateAsync(cluster, "before");

        Assert.Equal(["OK"], await RedisAsync(cluster, "FLUSHALL"));
        var lost = Stopwatch.GetTimestamp();
        await Eventually.TrueAsync("both rows are back", async _ => (await RowsAsync(cluster, table)).SetEquals(rows), TimeSpan.FromSeconds(60));
        Say($"both silos were in the table again after {Stopwatch.GetElapsedTime(lost).TotalSeconds:0.0} s");
        foreach (var role in (RoleProcess[])[.. cluster.ApiServers, .. cluster.Kubelets])
        {
            await role.StopAsync(TimeSpan.FromSeconds(20));
            role.Start();
        }
        await cluster.WaitReadyAsync();
        await CreateAsync(cluster, "after");
        Say($"the cluster was ready again after {Stopwatch.GetElapsedTime(lost).TotalSeconds:0.0} s");
        var list = await cluster.Endpoints[0].Http.GetFromJsonAsync<JsonNode>(new Uri(ConfigMaps, UriKind.Relative), Cancellation);
        var names = list!["items"]!.AsArray().Select(i => (string)i!["metadata"]!["name"]!).ToArray();
        Assert.Contains("after", names);
        Assert.DoesNotContain("before", names);
        Assert.All(cluster.Silos, r => Assert.Equal(1, r.Starts));
    }

    private static Task CreateAsync(FaultCluster cluster, string name) => Eventually.TrueAsync(
        $"the creation of {name} is accepted",
        async token =>
        {
            using var answer = await cluster.Endpoints[0].Http.PostAsJsonAsync(
                new Uri(ConfigMaps, UriKind.Relative), new JsonObject { ["metadata"] = new JsonObject { ["name"] = name } }, token);
            return answer.IsSuccessStatusCode ? true : throw new InvalidOperationException(await answer.Content.ReadAsStringAsync(token));
        },
        TimeSpan.FromSeconds(60));

    // The provider's hash has a field for each silo, and one for the version.
    private static async Task<HashSet<string>> RowsAsync(FaultCluster cluster, string table) => [.. (await RedisAsync(cluster, "HKEYS", table)).Where(f => f != "Version")];

    private static async Task<string[]> RedisAsync(FaultCluster cluster, params string[] command)
    {
        var answer = (await Command.RunAsync("redis-cli", ["-p", $"{cluster.Redis.Ports[0]}", .. command], cancellation: Cancellation)).OrFail();
        return answer.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    private static void Say(string text) => TestContext.Current.TestOutputHelper?.WriteLine(text);
}
