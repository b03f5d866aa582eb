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

    [Theory]
    [InlineData("a 1\n")]
    [InlineData("# TYPE a counter\na{b=\"x\\y\"} 1\n")]
    [InlineData("# TYPE a counter\na 1\na 2\n")]
    [InlineData("# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n")]
    [InlineData("# TYPE a gauge\na 1")]
    public void TheReaderOfMetrics_FindsWhatIsWrong(string text) => Assert.ThrowsAny<Exception>(() => Exposition.Parse(text));
}
