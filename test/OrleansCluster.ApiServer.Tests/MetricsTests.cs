using OrleansCluster.Tests;

namespace OrleansCluster.ApiServer.Tests;

public sealed class MetricsTests(TestCluster cluster) : KubernetesTest(cluster)
{
    private static readonly string[] Expected =
    [
        "apiserver_request_total", "apiserver_request_duration_seconds", "apiserver_current_inflight_requests", "apiserver_storage_objects",
        "apiserver_storage_request_duration_seconds", "orleanscluster_store_batch_size", "orleanscluster_store_batch_duration_seconds",
        "orleanscluster_cache_bytes", "orleanscluster_cache_revision", "process_cpu_seconds_total", "process_resident_memory_bytes",
        "process_start_time_seconds", "dotnet_gc_heap_bytes", "orleans_grains", "orleans_catalog_activations",
    ];

    [Fact]
    public async Task Metrics_AreWellFormed_AndHaveTheNamesOfKubernetes()
    {
        await GetAsync("/api/v1/namespaces/default");
        await GetAsync("/api/v1/namespaces/default/configmaps");
        var answer = await GetAsync("/metrics");
        Assert.Equal(200, answer.Code);
        Assert.StartsWith("text/plain", answer.ContentType, StringComparison.Ordinal);
        var metrics = Exposition.Parse(answer.Text);
        Assert.All(Expected, name => Assert.Contains(name, metrics.Names));
        Assert.All(
            metrics["apiserver_request_total"].Samples,
            s => Assert.Equal(["code", "component", "group", "resource", "scope", "subresource", "verb", "version"], s.Labels.Keys.Order(StringComparer.Ordinal)));
        Assert.DoesNotContain("otel_", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Requests_AreCountedByVerbResourceScopeAndCode()
    {
        await GetAsync("/apis/coordination.k8s.io/v1/leases");
        await GetAsync("/apis/coordination.k8s.io/v1/namespaces/default/leases/nothing");
        var metrics = Exposition.Parse((await GetAsync("/metrics")).Text);
        var requests = metrics["apiserver_request_total"];
        Assert.True(requests.Value(("verb", "LIST"), ("group", "coordination.k8s.io"), ("resource", "leases"), ("scope", "cluster"), ("code", "200")) >= 1);
        Assert.True(requests.Value(("verb", "GET"), ("resource", "leases"), ("scope", "resource"), ("code", "404")) >= 1);
        Assert.True(metrics["apiserver_request_duration_seconds"].Value(("verb", "LIST"), ("resource", "leases")) >= 1);
    }

    [Fact]
    public async Task UnknownNames_AreCountedTogether()
    {
        for (var i = 0; i < 5; i++)
        {
            await GetAsync($"/api/v1/namespaces/default/nonsense{i}/x");
            await GetAsync($"/api/v1/namespaces/default/configmaps/x/nonsense{i}");
            await SendAsync(Cluster.Admin, new HttpMethod($"NONSENSE{i}"), "/version");
        }
        Assert.DoesNotContain("onsense", (await GetAsync("/metrics")).Text, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task OpenWatches_AreShown()
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        using var watch = await Cluster.Admin.GetAsync(
            new Uri("/apis/coordination.k8s.io/v1/leases?watch=true", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead, end.Token);
        var metrics = Exposition.Parse((await GetAsync("/metrics")).Text);
        Assert.True(metrics["apiserver_registered_watchers"].Value(("kind", "Lease")) >= 1);
        Assert.True(metrics["apiserver_longrunning_requests"].Value(("verb", "WATCH"), ("resource", "leases")) >= 1);
        await end.CancelAsync();
    }

    [Fact]
    public async Task A_host_of_the_same_process_that_ends_takes_no_metrics_of_this_one_along()
    {
        await GetAsync("/api/v1/namespaces/default");
        var other = new TestCluster();
        await other.InitializeAsync();
        await other.DisposeAsync();
        var before = Exposition.Parse((await GetAsync("/metrics")).Text);
        var after = Exposition.Parse((await GetAsync("/metrics")).Text);
        Assert.All(Expected, name => Assert.Contains(name, before.Names));
        Assert.All(Expected, name => Assert.Contains(name, after.Names));
    }

    [Fact]
    public async Task A_host_shows_its_own_figures_and_not_those_of_another_of_the_same_process()
    {
        var other = new TestCluster();
        await other.InitializeAsync();
        try
        {
            for (var i = 0; i < 3; i++)
                await GetAsync("/apis/coordination.k8s.io/v1/namespaces/none/leases");
            await SendAsync(other.Admin, HttpMethod.Get, "/apis/coordination.k8s.io/v1/namespaces/none/leases");
            Assert.True(await ListsAsync(Admin) >= 3);
            Assert.Equal(1, await ListsAsync(other.Admin));
        }
        finally
        {
            await other.DisposeAsync();
        }
    }

    private static async Task<double> ListsAsync(HttpClient client) =>
        Exposition.Parse((await SendAsync(client, HttpMethod.Get, "/metrics")).Text)["apiserver_request_total"]
            .Value(("verb", "LIST"), ("resource", "leases"), ("scope", "namespace"), ("code", "200"));

    [Theory]
    [InlineData("a 1\n")]
    [InlineData("# TYPE a counter\na{b=\"x\\y\"} 1\n")]
    [InlineData("# TYPE a counter\na 1\na 2\n")]
    [InlineData("# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n")]
    [InlineData("# TYPE a gauge\na 1")]
    public void TheReaderOfMetrics_FindsWhatIsWrong(string text) => Assert.ThrowsAny<Exception>(() => Exposition.Parse(text));
}
