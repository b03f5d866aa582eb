using System.Net;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Tests.Support;

namespace OrleansCluster.Kubelet.Tests.Nodes;

/// <summary>Tests that look at the whole process, and so run while no other does.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Alone
{
    public const string Name = "Alone";
}

/// <summary>What idle hollow pods and nodes cost. The budgets are far above what was measured, but would catch a timer or a document kept per pod.</summary>
[Collection(Alone.Name)]
public sealed class ScaleTests
{
    private const int Pods = 4000;
    private const int BudgetBytesPerNode = 60_000;
    private const int BudgetBytesPerPod = 9_000;

    [Fact]
    public async Task Idle_hollow_pods_are_small_and_quiet()
    {
        var controlPlane = new FakeControlPlane { HeartbeatInterval = TimeSpan.FromMinutes(10), KeepEvents = false };
        var runtime = new StubRuntime(new HollowRuntime(new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.16.0.0/16") }, TimeProvider.System));
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime, subnet: "10.16.0.0/16");
        var before = Measure();
        var observer = new PodSync
        {
            Node = "node-1",
            Complete = false,
            Pods = [.. Enumerable.Range(0, Pods).Select(i => PodJsonBuilder.Pod($"p{i}").Bytes())],
        };
        node.Agent.SyncPods(observer);
        var limit = DateTime.UtcNow.AddSeconds(120);
        while (runtime.Calls.GetValueOrDefault("startContainer") < Pods)
        {
            Assert.True(DateTime.UtcNow < limit, $"Waited for {Pods} starts.");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
        // The statuses of pods that the fake API does not know are answered with 404 and dropped: what is left is idle.
        long perPod;
        do
        {
            runtime.Specs.Clear();
            perPod = (Measure() - before) / Pods;
        }
        while (perPod > BudgetBytesPerPod && DateTime.UtcNow < limit);
        TestContext.Current.SendDiagnosticMessage($"{perPod} bytes per idle hollow pod, the runtime's share included");
        Assert.InRange(perPod, long.MinValue, BudgetBytesPerPod); // Less than nothing: what earlier tests left was collected meanwhile.
        GC.KeepAlive(observer);
    }

    [Fact]
    public async Task Idle_hollow_nodes_are_small()
    {
        const int Nodes = 500;
        var stop = TestContext.Current.CancellationToken;
        var controlPlane = new FakeControlPlane { HeartbeatInterval = TimeSpan.FromMinutes(10), KeepEvents = false };
        await using var first = await TestNode.StartAsync(
            controlPlane, TimeProvider.System, new HollowRuntime(new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.16.0.0/24") }, TimeProvider.System));
        var stored = controlPlane.All("nodes").Count;
        var before = Measure();
        var agents = Enumerable.Range(0, Nodes).Select(i => first.Another($"hollow-{i}", IPNetwork.Parse($"10.{32 + i / 256}.{i % 256}.0/24"))).ToList();
        foreach (var agent in agents)
            agent.Start(0);
        await controlPlane.WaitAsync(() => controlPlane.Calls["connect"] == stored + Nodes, "all nodes to connect");
        var fakes = controlPlane.All("nodes").Sum(node => 6L * node.ToJsonString().Length);
        var perNode = (Measure() - before) / Nodes;
        TestContext.Current.SendDiagnosticMessage($"{perNode} bytes per idle hollow node, the fake API's object (some {fakes / Nodes} bytes) included");
        Assert.InRange(perNode, long.MinValue, BudgetBytesPerNode);
        foreach (var agent in agents)
            await agent.StopAsync().WaitAsync(TimeSpan.FromSeconds(30), stop);
    }

    private static long Measure()
    {
        GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);
        GC.WaitForPendingFinalizers();
        return GC.GetTotalMemory(forceFullCollection: true);
    }
}
