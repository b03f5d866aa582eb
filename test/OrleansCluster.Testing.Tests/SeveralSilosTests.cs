using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using k8s;
using k8s.Models;
using Microsoft.Extensions.DependencyInjection;

namespace OrleansCluster.Testing.Tests;

/// <summary>Several silos and API servers in one process: what ends a silo, politely or not, and what the clients see of it.</summary>
public sealed class SeveralSilosTests(ITestOutputHelper output)
{
    private const string ConfigMaps = "/api/v1/namespaces/default/configmaps";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_killed_silo_costs_seconds_and_no_request_and_controllers_and_nodes_go_on()
    {
        await using var cluster = await StartAsync(silos: 2, apiServers: 2);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Replicas("web", 6), "default", cancellationToken: Cancellation);
        await RunningAsync(cluster, 6);

        await using var load = new Load(cluster, workers: 6);
        await load.UntilAsync(requests: 100);
        var killed = Stopwatch.GetTimestamp();
        await cluster.KillSiloAsync(0);
        await load.UntilAsync(requests: load.Answered + 200);
        output.WriteLine($"200 requests were answered {Stopwatch.GetElapsedTime(killed).TotalSeconds:0.0} s after the kill; the slowest took {load.Slowest.TotalSeconds:0.0} s");
        await cluster.Kubernetes.PatchNamespacedReplicationControllerScaleAsync(
            new V1Patch("""{"spec":{"replicas":9}}""", V1Patch.PatchType.MergePatch), "web", "default", cancellationToken: Cancellation);
        await RunningAsync(cluster, 9);
        await load.StopAsync();

