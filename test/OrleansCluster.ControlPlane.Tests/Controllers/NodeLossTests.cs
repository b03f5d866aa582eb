using Microsoft.Extensions.Time.Testing;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>Nodes that fall silent, come back, or are removed (wire contract, section 16); time is the test's.</summary>
public sealed class NodeLossTests
{
    private static readonly DateTimeOffset Begin = DateTimeOffset.Parse("2026-01-01T00:00:00Z", System.Globalization.CultureInfo.InvariantCulture);
    private static readonly TimeSpan Step = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task A_silent_node_is_tainted_its_replicated_pods_are_replaced_and_a_bare_one_stays_until_its_time()
    {
        var time = new FakeTimeProvider(Begin);
        await using var cluster = await StartAsync(time, typeof(NodeLifecycleController), typeof(ReplicationControllerController));
        await cluster.CreateAsync("nodes", Manifests.Node("n1"));
        await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 1));
        var replica = (await cluster.UntilAsync("the replica exists", () => cluster.ListAsync("pods"), p => p.Count == 1, Step))[0];
        await BindAsync(cluster, replica.At("metadata", "name")!);
        // Tolerates a lost node for ever, as a bare pod that must not move says.
        await cluster.CreateAsync("pods", Manifests.Pod("bare", spec: ",\"nodeName\":\"n1\",\"tolerations\":[{\"operator\":\"Exists\",\"effect\":\"NoExecute\"}]"));

        var lost = await cluster.UntilAsync("the node is tainted", () => cluster.GetAsync("nodes", "n1"), n => Taints(n).Contains("node.kubernetes.io/unreachable:NoExecute"), Step);
        Assert.True(time.GetUtcNow() - Begin >= TimeSpan.FromSeconds(50), "not before the grace period");
        Assert.Contains("node.kubernetes.io/unreachable:NoSchedule", Taints(lost));
        Assert.Equal(("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."), (lost.Condition("Ready").At("status"), lost.Condition("Ready").At("reason"), lost.Condition("Ready").At("message")));

        var pods = await cluster.UntilAsync("the replica is replaced", () => cluster.ListAsync("pods"), p => p.Count == 3 && p.Single(o => o.Uid() == replica.Uid()).IsDeleting(), TimeSpan.FromSeconds(10));
        Assert.True(time.GetUtcNow() - Begin >= TimeSpan.FromSeconds(350), "not before the pod's toleration of 300 s ends");
        Assert.False(pods.Single(p => p.At("metadata", "name") == "bare").IsDeleting());
        Assert.Null(pods.Single(p => p.Owner() is not null && p.Uid() != replica.Uid()).At("spec", "nodeName"));
    }

    [Fact]
    public async Task An_agent_connects_again_after_a_connect_that_broke_off_half_way()
    {
        var away = false;
        await using var cluster = await TestCluster.StartAsync(new()
        {
            Store = inner => StoreProxy.Around(inner, (_, commit) => commit(), method =>
            {
                if (Volatile.Read(ref away) && method == nameof(IObjectStore.GetRevisionAsync))
                    throw new StoreUnavailableException("as if cut off");
            }),
        });
        await cluster.CreateAsync("nodes", Manifests.Node("n1"));
        var node = cluster.Grains.GetGrain<INodeGrain>("n1");
        var observer = new SilentObserver();
        var reference = cluster.Grains.CreateObjectReference<INodeObserver>(observer);
        await node.ConnectAsync(reference, new NodeHello { SessionId = "first" }, TestContext.Current.CancellationToken);

        Volatile.Write(ref away, true);
        await Assert.ThrowsAnyAsync<Exception>(() => node.ConnectAsync(reference, new NodeHello { SessionId = "broken" }, TestContext.Current.CancellationToken));
        Volatile.Write(ref away, false);

        await node.ConnectAsync(reference, new NodeHello { SessionId = "second" }, TestContext.Current.CancellationToken);
        Assert.True((await node.HeartbeatAsync(new NodeHeartbeat { SessionId = "second" }, TestContext.Current.CancellationToken)).Known);
        GC.KeepAlive(observer);
    }

    [Fact]
    public async Task A_node_that_is_back_in_time_keeps_its_pods_and_loses_the_taints()
    {
        var time = new FakeTimeProvider(Begin);
        await using var cluster = await StartAsync(time, typeof(NodeLifecycleController));
        await cluster.CreateAsync("nodes", Manifests.Node("n1"));
        await cluster.CreateAsync("pods", Manifests.Pod("p", spec: ",\"nodeName\":\"n1\""));
        await cluster.UntilAsync("the node is tainted", () => cluster.GetAsync("nodes", "n1"), n => Taints(n).Contains("node.kubernetes.io/unreachable:NoExecute"), Step);
        var stamp = time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture);
        await cluster.PatchAsync("nodes", "n1", $$"""
            {"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"ok","lastHeartbeatTime":"{{stamp}}","lastTransitionTime":"{{stamp}}"}]} }
            """, "status");
        await cluster.UntilAsync("the taints are gone", () => cluster.GetAsync("nodes", "n1"), n => Taints(n).Count == 0, TimeSpan.FromMilliseconds(100));
        Assert.False((await cluster.GetAsync("pods", "p")).IsDeleting());
    }

    [Fact]
    public async Task A_node_that_is_not_ready_or_under_pressure_or_cordoned_is_tainted_for_it()
    {
        var time = new FakeTimeProvider(Begin);
        await using var cluster = await StartAsync(time, typeof(NodeLifecycleController));
        await cluster.CreateAsync("nodes", """{"metadata":{"name":"n1"},"spec":{"taints":[{"key":"mine","effect":"NoSchedule"}]} }""");
        await cluster.UntilAsync("a node that has said nothing is not ready", () => cluster.GetAsync("nodes", "n1"),
            n => Taints(n).SetEquals(["mine:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]), TimeSpan.FromMilliseconds(10));
        await cluster.PatchAsync("nodes", "n1", """{"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"True"}]} }""", "status");
        await cluster.PatchAsync("nodes", "n1", """{"spec":{"unschedulable":true} }""");
        await cluster.UntilAsync("pressure and cordon are taints", () => cluster.GetAsync("nodes", "n1"),
            n => Taints(n).SetEquals(["mine:NoSchedule", "node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]), TimeSpan.FromMilliseconds(10));
        await cluster.PatchAsync("nodes", "n1", """{"spec":{"unschedulable":null} }""");
        await cluster.PatchAsync("nodes", "n1", """{"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"False"}]} }""", "status");
        await cluster.UntilAsync("the user's own taint is left", () => cluster.GetAsync("nodes", "n1"), n => Taints(n).SetEquals(["mine:NoSchedule"]), TimeSpan.FromMilliseconds(10));
    }

    [Fact]
    public async Task Pods_of_a_removed_node_are_removed_after_a_while()
    {
        var time = new FakeTimeProvider(Begin);
        await using var cluster = await StartAsync(time, typeof(PodGarbageController));
        await cluster.CreateAsync("nodes", Manifests.Node("kept"));
        await cluster.CreateAsync("nodes", Manifests.Node("gone"));
        await cluster.CreateAsync("pods", Manifests.Pod("stays", spec: ",\"nodeName\":\"kept\""));
        await cluster.CreateAsync("pods", Manifests.Pod("goes", spec: ",\"nodeName\":\"gone\""));
        await cluster.CreateAsync("pods", Manifests.Pod("waits"));
        await cluster.DeleteAsync("nodes", "gone");
        var removed = time.GetUtcNow();
        await cluster.UntilAsync("the pod of the removed node is gone", () => cluster.GetAsync("pods", "goes"), p => p is null, Step);
        Assert.True(time.GetUtcNow() - removed >= TimeSpan.FromSeconds(40), "a node may come back under its name");
        Assert.Equal(["stays", "waits"], (await cluster.ListAsync("pods")).Of().Order());
    }

    [Fact]
    public async Task Of_too_many_finished_pods_the_oldest_go()
    {
        var time = new FakeTimeProvider(Begin);
        await using var cluster = await StartAsync(time, [typeof(PodGarbageController)], options => options.TerminatedPodThreshold = 2);
        foreach (var name in (string[])["first", "second", "third", "fourth"])
        {
            await cluster.CreateAsync("pods", Manifests.Pod(name));
            time.Advance(Step);
        }
        await cluster.CreateAsync("pods", Manifests.Pod("running"));
        foreach (var name in (string[])["fourth", "second", "third", "first"])
            await cluster.PatchAsync("pods", name, """{"status":{"phase":"Succeeded"} }""", "status");
        await cluster.UntilAsync("two finished ones are left", () => cluster.ListAsync("pods"), p => p.Of().Order().SequenceEqual(["fourth", "running", "third"]), Step);
    }

    private static Task<TestCluster> StartAsync(FakeTimeProvider time, params Type[] controllers) => StartAsync(time, controllers, null);

    private static Task<TestCluster> StartAsync(FakeTimeProvider time, Type[] controllers, Action<ControlPlaneOptions>? configure) =>
        TestCluster.StartAsync(new TestClusterOptions { Time = time, Controllers = controllers, Configure = configure });

    private static Task BindAsync(TestCluster cluster, string pod) => cluster.ExecuteAsync(cluster.Key("pods", pod), new ObjectRequest
    {
        Verb = ObjectVerb.Bind,
        Body = System.Text.Encoding.UTF8.GetBytes($$"""{"kind":"Binding","apiVersion":"v1","metadata":{"name":"{{pod}}"},"target":{"kind":"Node","name":"n1"} }"""),
    });

    private static HashSet<string> Taints(System.Text.Json.Nodes.JsonObject? node) =>
        [.. (node?["spec"]?["taints"] as System.Text.Json.Nodes.JsonArray ?? []).Select(t => $"{t.At("key")}:{t.At("effect")}")];

    private sealed class SilentObserver : INodeObserver
    {
        public Task SyncPodsAsync(PodSync sync) => Task.CompletedTask;

        public Task SessionEndedAsync(string node, string sessionId) => Task.CompletedTask;
    }
}
