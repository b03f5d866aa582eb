using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Tests.Harness;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Scheduling;

/// <summary>Queue, decision, node and bind together, on one silo and on two.</summary>
public sealed class PlacementTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Pods_go_where_they_fit()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("small", cpu: "1", labels: ",\"size\":\"small\""));
        await cluster.CreateAsync("nodes", Manifests.Node("large", cpu: "8", labels: ",\"size\":\"large\""));
        await cluster.CreateAsync("nodes", Manifests.Node("tainted", cpu: "16", spec: "\"taints\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]"));
        await cluster.CreateAsync("nodes", Manifests.Node("cordoned", cpu: "16", spec: "\"unschedulable\":true"));
        await cluster.CreateAsync("pods", Manifests.Pod("big", cpu: "4"));
        await cluster.CreateAsync("pods", Manifests.Pod("choosy", cpu: "100m", spec: ",\"nodeSelector\":{\"size\":\"small\"}"));
        await cluster.CreateAsync("pods", Manifests.Pod("tolerant", cpu: "10", spec: ",\"tolerations\":[{\"key\":\"k\",\"operator\":\"Equal\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]"));
        var pods = await cluster.UntilAsync("all are bound", () => cluster.ListAsync("pods"), p => p.Count == 3 && p.All(Bound));
        Assert.Equal(["big=large", "choosy=small", "tolerant=tainted"], pods.Select(p => $"{p.At("metadata", "name")}={p.At("spec", "nodeName")}").Order());
        Assert.All(pods, p => Assert.Equal("True", p.Condition("PodScheduled").At("status")));
        await cluster.UntilAsync("there is an event of it", () => cluster.ListAsync("events"), e => e.Any(o =>
            o.At("reason") == "Scheduled" && o.At("message") == "Successfully assigned default/big to large" && o.At("source", "component") == "default-scheduler"));
    }

    [Fact]
    public async Task A_pod_that_fits_nowhere_says_why_in_condition_event_and_trace_and_is_bound_when_a_node_comes()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("n1", cpu: "1"));
        await cluster.CreateAsync("nodes", Manifests.Node("n2", cpu: "16", spec: "\"taints\":[{\"key\":\"k\",\"effect\":\"NoSchedule\"}]"));
        await cluster.CreateAsync("nodes", Manifests.Node("n3", cpu: "1", memory: "1Gi"));
        var pod = await cluster.CreateAsync("pods", Manifests.Pod("big", cpu: "4", memory: "2Gi"));
        const string Message = "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {k: }, 2 Insufficient cpu. "
            + "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.";
        var pending = await cluster.UntilAsync("it says why", () => cluster.GetAsync("pods", "big"), p => p.Condition("PodScheduled").At("message") == Message);
        Assert.Equal(("False", "Unschedulable"), (pending.Condition("PodScheduled").At("status"), pending.Condition("PodScheduled").At("reason")));
        await cluster.UntilAsync("there is an event of it", () => cluster.ListAsync("events"), e => e.Any(o =>
            o.At("reason") == "FailedScheduling" && o.At("type") == "Warning" && o.At("message") == Message && o.At("involvedObject", "name") == "big"));

        await cluster.CreateAsync("nodes", Manifests.Node("n4", cpu: "8"));
        await cluster.UntilAsync("it is bound to the new node", () => cluster.GetAsync("pods", "big"), p => p.At("spec", "nodeName") == "n4");
        var trace = CanonicalJson.Parse((await cluster.Grains.GetGrain<ISchedulingDecisionGrain>(pod.Uid()).GetTraceAsync(Cancellation))!);
        var attempts = trace["latest"]!.AsArray();
        Assert.Equal("Unschedulable", attempts[0].At("result"));
        Assert.Equal(["Insufficient cpu 2 n1,n3", "Insufficient memory 1 n3", "node(s) had untolerated taint {k: } 1 n2"], attempts[0]!["tries"]![0]!["refusals"]!.AsArray()
            .Select(r => $"{r.At("reason")} {r.At("nodes")} {string.Join(',', r!["samples"]!.AsArray().Select(s => (string?)s).Order())}").Order());
        Assert.Equal(("Bound", "n4", "admitted"), (attempts[^1].At("result"), attempts[^1]!["tries"]![0]!["best"].At("0", "node"), attempts[^1]!["tries"]![0].At("reservation")));
    }

    [Fact]
    public async Task A_pod_waits_until_another_leaves()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("n1", pods: 1));
        await cluster.CreateAsync("pods", Manifests.Pod("first"));
        await cluster.UntilAsync("the first is bound", () => cluster.GetAsync("pods", "first"), p => Bound(p!));
        await cluster.CreateAsync("pods", Manifests.Pod("second"));
        await cluster.UntilAsync("the second waits", () => cluster.GetAsync("pods", "second"), p => p.Condition("PodScheduled").At("message")?.StartsWith("0/1 nodes are available: 1 Too many pods.", StringComparison.Ordinal) == true);
        await cluster.DeleteAsync("pods", "first", new DeleteOptions(GracePeriodSeconds: 0));
        await cluster.UntilAsync("the second is bound", () => cluster.GetAsync("pods", "second"), p => Bound(p!));
    }

    [Fact]
    public async Task A_node_that_has_not_reported_gets_no_pods()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", """{"metadata":{"name":"new"} }""");
        await cluster.CreateAsync("pods", Manifests.Pod("p"));
        await cluster.UntilAsync("the pod waits for it", () => cluster.GetAsync("pods", "p"),
            p => p.Condition("PodScheduled").At("message")?.StartsWith("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.", StringComparison.Ordinal) == true);
        await cluster.PatchAsync("nodes", "new", """{"status":{"capacity":{"cpu":"1","memory":"1Gi","pods":"5"},"allocatable":{"cpu":"1","memory":"1Gi","pods":"5"} } }""", "status");
        await cluster.UntilAsync("then it is bound", () => cluster.GetAsync("pods", "p"), p => Bound(p!));
    }

    [Fact]
    public async Task Pods_that_request_nothing_spread()
    {
        await using var cluster = await StartAsync();
        for (var i = 0; i < 4; i++)
            await cluster.CreateAsync("nodes", Manifests.Node($"n{i}", cpu: "8", memory: "32Gi"));
        await Task.WhenAll(Enumerable.Range(0, 40).Select(i => cluster.CreateAsync("pods", Manifests.Pod($"p{i}"))));
        var pods = await cluster.UntilAsync("all are bound", () => cluster.ListAsync("pods"), p => p.All(Bound));
        Assert.All(pods.CountBy(p => p.At("spec", "nodeName") ?? ""), n => Assert.InRange(n.Value, 6, 14));
    }

    [Fact]
    public async Task Of_hundreds_of_decisions_on_two_silos_none_puts_more_on_a_node_than_fits()
    {
        await using var cluster = await StartAsync(silos: 2);
        // Room for 4 nodes x 10 pods by count and for 4 x 8 by cpu: 120 want in at once from both silos.
        for (var i = 0; i < 4; i++)
            await cluster.CreateAsync("nodes", Manifests.Node($"n{i}", cpu: "4", pods: 10));
        await Task.WhenAll(Enumerable.Range(0, 120).Select(i => cluster.CreateAsync("pods", Manifests.Pod($"p{i}", cpu: "500m"))));
        await cluster.UntilAsync("the nodes are full", () => BoundPodsAsync(cluster), p => p.Count == 32);
        // Half of them go, others come, again and again; the log knows every moment.
        for (var round = 0; round < 3; round++)
        {
            var victims = (await BoundPodsAsync(cluster)).Of().Where((_, i) => i % 2 == 0).ToList();
            await Task.WhenAll(victims.Select(v => cluster.DeleteAsync("pods", v, new DeleteOptions(GracePeriodSeconds: 0))));
            await cluster.UntilAsync("the nodes are full again", () => BoundPodsAsync(cluster), p => p.Count == 32);
        }
        var onNode = new Dictionary<string, HashSet<string>>();
        foreach (var change in await cluster.Inner.ReadChangesAsync("pods", 0, 10_000, TimeSpan.Zero, Cancellation))
        {
            var pod = CanonicalJson.Parse(change.Value);
            if (pod.At("spec", "nodeName") is not { } node)
                continue;
            var there = onNode.TryGetValue(node, out var known) ? known : onNode[node] = [];
            if (change.Kind == CommitKind.Delete)
                there.Remove(pod.Uid());
            else
                there.Add(pod.Uid());
            Assert.True(there.Count <= 8, $"{node} held {there.Count} pods of 500m at revision {change.Revision}");
        }
        Assert.Equal(4, onNode.Count);
    }

    [Fact]
    public async Task The_promise_of_an_activation_that_has_been_succeeded_binds_nothing()
    {
        await using var cluster = await StartAsync(scheduler: false);
        await cluster.CreateAsync("nodes", Manifests.Node("n1"));
        var pod = await cluster.CreateAsync("pods", Manifests.Pod("p"));
        var promise = await cluster.Grains.GetGrain<INodeGrain>("n1").ReserveAsync(
            new ReserveRequest { PodUid = pod.Uid(), PodKey = "default/p", Pod = CanonicalJson.Serialize(pod) }, Cancellation);
        Assert.True(promise.Admitted);
        await cluster.Inner.AdvanceFenceAsync("pods", "node/n1", Cancellation); // As a second activation does first of all.
        var reply = await BindAsync(cluster, promise.Epoch);
        Assert.Equal(409, reply.Code);
        Assert.False(Bound((await cluster.GetAsync("pods", "p"))!));
        Assert.True((await BindAsync(cluster, promise.Epoch + 1)).IsSuccess);
    }

    [Fact]
    public async Task Higher_priorities_are_served_first()
    {
        await using var cluster = await StartAsync(scheduler: false);
        foreach (var (name, priority) in ((string, int)[])[("low", 0), ("high", 1000), ("middle", 10)])
            await cluster.CreateAsync("pods", Manifests.Pod(name, spec: $",\"priority\":{priority}"));
        var queue = await cluster.Inner.LeaseAsync("pods", "pending", 10, TimeSpan.FromSeconds(30), TimeSpan.Zero, Cancellation);
        Assert.Equal(["default/high", "default/middle", "default/low"], queue.Select(q => q.Key));
    }

    private static bool Bound(JsonObject pod) => pod.At("spec", "nodeName") is { Length: > 0 };

    private static async Task<List<JsonObject>> BoundPodsAsync(TestCluster cluster) => [.. (await cluster.ListAsync("pods")).Where(Bound)];

    private static Task<ObjectReply> BindAsync(TestCluster cluster, long epoch) => cluster.ExecuteAsync(cluster.Key("pods", "p"), new ObjectRequest
    {
        Verb = ObjectVerb.Bind,
        NodeEpoch = epoch,
        Body = System.Text.Encoding.UTF8.GetBytes("""{"kind":"Binding","apiVersion":"v1","metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"} }"""),
    });

    private static Task<TestCluster> StartAsync(bool scheduler = true, int silos = 1) =>
        TestCluster.StartAsync(new TestClusterOptions { Scheduler = scheduler, Silos = silos });
}