        Assert.Empty(load.Failures);
        Assert.True(load.Slowest < TimeSpan.FromSeconds(15), $"a request took {load.Slowest}");
    }

    [Fact]
    public async Task A_rolling_restart_of_the_silos_under_load_fails_no_request_and_makes_no_pod_too_many()
    {
        await using var cluster = await StartAsync(silos: 2, apiServers: 1);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Replicas("web", 6), "default", cancellationToken: Cancellation);
        await RunningAsync(cluster, 6);
        var before = await PodNamesAsync(cluster);

        await using var load = new Load(cluster, workers: 6);
        await load.UntilAsync(requests: 100);
        for (var i = 0; i < 2; i++)
        {
            await cluster.AddSiloAsync(Cancellation);
            await load.UntilAsync(requests: load.Answered + 50);
            await cluster.StopSiloAsync(i, Cancellation);
            await load.UntilAsync(requests: load.Answered + 100);
        }
        await load.StopAsync();
        output.WriteLine($"{load.Answered} requests, the slowest took {load.Slowest.TotalSeconds:0.00} s");

        Assert.Empty(load.Failures);
        Assert.Equal(before, await PodNamesAsync(cluster));
    }

    [Fact]
    public async Task A_list_goes_on_at_another_API_server_as_if_it_were_the_first()
    {
        await using var cluster = await StartAsync(silos: 1, apiServers: 2);
        await cluster.WaitForAsync(
            async token =>
            {
                using var answer = await cluster.Http.GetAsync(new Uri(cluster.BaseAddresses[1], "/readyz"), token);
                return answer.IsSuccessStatusCode;
            },
            "the other API server is ready", cancellationToken: Cancellation);
        foreach (var name in (string[])["a", "b", "c", "d"])
            await cluster.Kubernetes.CreateNamespacedConfigMapAsync(new V1ConfigMap { Metadata = new() { Name = "page-" + name } }, "default", cancellationToken: Cancellation);
        var page = await ListAsync(0, "limit=2");
        Assert.Equal(["page-a", "page-b"], Names(page));
        await cluster.Kubernetes.DeleteNamespacedConfigMapAsync("page-c", "default", cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedConfigMapAsync(new V1ConfigMap { Metadata = new() { Name = "page-bb" } }, "default", cancellationToken: Cancellation);

        var rest = await ListAsync(1, $"limit=5&continue={page["metadata"]!["continue"]}");
        Assert.Equal(["page-c", "page-d"], Names(rest));
        Assert.Equal((string?)page["metadata"]!["resourceVersion"], (string?)rest["metadata"]!["resourceVersion"]);

        async Task<JsonNode> ListAsync(int server, string query)
        {
            var path = new Uri(cluster.BaseAddresses[server], $"{ConfigMaps}?fieldSelector=metadata.name!%3Dkube-root-ca.crt&{query}");
            return JsonNode.Parse(await cluster.Http.GetStringAsync(path, Cancellation))!;
        }

        static IEnumerable<string> Names(JsonNode list) => list["items"]!.AsArray().Select(i => (string)i!["metadata"]!["name"]!);
    }

    [Fact]
    public async Task A_lost_membership_table_is_written_again_by_the_silos_and_a_further_one_can_join()
    {
        await using var cluster = await StartAsync(silos: 2, apiServers: 1);
        cluster.ForgetMembership();
        var third = await cluster.AddSiloAsync(Cancellation);
        await cluster.WaitForAsync(
            async token =>
            {
                var hosts = await cluster.Silo(third).GetRequiredService<IGrainFactory>().GetGrain<IManagementGrain>(0).GetHosts(onlyActive: true).WaitAsync(token);
                return hosts.Count == 3;
            },
            "all three silos are members", cancellationToken: Cancellation);
        await using var load = new Load(cluster, workers: 2);
        await load.UntilAsync(requests: 50);
        await load.StopAsync();
        Assert.Empty(load.Failures);
    }

    private Task<TestCluster> StartAsync(int silos, int apiServers) => TestCluster.StartAsync(
        new TestClusterOptions
        {
            Silos = silos,
            ApiServers = apiServers,
            Nodes = 2,
            Timeout = TimeSpan.FromSeconds(60),
            ConfigureControlPlane = controlPlane =>
            {
                controlPlane.NodeHeartbeatInterval = TimeSpan.FromSeconds(1);
                controlPlane.NodeMonitorGracePeriod = TimeSpan.FromSeconds(20);
            },
            Log = line =>
            {
                if (line.StartsWith("Error", StringComparison.Ordinal) && !line.Contains("Orleans.", StringComparison.Ordinal))
                    output.WriteLine(line);
            },
        },
        Cancellation);

    private static Task<IReadOnlyList<V1Pod>> RunningAsync(TestCluster cluster, int count) => cluster.WaitForAsync<V1Pod>(
        pods => pods.Count == count && pods.All(p => p.Status.Phase == "Running"), $"{count} pods run", cancellationToken: Cancellation);

    private static async Task<string[]> PodNamesAsync(TestCluster cluster)
    {
        var pods = await cluster.Kubernetes.ListNamespacedPodAsync("default", cancellationToken: Cancellation);
        return [.. pods.Items.Select(p => p.Metadata.Name).Order(StringComparer.Ordinal)];
    }

    private static V1ReplicationController Replicas(string name, int replicas) => new()
    {
        Metadata = new V1ObjectMeta { Name = name },
        Spec = new V1ReplicationControllerSpec
        {
            Replicas = replicas,
            Selector = new Dictionary<string, string>(StringComparer.Ordinal) { ["app"] = name },
            Template = new V1PodTemplateSpec
            {
                Metadata = new V1ObjectMeta { Labels = new Dictionary<string, string>(StringComparer.Ordinal) { ["app"] = name } },
                Spec = new V1PodSpec { Containers = [new V1Container { Name = "c", Image = "busybox" }] },
            },
        },
    };

    /// <summary>Clients that create, read, patch and delete objects of their own through all API servers; every answer but the right one is a failure.</summary>
    private sealed class Load : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        private readonly Task[] _workers;
        private int _answered;
        private long _slowest;

        public Load(TestCluster cluster, int workers)
        {
            var addresses = cluster.BaseAddresses;
            _workers = [.. Enumerable.Range(0, workers).Select(i => Task.Run(() => WorkAsync(cluster.Http, addresses[i % addresses.Count], $"load-{i}"), Cancellation))];
        }

        public ConcurrentQueue<string> Failures { get; } = [];

        public int Answered => Volatile.Read(ref _answered);

        public TimeSpan Slowest => TimeSpan.FromTicks(Volatile.Read(ref _slowest));

        public async Task UntilAsync(int requests)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
            limit.CancelAfter(TimeSpan.FromSeconds(90));
            while (Answered < requests)
                await Task.Delay(5, limit.Token);
        }

        public async Task StopAsync()
        {
            await _stop.CancelAsync();
            await Task.WhenAll(_workers);
        }

        public async ValueTask DisposeAsync()
        {
            await StopAsync();
            _stop.Dispose();
        }

        private async Task WorkAsync(HttpClient http, Uri server, string name)
        {
            var one = $"{ConfigMaps}/{name}";
            for (var i = 0; !_stop.IsCancellationRequested; i++)
            {
                await SendAsync(HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = name } }, "application/json", HttpStatusCode.Created);
                await SendAsync(HttpMethod.Patch, one, new JsonObject { ["data"] = new JsonObject { ["merge"] = $"{i}" } }, "application/merge-patch+json", HttpStatusCode.OK);
                await SendAsync(
                    HttpMethod.Patch, one, new JsonArray(new JsonObject { ["op"] = "add", ["path"] = "/data/json", ["value"] = $"{i}" }), "application/json-patch+json", HttpStatusCode.OK);
                var seen = await SendAsync(HttpMethod.Get, one, null, "", HttpStatusCode.OK);
                if (seen is not null && ((string?)seen["data"]?["merge"] != $"{i}" || (string?)seen["data"]?["json"] != $"{i}"))
                    Failures.Enqueue($"GET {one} has lost an acknowledged write: {seen["data"]?.ToJsonString()} instead of {i}");
                await SendAsync(HttpMethod.Delete, one, null, "", HttpStatusCode.OK);
            }

            async Task<JsonNode?> SendAsync(HttpMethod method, string path, JsonNode? body, string type, HttpStatusCode expected)
            {
                using var request = new HttpRequestMessage(method, new Uri(server, path));
                if (body is not null)
                    request.Content = new StringContent(body.ToJsonString(), Encoding.UTF8, type);
                var begin = Stopwatch.GetTimestamp();
                try
                {
                    using var response = await http.SendAsync(request, Cancellation);
                    if (response.StatusCode != expected)
                        Failures.Enqueue($"{method} {path}: {(int)response.StatusCode} {await response.Content.ReadAsStringAsync(Cancellation)}");
                    return response.IsSuccessStatusCode && method == HttpMethod.Get ? await response.Content.ReadFromJsonAsync<JsonNode>(Cancellation) : null;
                }
                catch (HttpRequestException error)
                {
                    Failures.Enqueue($"{method} {path}: {error.Message}");
                    return null;
                }
                finally
                {
                    Interlocked.Increment(ref _answered);
                    var took = Stopwatch.GetElapsedTime(begin).Ticks;
                    for (var known = Volatile.Read(ref _slowest); took > known; known = Volatile.Read(ref _slowest))
                        Interlocked.CompareExchange(ref _slowest, took, known);
                }
            }
        }
    }
}
