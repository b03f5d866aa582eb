using k8s;
using k8s.Autorest;
using k8s.Models;

namespace OrleansCluster.ApiServer.Tests;

/// <summary>The official C# client, unmodified, with the kubeconfig the server wrote.</summary>
public sealed class ClientLibraryTests(TestCluster cluster) : KubernetesTest(cluster)
{
    private Kubernetes NewClient() => new(KubernetesClientConfiguration.BuildConfigFromConfigFile(Cluster.Kubeconfig));

    [Fact]
    public async Task Objects_are_created_read_replaced_patched_and_deleted()
    {
        var ns = await NewNamespaceAsync();
        using var client = NewClient();
        var created = await client.CoreV1.CreateNamespacedConfigMapAsync(
            new V1ConfigMap { Metadata = new V1ObjectMeta { Name = "a" }, Data = new Dictionary<string, string> { ["k"] = "1" } }, ns, cancellationToken: Token);
        created.Data["k"] = "2";
        var replaced = await client.CoreV1.ReplaceNamespacedConfigMapAsync(created, "a", ns, cancellationToken: Token);
        Assert.Equal("2", replaced.Data["k"]);
        var conflict = await Assert.ThrowsAsync<HttpOperationException>(() => client.CoreV1.ReplaceNamespacedConfigMapAsync(created, "a", ns, cancellationToken: Token));
        Assert.Equal(409, (int)conflict.Response.StatusCode);
        var patched = await client.CoreV1.PatchNamespacedConfigMapAsync(
            new V1Patch("""{"data":{"k":"3"}}""", V1Patch.PatchType.MergePatch), "a", ns, cancellationToken: Token);
        Assert.Equal("3", patched.Data["k"]);
        var status = await client.CoreV1.DeleteNamespacedConfigMapAsync("a", ns, cancellationToken: Token);
        Assert.Equal("Success", status.Status);
    }

    [Fact]
    public async Task A_pod_deletion_answers_a_pod()
    {
        var ns = await NewNamespaceAsync();
        using var client = NewClient();
        await client.CoreV1.CreateNamespacedPodAsync(
            new V1Pod
            {
                Metadata = new V1ObjectMeta { Name = "p" },
                Spec = new V1PodSpec { SchedulerName = "nobody", Containers = [new V1Container { Name = "c", Image = "i" }] },
            }, ns, cancellationToken: Token);
        var pod = await client.CoreV1.DeleteNamespacedPodAsync("p", ns, cancellationToken: Token);
        Assert.Equal("p", pod.Name());
    }

    [Fact]
    public async Task A_watch_delivers_typed_events()
    {
        var ns = await NewNamespaceAsync();
        using var client = NewClient();
        var seen = new List<(WatchEventType, string)>();
        var list = await client.CoreV1.ListNamespacedSecretAsync(ns, cancellationToken: Token);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
        limit.CancelAfter(TimeSpan.FromSeconds(20));
        var watch = client.CoreV1.WatchListNamespacedSecretAsync(ns, resourceVersion: list.ResourceVersion(), cancellationToken: limit.Token);
        await client.CoreV1.CreateNamespacedSecretAsync(new V1Secret { Metadata = new V1ObjectMeta { Name = "s" } }, ns, cancellationToken: Token);
        await client.CoreV1.DeleteNamespacedSecretAsync("s", ns, cancellationToken: Token);
        await foreach (var (type, secret) in watch)
        {
            seen.Add((type, secret.Name()));
            if (seen.Count == 2)
                break;
        }
        Assert.Equal([(WatchEventType.Added, "s"), (WatchEventType.Deleted, "s")], seen);
    }
}
