using System.Text;
using System.Text.Json;
using k8s;
using k8s.Models;
using OrleansCluster.Testing.Tests.Support;

namespace OrleansCluster.Testing.Tests;

/// <summary>What a user sees of a cluster: apps that heal, scale, are found and go away, on hollow nodes.</summary>
public sealed class SelfHealingTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Controller_PodDeleted_IsReplacedAtOnceAndScalesBothWays()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 2 }, Cancellation);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Manifests.Controller("web", 3), "default", cancellationToken: Cancellation);
        var pods = await cluster.WaitForAsync<V1Pod>(p => p.Running("web") == 3, "three pods run", cancellationToken: Cancellation);
        Assert.All(pods, p => Assert.NotEmpty(p.Status.PodIP));
        Assert.Equal(3, pods.Select(p => p.Status.PodIP).Distinct(StringComparer.Ordinal).Count());

        var victim = pods[0];
        await cluster.Kubernetes.DeleteNamespacedPodAsync(victim.Metadata.Name, "default", cancellationToken: Cancellation);
        var healed = await cluster.WaitForAsync<V1Pod>(
            p => p.Running("web") == 3 && p.All(o => o.Metadata.Uid != victim.Metadata.Uid), "the deleted pod is replaced", cancellationToken: Cancellation);
        Assert.Equal(2, healed.Count(p => pods.Any(o => o.Metadata.Uid == p.Metadata.Uid)));

        await cluster.ScaleAsync("web", 6, Cancellation);
        await cluster.WaitForAsync<V1Pod>(p => p.Running("web") == 6, "six pods run", cancellationToken: Cancellation);
        await cluster.ScaleAsync("web", 1, Cancellation);
        await cluster.WaitForAsync<V1Pod>(p => p.Count(o => o.IsOf("web")) == 1, "one pod is left", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1ReplicationController>(
            c => c.Single().Status is { Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1 }, "the status says one", cancellationToken: Cancellation);
    }

    [Fact]
    public async Task Service_PodsComeAndGo_EndpointsAndSlicesFollow()
    {
        await using var cluster = await TestCluster.StartAsync(cancellationToken: Cancellation);
        var service = await cluster.Kubernetes.CreateNamespacedServiceAsync(Manifests.Service("front", "web"), "default", cancellationToken: Cancellation);
        Assert.StartsWith("10.96.", service.Spec.ClusterIP, StringComparison.Ordinal);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Manifests.Controller("web", 2), "default", cancellationToken: Cancellation);
        foreach (var replicas in (int[])[2, 4, 1])
        {
            await cluster.ScaleAsync("web", replicas, Cancellation);
            var pods = await cluster.WaitForAsync<V1Pod>(
                p => p.Running("web") == replicas && p.Count(o => o.IsOf("web")) == replicas, $"{replicas} pods run", cancellationToken: Cancellation);
            var addresses = pods.Where(p => p.IsOf("web")).Select(p => p.Status.PodIP).ToHashSet(StringComparer.Ordinal);
            await cluster.WaitForAsync<V1Endpoints>(
                e => e.Any(o => o.Metadata.Name == "front" && addresses.SetEquals((o.Subsets ?? []).SelectMany(s => s.Addresses ?? []).Select(a => a.Ip))),
                $"the endpoints are {replicas} pods", cancellationToken: Cancellation);
            await cluster.WaitForAsync<V1EndpointSlice>(
                s => addresses.SetEquals(s.Where(o => o.Metadata.Labels?["kubernetes.io/service-name"] == "front")
                    .SelectMany(o => o.Endpoints ?? []).Where(e => e.Conditions.Ready == true).SelectMany(e => e.Addresses)),
                $"the slices are {replicas} pods", cancellationToken: Cancellation);
        }
    }

    [Fact]
    public async Task Namespace_Deleted_IsEmptiedAndGone()
    {
        await using var cluster = await TestCluster.StartAsync(cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespaceAsync(new V1Namespace { Metadata = new V1ObjectMeta { Name = "team" } }, cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Manifests.Controller("web", 3), "team", cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedConfigMapAsync(Manifests.ConfigMap("settings"), "team", cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedServiceAsync(Manifests.Service("front", "web"), "team", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1Pod>(p => p.Running("web") == 3, "three pods run", "team", cancellationToken: Cancellation);

        await cluster.Kubernetes.DeleteNamespaceAsync("team", cancellationToken: Cancellation);

        await cluster.WaitForAsync<V1Namespace>(n => n.All(o => o.Metadata.Name != "team"), "the namespace is gone", cancellationToken: Cancellation);
        foreach (var resource in (string[])["pods", "replicationcontrollers", "configmaps", "services", "secrets", "serviceaccounts", "endpoints", "events"])
        {
            using var left = JsonDocument.Parse(await cluster.Http.GetStringAsync(new Uri($"/api/v1/namespaces/team/{resource}", UriKind.Relative), Cancellation));
            Assert.Equal(0, left.RootElement.GetProperty("items").GetArrayLength());
        }
    }

    [Fact]
    public async Task Controller_TwoHundredReplicasAtOnce_AllRun()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 4 }, Cancellation);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Manifests.Controller("many", 200), "default", cancellationToken: Cancellation);
        var pods = await cluster.WaitForAsync<V1Pod>(
            p => p.Running("many") == 200, "200 pods run", timeout: TimeSpan.FromSeconds(90), cancellationToken: Cancellation);
        Assert.Equal(200, pods.Count);
        Assert.Equal(200, pods.Select(p => p.Status.PodIP).Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(4, pods.Select(p => p.Spec.NodeName).Distinct(StringComparer.Ordinal).Count());
    }

    [Fact]
    public async Task Node_Lost_ReplicatedPodsMoveAndBarePodDoesNot()
    {
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions
            {
                Nodes = 1,
                ConfigureControlPlane = o => (o.NodeHeartbeatInterval, o.NodeMonitorGracePeriod, o.DefaultEvictionDelay) =
                    (TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(4), TimeSpan.FromSeconds(1)),
            },
            Cancellation);
        var lost = await cluster.AddNodesAsync("lost-1");
        var bare = Manifests.Pod("bare");
        bare.Spec.NodeName = "lost-1";
        await cluster.Kubernetes.CreateNamespacedPodAsync(bare, "default", cancellationToken: Cancellation);
        // Two that must move: they are put there by a node selector the surviving node fulfils too, and spread over both by their number.
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(
            Manifests.Controller("web", 8, evictAfterSeconds: 1), "default", cancellationToken: Cancellation);
        var before = await cluster.WaitForAsync<V1Pod>(
            p => p.Running("web") == 8 && p.Any(o => o.Metadata.Name == "bare" && o.IsRunning()), "all pods run", cancellationToken: Cancellation);
        Assert.Contains(before, p => p.IsOf("web") && p.Spec.NodeName == "lost-1");

        await lost.StopAsync();

        await cluster.WaitForAsync<V1Node>(
            n => n.Any(o => o.Metadata.Name == "lost-1" && o.Status.Conditions.Any(c => c is { Type: "Ready", Status: "Unknown" })),
            "the node is known to be lost", cancellationToken: Cancellation);
        var after = await cluster.WaitForAsync<V1Pod>(
            p => p.Count(o => o.IsOf("web") && o.IsRunning() && o.Spec.NodeName == "node-1") == 8, "all replicas run on the other node",
            cancellationToken: Cancellation);
        Assert.DoesNotContain(after, p => p.Metadata.Name != "bare" && p.Metadata.Name.StartsWith("bare", StringComparison.Ordinal));
        Assert.DoesNotContain(after, p => p.Metadata.Name == "bare" && p.Spec.NodeName != "lost-1");
    }

    [Fact]
    public async Task Node_MarkedAsLostWhileItsSessionGoesOn_IsReadyWithTheNextHeartbeat()
    {
        // An agent that was paused or cut off for longer than the grace period finds its session as it was; its own next report is minutes away.
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions { Nodes = 1, ConfigureControlPlane = o => o.NodeHeartbeatInterval = TimeSpan.FromMilliseconds(500) }, Cancellation);
        const string unknown = """{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown"}]}}""";
        var marked = await cluster.Kubernetes.PatchNodeStatusAsync(new V1Patch(unknown, V1Patch.PatchType.StrategicMergePatch), "node-1", cancellationToken: Cancellation);
        Assert.Contains(marked.Status.Conditions, c => c is { Type: "Ready", Status: "Unknown" });

        var nodes = await cluster.WaitForAsync<V1Node>(
            n => n.Single().Status.Conditions.Any(c => c is { Type: "Ready", Status: "True" }) && n.Single().Spec.Taints is null or [],
            "the node is ready and pods may go there", cancellationToken: Cancellation);
        Assert.True(nodes.Single().Status.Conditions.Single(c => c.Type == "Ready").LastTransitionTime >= marked.Metadata.CreationTimestamp);
    }

    [Fact]
    public async Task Pod_FitsNowhere_SaysWhyAndRunsOnceItFits()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 2 }, Cancellation);
        await cluster.Kubernetes.CreateNamespacedPodAsync(Manifests.Pod("huge", cpu: "10"), "default", cancellationToken: Cancellation);
        var pods = await cluster.WaitForAsync<V1Pod>(
            p => p.Single().Status.Conditions?.Any(c => c is { Type: "PodScheduled", Status: "False" }) == true, "the pod is told unschedulable",
            cancellationToken: Cancellation);
        var condition = pods[0].Status.Conditions.Single(c => c.Type == "PodScheduled");
        Assert.Equal("Unschedulable", condition.Reason);
        Assert.StartsWith("0/2 nodes are available: 2 Insufficient cpu.", condition.Message, StringComparison.Ordinal);
        await cluster.WaitForAsync<Corev1Event>(
            e => e.Any(o => o is { Reason: "FailedScheduling", InvolvedObject.Name: "huge" }), "the event is recorded", cancellationToken: Cancellation);

        await cluster.Kubernetes.PatchNodeStatusAsync(
            new V1Patch("""{"status":{"allocatable":{"cpu":"16"},"capacity":{"cpu":"16"}}}""", V1Patch.PatchType.MergePatch), "node-2", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1Pod>(p => p.Single().Spec.NodeName == "node-2", "the pod is bound to the node that grew", cancellationToken: Cancellation);
    }

    [Fact]
    public async Task Node_Cordoned_GetsNoPods()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 2 }, Cancellation);
        await cluster.Kubernetes.PatchNodeAsync(
            new V1Patch("""{"spec":{"unschedulable":true}}""", V1Patch.PatchType.StrategicMergePatch), "node-1", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1Node>(
            n => n.Single(o => o.Metadata.Name == "node-1").Spec.Taints?.Any(t => t.Key == "node.kubernetes.io/unschedulable") == true,
            "the node is tainted", cancellationToken: Cancellation);
        await cluster.Kubernetes.CreateNamespacedReplicationControllerAsync(Manifests.Controller("web", 6), "default", cancellationToken: Cancellation);
        var pods = await cluster.WaitForAsync<V1Pod>(p => p.Running("web") == 6, "six pods run", cancellationToken: Cancellation);
        Assert.All(pods, p => Assert.Equal("node-2", p.Spec.NodeName));
    }

    [Fact]
    public async Task User_WithARole_MayDoThatAndNoMore()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 0 }, Cancellation);
        await cluster.Kubernetes.CreateNamespacedConfigMapAsync(Manifests.ConfigMap("seen"), "default", cancellationToken: Cancellation);
        await PostAsync(cluster, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            """{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"reader"},"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["get","list"]}]}""");
        await PostAsync(cluster, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            """{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"ann"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"reader"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"ann"}]}""");
        var ann = cluster.CreateKubernetes("ann");
        await cluster.WaitForAsync(
            async token =>
            {
                try
                {
                    await ann.ReadNamespacedConfigMapAsync("seen", "default", cancellationToken: token);
                    return true;
                }
                catch (k8s.Autorest.HttpOperationException error) when (error.Response.StatusCode == System.Net.HttpStatusCode.Forbidden)
                {
                    return false;
                }
            },
            "the role takes effect", cancellationToken: Cancellation);
        foreach (var refused in (Func<Task>[])
        [
            () => ann.CreateNamespacedConfigMapAsync(Manifests.ConfigMap("made"), "default", cancellationToken: Cancellation),
            () => ann.DeleteNamespacedConfigMapAsync("seen", "default", cancellationToken: Cancellation),
            () => ann.ListNamespacedConfigMapAsync("kube-system", cancellationToken: Cancellation),
            () => ann.ListNamespacedSecretAsync("default", cancellationToken: Cancellation),
        ])
        {
            var error = await Assert.ThrowsAsync<k8s.Autorest.HttpOperationException>(refused);
            Assert.Equal(System.Net.HttpStatusCode.Forbidden, error.Response.StatusCode);
            Assert.Contains("User \\\"ann\\\" cannot", error.Response.Content, StringComparison.Ordinal);
        }
    }

    private static async Task PostAsync(TestCluster cluster, string path, string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        using var response = await cluster.Http.PostAsync(new Uri(path, UriKind.Relative), content, Cancellation);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync(Cancellation));
    }
}
