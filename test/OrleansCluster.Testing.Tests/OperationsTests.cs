using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using k8s;
using k8s.Models;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Dashboard;
using OrleansCluster.Hosting;
using OrleansCluster.Kubelet;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Operations;
using OrleansCluster.Operations;
using OrleansCluster.Testing.Tests.Support;
using OrleansCluster.Tests;

namespace OrleansCluster.Testing.Tests;

/// <summary>What operators look at: metrics of every part, health of every role, and a quiet end.</summary>
public sealed class OperationsTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Metrics_AfterAPod_TellOfEveryPart()
    {
        await using var cluster = await TestCluster.StartAsync(cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedPodAsync(Manifests.Pod("counted"), "default", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1Pod>(pods => pods is [{ Status.Phase: "Running" }], "the pod runs", "default", cancellationToken: Cancellation);
        var metrics = Exposition.Parse(await cluster.Http.GetStringAsync(new Uri("/metrics", UriKind.Relative), Cancellation));
        Assert.All(
            (string[])
            [
                "apiserver_request_total", "apiserver_storage_objects", "scheduler_pending_pods", "scheduler_schedule_attempts_total",
                "scheduler_scheduling_attempt_duration_seconds", "scheduler_pod_scheduling_sli_duration_seconds", "orleanscluster_queue_items",
                "orleanscluster_queue_oldest_age_seconds", "workqueue_depth", "workqueue_adds_total", "workqueue_queue_duration_seconds",
                "workqueue_work_duration_seconds", "orleanscluster_changelog_lag", "orleanscluster_silos", "orleanscluster_membership_changes_total",
                "kubelet_running_pods", "kubelet_running_containers", "kubelet_pod_start_duration_seconds", "kubelet_runtime_operations_total",
                "kubelet_runtime_operations_duration_seconds", "orleanscluster_kubelet_nodes", "orleanscluster_store_batch_size",
            ],
            name => Assert.Contains(name, metrics.Names));
        Assert.True(metrics["scheduler_schedule_attempts_total"].Value(("result", "scheduled"), ("profile", "default-scheduler")) >= 1);
        Assert.True(metrics["kubelet_runtime_operations_total"].Value(("operation_type", "start_container")) >= 1);
        Assert.True(metrics["workqueue_adds_total"].Samples.Select(s => s.Labels["name"]).Distinct(StringComparer.Ordinal).Count() > 3);
    }

    [Fact]
    public async Task Ready_OfAWholeCluster_ListsItsParts()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 0 }, Cancellation);
        var text = await cluster.Http.GetStringAsync(new Uri("/readyz?verbose", UriKind.Relative), Cancellation);
        Assert.All(
            (string[])["ping", "store", "caches", "silo", "bootstrap", "membership", "silo-store", "scheduler", "controllers", "shutdown"],
            name => Assert.Contains($"[+]{name} ok\n", text, StringComparison.Ordinal));
        Assert.EndsWith("readyz check passed\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task HealthEndpoints_OfARoleWithoutApi_AnswerInPlainHttp()
    {
        var healthy = true;
        var builder = HostSetup.CreateBuilder();
        builder.AddOperations(new IPEndPoint(IPAddress.Loopback, 0));
        builder.Services.AddHealthCheck(_ => HealthCheck.Of("part", HealthImpact.Readiness, () => healthy ? null : "is away"));
        using var host = builder.Build();
        await host.StartAsync(Cancellation);
        using var client = new HttpClient { BaseAddress = host.Services.GetRequiredService<HealthEndpoints>().Address };
        Assert.Equal((HttpStatusCode.OK, "ok"), await GetAsync(client, "/readyz"));
        Assert.Equal(HttpStatusCode.OK, (await GetAsync(client, "/healthz")).Code);
        Assert.Contains("process_cpu_seconds_total", Exposition.Parse((await GetAsync(client, "/metrics")).Text).Names);
        Assert.Equal(HttpStatusCode.NotFound, (await GetAsync(client, "/api")).Code);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, (await client.PostAsync(new Uri("/readyz", UriKind.Relative), null, Cancellation)).StatusCode);

        healthy = false;
        Assert.Equal((HttpStatusCode.InternalServerError, "[+]ping ok\n[-]part failed: is away\n[+]shutdown ok\nreadyz check failed\n"), await GetAsync(client, "/readyz"));
        Assert.Equal((HttpStatusCode.OK, "ok"), await GetAsync(client, "/readyz?exclude=part"));
        Assert.Equal((HttpStatusCode.OK, "ok"), await GetAsync(client, "/livez"));
        Assert.Equal(HttpStatusCode.InternalServerError, (await GetAsync(client, "/readyz/part")).Code);

        // A role that goes away says so, and can be asked until the end.
        host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await GetAsync(client, "/readyz?exclude=part")).Code);
        Assert.Equal((HttpStatusCode.OK, "ok"), await GetAsync(client, "/livez"));
        await host.StopAsync(Cancellation);
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync(new Uri("/livez", UriKind.Relative), Cancellation));
    }

    [Fact]
    public async Task HealthAndMetrics_OfNodeAgents_TellOfEngineWorkersAndControlPlane()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 0 }, Cancellation);
        var builder = HostSetup.CreateBuilder();
        builder.Services.AddSingleton(cluster.Grains);
        builder.Services.AddNodeAgents(options =>
        {
            options.NodeNames.Add("watched");
            options.Runtime = NodeRuntime.Hollow;
        });
        builder.Services.AddNodeAgentHealth(HealthImpact.Readiness);
        builder.AddOperations(new IPEndPoint(IPAddress.Loopback, 0));
        using var host = builder.Build();
        await host.StartAsync(Cancellation);
        using var client = new HttpClient { BaseAddress = host.Services.GetRequiredService<HealthEndpoints>().Address };
        await cluster.WaitForAsync(
            async _ => (await GetAsync(client, "/readyz?verbose")).Text.Contains("[+]control-plane ok\n", StringComparison.Ordinal), "the agent is connected", cancellationToken: Cancellation);
        Assert.Equal(
            (HttpStatusCode.OK, "[+]ping ok\n[+]engine ok\n[+]pod-workers ok\n[+]control-plane ok\n[+]shutdown ok\nreadyz check passed\n"),
            await GetAsync(client, "/readyz?verbose"));
        var metrics = Exposition.Parse((await GetAsync(client, "/metrics")).Text);
        Assert.True(metrics["orleanscluster_kubelet_nodes"].Value(("connected", "true")) >= 1);
        await host.StopAsync(Cancellation);
    }

    [Fact]
    public async Task TheDashboard_AsksForALogin_AndLetsOnlyAdministratorsIn()
    {
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions
            {
                Nodes = 0,
                ConfigureSilo = static silo => silo.AddDashboard(DashboardPages.Configure),
                ConfigureServices = static services => services.AddDashboardPages(),
            },
            Cancellation);
        using var browser = new HttpClient(new SocketsHttpHandler { SslOptions = { RemoteCertificateValidationCallback = static (_, _, _, _) => true } })
        {
            BaseAddress = cluster.BaseAddress,
        };
        using (var stranger = await browser.GetAsync(new Uri("/dashboard/", UriKind.Relative), Cancellation))
        {
            Assert.Equal(HttpStatusCode.Unauthorized, stranger.StatusCode);
            Assert.Equal("Basic", Assert.Single(stranger.Headers.WwwAuthenticate).Scheme);
        }
        var token = (await File.ReadAllTextAsync(Path.Combine(cluster.DataDirectory, "token"), Cancellation)).Trim();
        foreach (var (password, code) in ((string, HttpStatusCode)[])[("wrong", HttpStatusCode.Unauthorized), (token, HttpStatusCode.OK)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/dashboard/");
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes($"me:{password}")));
            using var answer = await browser.SendAsync(request, Cancellation);
            Assert.Equal(code, answer.StatusCode);
        }
        Assert.Equal(HttpStatusCode.Forbidden, (await GetAsync(cluster.CreateHttpClient("bob"), "/dashboard/")).Code);
        Assert.Contains("<script", (await GetAsync(cluster.Http, "/dashboard/index.html")).Text, StringComparison.Ordinal);
        Assert.Contains("\"hosts\"", (await GetAsync(cluster.Http, "/dashboard/DashboardCounters")).Text, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, (await GetAsync(cluster.Http, "/dashboard/nonsense")).Code);
        // The password of a browser opens no other door.
        using var elsewhere = new HttpRequestMessage(HttpMethod.Get, "/api/v1/namespaces");
        elsewhere.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes($"me:{token}")));
        using var refused = await browser.SendAsync(elsewhere, Cancellation);
        Assert.NotEqual(HttpStatusCode.OK, refused.StatusCode);
    }

    [Fact]
    public async Task TheEnd_WithEventsBeingWritten_LeavesNoErrorInTheLog()
    {
        var lines = new ConcurrentQueue<string>();
        var cluster = await TestCluster.StartAsync(new TestClusterOptions { Log = lines.Enqueue }, Cancellation);
        await using (cluster)
        {
            // Each of them makes an event, and more are on their way when the end comes.
            await Parallel.ForEachAsync(Enumerable.Range(0, 200), Cancellation, async (i, token) =>
            {
                var pod = Manifests.Pod($"nowhere-{i}");
                pod.Spec.NodeSelector = new Dictionary<string, string>(StringComparer.Ordinal) { ["no"] = "node" };
                await cluster.Kubernetes.CreateNamespacedPodAsync(pod, "default", cancellationToken: token);
            });
            await cluster.WaitForAsync<Corev1Event>(events => events.Any(e => e.Reason == "FailedScheduling"), "events are being written", cancellationToken: Cancellation);
        }
        Assert.DoesNotContain(lines, l => l.Contains("Failed to address message", StringComparison.Ordinal) || l.Contains("Unhandled", StringComparison.Ordinal));
    }

    private static async Task<(HttpStatusCode Code, string Text)> GetAsync(HttpClient client, string path)
    {
        using var answer = await client.GetAsync(new Uri(path, UriKind.Relative), Cancellation);
        return (answer.StatusCode, await answer.Content.ReadAsStringAsync(Cancellation));
    }
}
