using System.Text.Json.Nodes;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Scheduling;

/// <summary>The whole scheduler: queue, decision grains, node grains and the commit that checks them.</summary>
public sealed class SchedulerTests
{
    private static Task<TestCluster> StartAsync(int silos = 1) => TestCluster.StartAsync(new() { Scheduler = true, Silos = silos });

    private static Task<JsonObject?> UntilBoundAsync(TestCluster cluster, string pod) =>
        cluster.UntilAsync($"{pod} is bound", () => cluster.GetAsync("pods", pod), p => p.At("spec", "nodeName") is not null);

    /// <summary>Until the pod's condition says so; the view that decides may not have had every node at first.</summary>
    private static async Task<string> UntilUnschedulableAsync(TestCluster cluster, string pod, string start) =>
        (await cluster.UntilAsync(
            $"{pod} is said to be unschedulable: {start}",
            () => cluster.GetAsync("pods", pod),
            p => p.At("status", "conditions", "0", "reason") == "Unschedulable"
                && p.At("status", "conditions", "0", "message")!.StartsWith(start, StringComparison.Ordinal))).At("status", "conditions", "0", "message")!;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task ManyPodsAtOnce_NeverMoreOnANodeThanFit(int silos)
    {
        await using var cluster = await StartAsync(silos);
        // Eight nodes with room for ten each by cpu: eighty of a hundred and twenty pods fit.
        for (var i = 0; i < 8; i++)
            await cluster.CreateAsync("nodes", Manifests.Node($"n{i}", cpu: "1"));
        await Task.WhenAll(Enumerable.Range(0, 120).Select(i => cluster.CreateAsync("pods", Manifests.Pod($"p{i}", cpu: "100m"))));

        var pods = await cluster.UntilAsync(
            "eighty are bound and the rest know why not",
            () => cluster.ListAsync("pods"),
            all => all.Count(p => p.At("spec", "nodeName") is not null) >= 80
                && all.All(p => p.At("spec", "nodeName") is not null || p.At("status", "conditions", "0", "reason") == "Unschedulable"));

        var perNode = pods.Where(p => p.At("spec", "nodeName") is not null).GroupBy(p => p.At("spec", "nodeName")).ToDictionary(g => g.Key!, g => g.Count());
        Assert.Equal(80, perNode.Values.Sum());
        Assert.All(perNode, n => Assert.Equal(10, n.Value));
    }

    [Fact]
    public async Task Pod_ThatFitsNowhere_SaysWhyInTheUsualWords()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("small-1", cpu: "1"));
        await cluster.CreateAsync("nodes", Manifests.Node("small-2", cpu: "1"));
        await cluster.CreateAsync("pods", Manifests.Pod("big", cpu: "2"));

        await UntilUnschedulableAsync(cluster, "big", "0/2 nodes are available: 2 Insufficient cpu.");

        await cluster.CreateAsync("nodes", Manifests.Node("large", cpu: "4"));
        Assert.Equal("large", (await UntilBoundAsync(cluster, "big")).At("spec", "nodeName"));
    }

    [Fact]
    public async Task Refusals_OfSeveralKinds_AreCountedTogether()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("cordoned", spec: "\"unschedulable\":true"));
        await cluster.CreateAsync("nodes", Manifests.Node("tainted", spec: "\"taints\":[{\"key\":\"team\",\"value\":\"a\",\"effect\":\"NoSchedule\"}]"));
        await cluster.CreateAsync("nodes", Manifests.Node("small", cpu: "1", memory: "1Gi", labels: ",\"disk\":\"ssd\""));
        await cluster.CreateAsync("pods", Manifests.Pod("p", cpu: "2", spec: ",\"nodeSelector\":{\"disk\":\"ssd\"}"));

        var message = await UntilUnschedulableAsync(cluster, "p", "0/3 nodes are available: ");

        Assert.Contains("1 Insufficient cpu", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Room_ThatAPodLeaves_IsTakenByOneThatWaits()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("only", cpu: "1"));
        await cluster.CreateAsync("pods", Manifests.Pod("first", cpu: "800m"));
        await UntilBoundAsync(cluster, "first");
        await cluster.CreateAsync("pods", Manifests.Pod("second", cpu: "800m"));
        await UntilUnschedulableAsync(cluster, "second", "0/1 nodes are available: 1 Insufficient cpu.");

        await cluster.DeleteAsync("pods", "first", new() { GracePeriodSeconds = 0 });

        await UntilBoundAsync(cluster, "second");
    }

    [Fact]
    public async Task Tolerations_AndSelectors_AreFollowed()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("plain"));
        await cluster.CreateAsync("nodes", Manifests.Node("gpu", spec: "\"taints\":[{\"key\":\"gpu\",\"effect\":\"NoSchedule\"}]", labels: ",\"kind\":\"gpu\""));
        await cluster.CreateAsync("pods", Manifests.Pod("ordinary"));
        await cluster.CreateAsync(
            "pods", Manifests.Pod("special", spec: ",\"nodeSelector\":{\"kind\":\"gpu\"},\"tolerations\":[{\"key\":\"gpu\",\"operator\":\"Exists\"}]"));

        Assert.Equal("plain", (await UntilBoundAsync(cluster, "ordinary")).At("spec", "nodeName"));
        Assert.Equal("gpu", (await UntilBoundAsync(cluster, "special")).At("spec", "nodeName"));
    }

    [Fact]
    public async Task Pods_ThatAskForNothing_SpreadOverTheNodes()
    {
        await using var cluster = await StartAsync();
        for (var i = 0; i < 4; i++)
            await cluster.CreateAsync("nodes", Manifests.Node($"n{i}"));
        for (var i = 0; i < 20; i++)
            await cluster.CreateAsync("pods", Manifests.Pod($"p{i}"));

        var pods = await cluster.UntilAsync("all are bound", () => cluster.ListAsync("pods"), all => all.All(p => p.At("spec", "nodeName") is not null));

        Assert.All(pods.GroupBy(p => p.At("spec", "nodeName")), g => Assert.InRange(g.Count(), 3, 7));
    }

    [Fact]
    public async Task Pod_OfAnotherScheduler_IsLeftAlone()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("nodes", Manifests.Node("n"));
        await cluster.CreateAsync("pods", Manifests.Pod("theirs", spec: ",\"schedulerName\":\"other\""));
        await cluster.CreateAsync("pods", Manifests.Pod("ours"));

        await UntilBoundAsync(cluster, "ours");
        Assert.Null((await cluster.GetAsync("pods", "theirs")).At("spec", "nodeName"));
    }
}
