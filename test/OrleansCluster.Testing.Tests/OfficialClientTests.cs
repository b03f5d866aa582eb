using System.Net;
using k8s;
using k8s.Autorest;
using k8s.Models;
using OrleansCluster.Testing.Tests.Support;

namespace OrleansCluster.Testing.Tests;

/// <summary>The official C# client against the cluster: every verb, its errors, and a watch.</summary>
public sealed class OfficialClientTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ConfigMap_EveryVerb_AnswersAsKubernetesDoes()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 0 }, Cancellation);
        var client = cluster.Kubernetes;
        var map = Manifests.ConfigMap("settings");
        map.Metadata.Labels = Manifests.Labels("web");
        map.Data = new Dictionary<string, string>(StringComparer.Ordinal) { ["a"] = "1" };

        var created = await client.CreateNamespacedConfigMapAsync(map, "default", cancellationToken: Cancellation);
        Assert.NotEmpty(created.Metadata.Uid);
        Assert.NotNull(created.Metadata.CreationTimestamp);
        await AssertStatusAsync(HttpStatusCode.Conflict, "AlreadyExists", () => client.CreateNamespacedConfigMapAsync(map, "default", cancellationToken: Cancellation));

        created.Data["a"] = "2";
        var updated = await client.ReplaceNamespacedConfigMapAsync(created, "settings", "default", cancellationToken: Cancellation);
        Assert.NotEqual(created.Metadata.ResourceVersion, updated.Metadata.ResourceVersion);
        await AssertStatusAsync(HttpStatusCode.Conflict, "Conflict", () => client.ReplaceNamespacedConfigMapAsync(created, "settings", "default", cancellationToken: Cancellation));

        foreach (var (patch, kind) in ((string, V1Patch.PatchType)[])
        [
            ("""{"data":{"b":"merge"}}""", V1Patch.PatchType.MergePatch),
            ("""{"data":{"c":"strategic"}}""", V1Patch.PatchType.StrategicMergePatch),
            ("""[{"op":"add","path":"/data/d","value":"json"}]""", V1Patch.PatchType.JsonPatch),
        ])
        {
            await client.PatchNamespacedConfigMapAsync(new V1Patch(patch, kind), "settings", "default", cancellationToken: Cancellation);
        }
        var read = await client.ReadNamespacedConfigMapAsync("settings", "default", cancellationToken: Cancellation);
        Assert.Equal(["a=2", "b=merge", "c=strategic", "d=json"], read.Data.OrderBy(d => d.Key, StringComparer.Ordinal).Select(d => $"{d.Key}={d.Value}"));

        for (var i = 0; i < 5; i++)
            await client.CreateNamespacedConfigMapAsync(Manifests.ConfigMap($"page-{i}"), "default", cancellationToken: Cancellation);
        var names = new List<string>();
        string? next = null;
        do
        {
            var page = await client.ListNamespacedConfigMapAsync("default", limit: 2, continueParameter: next, cancellationToken: Cancellation);
            Assert.InRange(page.Items.Count, 1, 2);
            names.AddRange(page.Items.Select(m => m.Metadata.Name));
            next = page.Metadata.ContinueProperty;
        }
        while (!string.IsNullOrEmpty(next));
        Assert.Superset(Enumerable.Range(0, 5).Select(i => $"page-{i}").Append("settings").ToHashSet(StringComparer.Ordinal), names.ToHashSet(StringComparer.Ordinal));
        Assert.Equal(names.Count, names.Distinct(StringComparer.Ordinal).Count());
        var selected = await client.ListNamespacedConfigMapAsync("default", labelSelector: "app=web", cancellationToken: Cancellation);
        Assert.Equal("settings", Assert.Single(selected.Items).Metadata.Name);

        await client.DeleteNamespacedConfigMapAsync("settings", "default", cancellationToken: Cancellation);
        await AssertStatusAsync(HttpStatusCode.NotFound, "NotFound", () => client.ReadNamespacedConfigMapAsync("settings", "default", cancellationToken: Cancellation));
        await AssertStatusAsync(HttpStatusCode.UnprocessableEntity, "Invalid",
            () => client.CreateNamespacedConfigMapAsync(Manifests.ConfigMap("Not_A_Name"), "default", cancellationToken: Cancellation));
    }

    [Fact]
    public async Task Watch_ChangesOfAPod_ComeOnceAndInOrder()
    {
        await using var cluster = await TestCluster.StartAsync(cancellationToken: Cancellation);
        var list = await cluster.Kubernetes.ListNamespacedPodAsync("default", cancellationToken: Cancellation);
        var seen = new List<(WatchEventType Type, V1Pod Pod)>();
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        stop.CancelAfter(TimeSpan.FromSeconds(30));
        var reading = Task.Run(
            async () =>
            {
                await foreach (var (type, pod) in cluster.Kubernetes.CoreV1.WatchListNamespacedPodAsync(
                    "default", resourceVersion: list.Metadata.ResourceVersion, cancellationToken: stop.Token))
                {
                    seen.Add((type, pod));
                    if (type == WatchEventType.Deleted)
                        return;
                }
            },
            stop.Token);
        await cluster.Kubernetes.CreateNamespacedPodAsync(Manifests.Pod("watched"), "default", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1Pod>(p => p.Single().IsRunning(), "the pod runs", cancellationToken: Cancellation);
        await cluster.Kubernetes.DeleteNamespacedPodAsync("watched", "default", cancellationToken: Cancellation);
        await reading;

        Assert.Equal(WatchEventType.Added, seen[0].Type);
        Assert.Equal(WatchEventType.Deleted, seen[^1].Type);
        Assert.All(seen.Skip(1).SkipLast(1), e => Assert.Equal(WatchEventType.Modified, e.Type));
        var revisions = seen.Select(e => long.Parse(e.Pod.Metadata.ResourceVersion, System.Globalization.CultureInfo.InvariantCulture)).ToArray();
        Assert.Equal(revisions.Distinct().Order(), revisions);
        Assert.Contains(seen, e => e.Pod.Status.Phase == "Running");
    }

    private static async Task AssertStatusAsync(HttpStatusCode code, string reason, Func<Task> call)
    {
        var error = await Assert.ThrowsAsync<HttpOperationException>(call);
        Assert.Equal(code, error.Response.StatusCode);
        var status = KubernetesJson.Deserialize<V1Status>(error.Response.Content);
        Assert.Equal(("Failure", reason, (int)code), (status.Status, status.Reason, status.Code));
    }
}
