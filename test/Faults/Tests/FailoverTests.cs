using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.EndToEnd.Harness;
using OrleansCluster.Faults.Nemesis;
using OrleansCluster.Faults.Workloads;
using OrleansCluster.Storage;

namespace OrleansCluster.Faults.Tests;

/// <summary>What a cluster of processes does by itself when one of them, or all of a kind, end; the figures of docs/operations.md are said here.</summary>
public sealed class FailoverTests
{
    private const string ConfigMaps = "api/v1/namespaces/default/configmaps";
    private const string Pods = "api/v1/namespaces/default/pods";
    private const string Controllers = "api/v1/namespaces/default/replicationcontrollers";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_killed_silo_is_replaced_within_seconds()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 2, apiServers: 2, kubelets: 2);
        await SendAsync(cluster, HttpMethod.Post, Controllers, Replicas("web", 4));
        await RunningAsync(cluster, 4);

        // kill -9 of a silo.
        await using (var load = new RestLoad(cluster.Endpoints, workers: 4, mayBeUnknown: true))
        {
            await load.UntilAsync(200);
            await cluster.Silos[0].KillAsync();
            await load.UntilAsync(load.Answered + 200);
            await load.StopAsync();
            Say($"kill -9 of a silo: the slowest request took {load.Slowest.TotalSeconds:0.0} s, {load.Unknown} of unknown outcome");
            Assert.True(load.Unknown <= 4, $"{load.Unknown} requests had an unknown outcome; each of four workers has one under way when the silo dies");
            NoFailures(cluster, load);
            Assert.True(load.Slowest < TimeSpan.FromSeconds(20), $"a request took {load.Slowest}");
        }
    }

    [Fact]
    public async Task A_rolling_restart_fails_no_request()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 2, apiServers: 2, kubelets: 2);
        await SendAsync(cluster, HttpMethod.Post, Controllers, Replicas("web", 4));
        await RunningAsync(cluster, 4);
        var before = await PodNamesAsync(cluster);

        // SIGTERM and start of every silo and every API server, one after the other.
        await using (var load = new RestLoad(cluster.Endpoints, workers: 4, watches: 2))
        {
            await load.UntilAsync(100);
            foreach (var role in cluster.Silos.Concat(cluster.ApiServers))
            {
                await role.StopAsync(TimeSpan.FromSeconds(20));
                await load.UntilAsync(load.Answered + 50);
                role.Start();
                await cluster.WaitReadyAsync();
                await load.UntilAsync(load.Answered + 50);
            }
            await load.StopAsync();
            Say($"rolling restart: {load.Answered} requests, the slowest took {load.Slowest.TotalSeconds:0.0} s; {load.Events} watch events over {load.Streams} streams, {load.Relists} lists again");
            NoFailures(cluster, load);
        }
        Assert.Equal(before, await PodNamesAsync(cluster));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Without_API_servers_the_cluster_goes_on_and_on_return_they_serve_what_is()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 2, apiServers: 2, kubelets: 3);
        await SendAsync(cluster, HttpMethod.Post, Controllers, Replicas("web", 6));
        await RunningAsync(cluster, 6);
        // Accepted at the last moment, not scheduled yet.
        await SendAsync(cluster, HttpMethod.Patch, $"{Controllers}/web/scale", new JsonObject { ["spec"] = new JsonObject { ["replicas"] = 9 } });
        foreach (var server in cluster.ApiServers)
            await server.KillAsync();
        var lost = cluster.Kubelets[0];
        await lost.KillAsync();

        // Nobody can be asked but the store.
        await using (var store = Store(cluster))
        {
            await Eventually.GetAsync(
                "nine pods run, and none on the lost node",
                async token => (await store.GetSnapshotAsync("pods", token)).Objects.Select(o => JsonNode.Parse(o.Value)!).Where(IsAlive).Select(p => $"{p["spec"]!["nodeName"]} {p["status"]!["phase"]}").ToArray(),
                pods => pods.Length == 9 && pods.All(p => p.EndsWith(" Running", StringComparison.Ordinal) && !p.StartsWith("node-1 ", StringComparison.Ordinal)));
        }
        foreach (var server in cluster.ApiServers)
            server.Start();
        await Eventually.TrueAsync("an API server answers", async token => (await cluster.Endpoints[0].Http.GetAsync(new Uri("readyz", UriKind.Relative), token)).IsSuccessStatusCode);
        var pods = (await GetAsync(cluster, Pods))["items"]!.AsArray();
        var alive = pods.Where(p => IsAlive(p!)).ToArray();
        Assert.Equal(9, alive.Length);
        Assert.All(alive, p => Assert.Equal("Running", (string?)p!["status"]!["phase"]));
        Assert.All(alive, p => Assert.NotEqual("node-1", (string?)p!["spec"]!["nodeName"]));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task After_a_kill_of_everything_the_cluster_is_back_within_seconds()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 2, apiServers: 1, kubelets: 1);
        await SendAsync(cluster, HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = "kept" } });
        foreach (var role in cluster.All)
            await role.KillAsync();
        var begin = Stopwatch.GetTimestamp();
        foreach (var role in cluster.All)
            role.Start();
        await cluster.WaitReadyAsync();
        await SendAsync(cluster, HttpMethod.Patch, $"{ConfigMaps}/kept", new JsonObject { ["data"] = new JsonObject { ["a"] = "b" } });
        var took = Stopwatch.GetElapsedTime(begin);
        Say($"kill -9 of everything: a write was accepted {took.TotalSeconds:0.0} s after the start");
        Assert.True(took < TimeSpan.FromSeconds(40), $"it took {took}");
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task One_of_two_silos_comes_back_alone_after_a_kill_of_both()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 2, apiServers: 1, kubelets: 1);
        foreach (var silo in cluster.Silos)
            await silo.KillAsync();
        var begin = Stopwatch.GetTimestamp();
        cluster.Silos[0].Start(); // The other's row says Active, and nobody but this one is there to vote.
        await SendAsync(cluster, HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = "alone" } }, patience: TimeSpan.FromSeconds(60));
        Say($"one silo alone took a write {Stopwatch.GetElapsedTime(begin).TotalSeconds:0.0} s after its start");
        cluster.Silos[1].Start();
    }

    [Fact]
    public async Task While_Redis_is_away_writes_are_told_to_come_again()
    {
        await using var cluster = await FaultCluster.StartAsync(silos: 1, apiServers: 1, kubelets: 1);
        foreach (var name in (string[])["known", "other"])
            await SendAsync(cluster, HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = name } });
        var known = await GetAsync(cluster, $"{ConfigMaps}/known");

        await cluster.Redis.KillAsync();
        (HttpMethod Method, string Path, JsonNode? Body)[] writes =
        [
            (HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = "new" } }),
            (HttpMethod.Patch, $"{ConfigMaps}/known", new JsonObject { ["data"] = new JsonObject { ["a"] = "b" } }),
            (HttpMethod.Put, $"{ConfigMaps}/other", new JsonObject { ["metadata"] = new JsonObject { ["name"] = "other" }, ["data"] = new JsonObject { ["a"] = "b" } }),
            (HttpMethod.Delete, $"{ConfigMaps}/known", null),
            (HttpMethod.Delete, ConfigMaps, null),
            (HttpMethod.Post, Controllers, Replicas("web", 1)),
        ];
        await Task.WhenAll(writes.Select(async write =>
        {
            using var request = RestLoad.Request(write.Method, write.Path, write.Body);
            using var response = await cluster.Endpoints[0].Http.SendAsync(request, Cancellation);
            var text = await response.Content.ReadAsStringAsync(Cancellation);
            Assert.True(response.StatusCode is HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout, $"{write.Method} {write.Path}: {(int)response.StatusCode} {text}");
            var status = JsonNode.Parse(text)!;
            Assert.Equal(("Status", (int)response.StatusCode), ((string?)status["kind"], (int)status["code"]!));
            Assert.True((int?)status["details"]?["retryAfterSeconds"] > 0 && response.Headers.RetryAfter is not null, $"{write.Method} {write.Path}: {text}");
        }));
        cluster.Redis.Start();

        // Whoever comes again gets through, and sees what a write of unknown outcome may have left, but no mixture.
        await SendAsync(cluster, HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = "later" } });
        await cluster.WaitReadyAsync();
        var now = (await GetAsync(cluster, ConfigMaps))["items"]!.AsArray();
        var left = now.SingleOrDefault(i => (string?)i!["metadata"]!["name"] == "known");
        Assert.True(left is null || (string?)left["metadata"]!["uid"] == (string?)known["metadata"]!["uid"], $"{left}");
    }

    private static bool IsAlive(JsonNode pod) => pod["metadata"]!["deletionTimestamp"] is null;

    private static RedisObjectStore Store(FaultCluster cluster) => RedisObjectStore.Create(
        new RedisStoreOptions { ConnectionString = $"127.0.0.1:{cluster.Redis.Ports[0]}", KeyPrefix = $"oc.{cluster.Id}" }, TimeProvider.System, Random.Shared,
        NullLogger<RedisObjectStore>.Instance);

    private static void Say(string text) => TestContext.Current.TestOutputHelper?.WriteLine(text);

    /// <summary>The reasons, and the logs that may tell more: the processes are gone when somebody reads this.</summary>
    private static void NoFailures(FaultCluster cluster, RestLoad load)
    {
        if (!load.Failures.IsEmpty)
            Assert.Fail($"{load.Failures.Count} of {load.Answered} requests failed.\n{string.Join('\n', load.Failures.Take(10))}\n{cluster.Logs(30)}");
    }

    private static JsonObject Replicas(string name, int replicas) => (JsonObject)JsonNode.Parse($$"""
        {"metadata":{"name":"{{name}}"},"spec":{"replicas":{{replicas}},"selector":{"app":"{{name}}"},"template":{"metadata":{"labels":{"app":"{{name}}"} },
        "spec":{"containers":[{"name":"c","image":"busybox"}]} } } }
        """)!;

    private static Task RunningAsync(FaultCluster cluster, int count) => Eventually.TrueAsync($"{count} pods run", async _ =>
    {
        var pods = (await GetAsync(cluster, Pods))["items"]!.AsArray();
        return pods.Count == count && pods.All(p => (string?)p!["status"]?["phase"] == "Running");
    });

    private static async Task<string[]> PodNamesAsync(FaultCluster cluster) =>
        [.. (await GetAsync(cluster, Pods))["items"]!.AsArray().Select(p => (string)p!["metadata"]!["name"]!).Order(StringComparer.Ordinal)];

    private static async Task<JsonObject> GetAsync(FaultCluster cluster, string path)
    {
        using var response = await cluster.Endpoints[0].Http.GetAsync(new Uri(path, UriKind.Relative), Cancellation);
        return (JsonObject)JsonNode.Parse(await response.Content.ReadAsStringAsync(Cancellation))!;
    }

    private static Task SendAsync(FaultCluster cluster, HttpMethod method, string path, JsonObject body, TimeSpan? patience = null) =>
        Eventually.TrueAsync($"{method} {path} is accepted", async token =>
        {
            using var request = RestLoad.Request(method, path, body);
            using var response = await cluster.Endpoints[0].Http.SendAsync(request, token);
            return response.IsSuccessStatusCode ? true : throw new InvalidOperationException(await response.Content.ReadAsStringAsync(token));
        }, patience);
}
