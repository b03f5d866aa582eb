using System.Net;
using System.Text.Json.Nodes;
using k8s;
using k8s.Models;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.Testing.Tests.Support;

namespace OrleansCluster.Testing.Tests;

/// <summary>The test cluster itself: what it offers, that several live side by side, that it leaves nothing behind, that it restarts.</summary>
public sealed class TestClusterTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task StartAsync_Defaults_GivesAReadyClusterAndLeavesNothing()
    {
        string folder;
        await using (var cluster = await TestCluster.StartAsync(cancellationToken: Cancellation))
        {
            folder = cluster.DataDirectory;
            var namespaces = await cluster.Kubernetes.ListNamespaceAsync(cancellationToken: Cancellation);
            Assert.Superset(
                new HashSet<string>(StringComparer.Ordinal) { "default", "kube-system", "kube-public", "kube-node-lease" },
                namespaces.Items.Select(n => n.Metadata.Name).ToHashSet(StringComparer.Ordinal));
            var version = await cluster.Kubernetes.Version.GetCodeAsync(Cancellation);
            Assert.Equal("1", version.Major);
            var config = await KubernetesClientConfiguration.LoadKubeConfigAsync(cluster.Kubeconfig);
            Assert.Equal(cluster.BaseAddress, new Uri(Assert.Single(config.Clusters).ClusterEndpoint.Server));
            TestContext.Current.SendDiagnosticMessage("started in {0} ms", cluster.StartDuration.TotalMilliseconds);
        }
        Assert.False(Directory.Exists(folder));
    }

    [Fact]
    public async Task StartAsync_ThreeAtOnce_AreSeparateClusters()
    {
        var clusters = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => TestCluster.StartAsync(cancellationToken: Cancellation)));
        try
        {
            await Task.WhenAll(clusters.Select((cluster, i) =>
                cluster.Kubernetes.CreateNamespacedConfigMapAsync(Manifests.ConfigMap($"only-in-{i}"), "default", cancellationToken: Cancellation)));
            for (var i = 0; i < clusters.Length; i++)
            {
                var maps = await clusters[i].Kubernetes.ListNamespacedConfigMapAsync("default", cancellationToken: Cancellation);
                Assert.Equal([$"only-in-{i}"], maps.Items.Select(m => m.Metadata.Name).Where(n => n.StartsWith("only-in-", StringComparison.Ordinal)));
            }
        }
        finally
        {
            foreach (var cluster in clusters)
                await cluster.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_page_of_a_moment_before_a_restart_is_a_410_whose_token_goes_on_inconsistently()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { InMemory = false, Nodes = 0 }, Cancellation);
        foreach (var name in (string[])["m0", "m1", "m2"])
            await cluster.Kubernetes.CreateNamespacedSecretAsync(new V1Secret { Metadata = new() { Name = name } }, "default", cancellationToken: Cancellation);
        var page = await cluster.Kubernetes.ListNamespacedSecretAsync("default", limit: 1, cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedSecretAsync(new V1Secret { Metadata = new() { Name = "m3" } }, "default", cancellationToken: Cancellation);
        await cluster.RestartAsync(Cancellation);

        using var expired = await cluster.Http.GetAsync(new Uri($"/api/v1/namespaces/default/secrets?limit=1&continue={page.Metadata.ContinueProperty}", UriKind.Relative), Cancellation);
        Assert.Equal(HttpStatusCode.Gone, expired.StatusCode);
        var status = JsonNode.Parse(await expired.Content.ReadAsStringAsync(Cancellation))!;
        Assert.Equal("Expired", (string?)status["reason"]);
        var rest = await cluster.Kubernetes.ListNamespacedSecretAsync("default", continueParameter: (string?)status["metadata"]!["continue"], cancellationToken: Cancellation);
        Assert.Equal(["m1", "m2", "m3"], rest.Items.Select(s => s.Metadata.Name));
    }

    [Fact]
    public async Task RestartAsync_StoreOnDisk_KeepsEverythingAndGoesOn()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { InMemory = false, Nodes = 2 }, Cancellation);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Manifests.Controller("web", 3), "default", cancellationToken: Cancellation);
        var before = await cluster.WaitForAsync<V1Pod>(pods => pods.Running("web") == 3, "three pods run", cancellationToken: Cancellation);
        var uids = before.Select(p => p.Metadata.Uid).Order(StringComparer.Ordinal).ToArray();
        var map = await cluster.Kubernetes.CreateNamespacedConfigMapAsync(Manifests.ConfigMap("kept"), "default", cancellationToken: Cancellation);

        await cluster.RestartAsync(Cancellation);

        var kept = await cluster.Kubernetes.ReadNamespacedConfigMapAsync("kept", "default", cancellationToken: Cancellation);
        Assert.Equal((map.Metadata.Uid, map.Metadata.ResourceVersion), (kept.Metadata.Uid, kept.Metadata.ResourceVersion));
        var pods = await cluster.Kubernetes.ListNamespacedPodAsync("default", cancellationToken: Cancellation);
        Assert.Equal(uids, pods.Items.Select(p => p.Metadata.Uid).Order(StringComparer.Ordinal));
        await cluster.ScaleAsync("web", 5, Cancellation);
        var after = await cluster.WaitForAsync<V1Pod>(p => p.Running("web") == 5, "five pods run", cancellationToken: Cancellation);
        Assert.Superset(uids.ToHashSet(StringComparer.Ordinal), after.Select(p => p.Metadata.Uid).ToHashSet(StringComparer.Ordinal));
    }

    [Fact]
    public async Task StartAsync_FolderOfAnEarlierCluster_GoesOnWhereItEnded()
    {
        var folder = Directory.CreateTempSubdirectory("orleanscluster-kept-").FullName;
        try
        {
            var options = new TestClusterOptions { InMemory = false, Nodes = 0, DataDirectory = folder };
            await using (var first = await TestCluster.StartAsync(options, Cancellation))
                await first.Kubernetes.CreateNamespacedConfigMapAsync(Manifests.ConfigMap("kept"), "default", cancellationToken: Cancellation);
            await using var second = await TestCluster.StartAsync(options, Cancellation);
            var map = await second.Kubernetes.ReadNamespacedConfigMapAsync("kept", "default", cancellationToken: Cancellation);
            Assert.Equal("kept", map.Metadata.Name);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task WaitForAsync_ConditionNeverTrue_TellsWhatWasSeen()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 1 }, Cancellation);
        var error = await Assert.ThrowsAsync<TimeoutException>(() => cluster.WaitForAsync<V1Node>(
            nodes => nodes.Count > 1, "there are two nodes", timeout: TimeSpan.FromMilliseconds(50), cancellationToken: Cancellation));
        Assert.Contains("waiting until there are two nodes", error.Message, StringComparison.Ordinal);
        Assert.Contains("node-1 (", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CreateHttpClient_NoCertificateOfARight_IsForbidden()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 0 }, Cancellation);
        using var response = await cluster.CreateHttpClient("nobody").GetAsync(new Uri("/api/v1/pods", UriKind.Relative), Cancellation);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        using var allowed = await cluster.Http.GetAsync(new Uri("/api/v1/pods", UriKind.Relative), Cancellation);
        Assert.Equal(HttpStatusCode.OK, allowed.StatusCode);
    }

    [Fact]
    public async Task ConfigureServices_OwnController_Reconciles()
    {
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions { Nodes = 0, ConfigureServices = services => services.AddController<LabelCopier>() }, Cancellation);
        var map = Manifests.ConfigMap("greeted");
        map.Data = new Dictionary<string, string>(StringComparer.Ordinal) { ["greeting"] = "hello" };
        await cluster.Kubernetes.CreateNamespacedConfigMapAsync(map, "default", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1ConfigMap>(
            maps => maps.Any(m => m.Metadata.Name == "greeted" && m.Metadata.Annotations?["greeting"] == "hello"), "the controller has answered",
            cancellationToken: Cancellation);
    }
}
