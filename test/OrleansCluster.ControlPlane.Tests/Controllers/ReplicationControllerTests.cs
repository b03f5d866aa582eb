using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>The replication controller with its garbage collector, without nodes: pods are what a test says of them.</summary>
public sealed class ReplicationControllerTests
{
    private static Task<TestCluster> StartAsync() =>
        TestCluster.StartAsync(new() { Controllers = [typeof(ReplicationControllerController), typeof(GarbageCollector)] });

    private static Task<List<JsonObject>> PodsAsync(TestCluster cluster) => cluster.ListAsync("pods");

    private static string? Owner(JsonObject pod) => pod.At("metadata", "ownerReferences", "0", "uid");

    private static Task<List<JsonObject>> UntilCountAsync(TestCluster cluster, int count) =>
        cluster.UntilAsync($"{count} pods are there", () => PodsAsync(cluster), pods => pods.Count == count);

    private static Task UntilStatusAsync(TestCluster cluster, string name, int replicas) =>
        cluster.UntilAsync($"{name} counts {replicas}", () => cluster.GetAsync("replicationcontrollers", name), rc => rc.At("status", "replicas") == $"{replicas}");

    /// <summary>What happened to controllers and pods, for a test that failed.</summary>
    private static async Task<string> HistoryAsync(TestCluster cluster)
    {
        var lines = new List<string>();
        foreach (var resource in (string[])["replicationcontrollers", "pods"])
        {
            var changes = await cluster.Inner.ReadChangesAsync(resource, 0, 1000, TimeSpan.Zero, TestContext.Current.CancellationToken);
            lines.AddRange(changes.Select(c => $"{resource} {c.Revision} {c.Kind} {System.Text.Encoding.UTF8.GetString(c.Value)}"));
        }
        return string.Join('\n', lines);
    }

    [Fact]
    public async Task Create_MakesThePodsItOwns()
    {
        await using var cluster = await StartAsync();
        var rc = await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 3));

        var pods = await UntilCountAsync(cluster, 3);

        Assert.All(pods, p => Assert.Equal(rc.At("metadata", "uid"), Owner(p)));
        Assert.All(pods, p => Assert.StartsWith("web-", p.At("metadata", "name"), StringComparison.Ordinal));
        await UntilStatusAsync(cluster, "web", 3);
        Assert.Equal("1", (await cluster.GetAsync("replicationcontrollers", "web")).At("status", "observedGeneration"));
    }

    [Fact]
    public async Task Orphans_ThatMatch_AreAdopted_ForeignPodsAreNot()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("pods", Manifests.Pod("orphan", metadata: ",\"labels\":{\"app\":\"web\"}"));
        await cluster.CreateAsync("pods", Manifests.Pod(
            "foreign",
            metadata: ",\"labels\":{\"app\":\"web\"},\"ownerReferences\":[{\"apiVersion\":\"example.com/v1\",\"kind\":\"Other\",\"name\":\"o\",\"uid\":\"u-1\",\"controller\":true}]"));

        var rc = await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 2));
        await UntilStatusAsync(cluster, "web", 2);

        Assert.Equal(rc.At("metadata", "uid"), Owner((await cluster.GetAsync("pods", "orphan"))!));
        Assert.Equal("u-1", Owner((await cluster.GetAsync("pods", "foreign"))!));
        Assert.Equal(3, (await PodsAsync(cluster)).Count);
    }

    [Fact]
    public async Task Pod_WhoseLabelsStopMatching_IsReleasedAndReplaced()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 2));
        var pods = await UntilCountAsync(cluster, 2);
        var name = pods[0].At("metadata", "name")!;

        await cluster.PatchAsync("pods", name, """{"metadata":{"labels":{"app":"debug"}}}""");

        await UntilCountAsync(cluster, 3);
        var released = await cluster.UntilAsync("it is released", () => cluster.GetAsync("pods", name), p => p is not null && Owner(p) is null);
        Assert.Null(released.At("metadata", "deletionTimestamp"));
    }

    [Fact]
    public async Task ScaleDown_TakesTheLeastUsefulFirst()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 4));
        var names = (await UntilCountAsync(cluster, 4)).Select(p => p.At("metadata", "name")!).ToArray();
        // Two run and are ready, one runs and is not, one has no node.
        for (var i = 0; i < 3; i++)
        {
            await cluster.ExecuteAsync(
                cluster.Key("pods", names[i]),
                new ObjectRequest
                {
                    Verb = ObjectVerb.Bind,
                    Subresource = "binding",
                    Body = CanonicalJson.SerializeNode(new JsonObject { ["target"] = new JsonObject { ["kind"] = "Node", ["name"] = $"n{i}" } }),
                });
            await cluster.PatchAsync("pods", names[i], Manifests.Running($"10.0.0.{i + 1}", ready: i < 2), "status");
        }

        await cluster.PatchAsync("replicationcontrollers", "web", """{"spec":{"replicas":3}}""");
        await cluster.UntilAsync("the unassigned one goes", () => cluster.GetAsync("pods", names[3]), p => p is null);
        await cluster.PatchAsync("replicationcontrollers", "web", """{"spec":{"replicas":2}}""");
        await cluster.UntilAsync("the unready one goes", () => cluster.GetAsync("pods", names[2]), p => p is null || p.At("metadata", "deletionTimestamp") is not null);

        Assert.Null((await cluster.GetAsync("pods", names[0])).At("metadata", "deletionTimestamp"));
        Assert.Null((await cluster.GetAsync("pods", names[1])).At("metadata", "deletionTimestamp"));
    }

    [Fact]
    public async Task Delete_Orphaning_LeavesThePodsWithoutAnOwner()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 2));
        await UntilCountAsync(cluster, 2);

        await cluster.DeleteAsync("replicationcontrollers", "web", new DeleteOptions { PropagationPolicy = "Orphan" });

        await cluster.UntilAsync("it is gone", () => cluster.GetAsync("replicationcontrollers", "web"), rc => rc is null);
        var pods = await UntilCountAsync(cluster, 2);
        Assert.True(pods.All(p => Owner(p) is null), await HistoryAsync(cluster));
    }

    [Theory]
    [InlineData("Background")]
    [InlineData("Foreground")]
    public async Task Delete_Cascading_TakesThePods(string policy)
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 2));
        await UntilCountAsync(cluster, 2);
        var bystander = await cluster.CreateAsync("pods", Manifests.Pod("bystander", metadata: ",\"labels\":{\"app\":\"other\"}"));

        await cluster.DeleteAsync("replicationcontrollers", "web", new DeleteOptions { PropagationPolicy = policy });

        await cluster.UntilAsync("it is gone", () => cluster.GetAsync("replicationcontrollers", "web"), rc => rc is null);
        var left = Assert.Single(await UntilCountAsync(cluster, 1));
        Assert.Equal(bystander.At("metadata", "uid"), left.At("metadata", "uid"));
    }

    [Fact]
    public async Task Pod_OfAnOwnerThatWasReplacedByANamesake_IsCollected()
    {
        await using var cluster = await StartAsync();
        await cluster.CreateAsync("configmaps", """{"metadata":{"name":"m","namespace":"default"}}""");
        await cluster.CreateAsync("pods", Manifests.Pod(
            "child", metadata: ",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"m\",\"uid\":\"of-the-one-before\"}]"));

        await cluster.UntilAsync("the child is collected", () => cluster.GetAsync("pods", "child"), p => p is null);
        Assert.NotNull(await cluster.GetAsync("configmaps", "m"));
    }
}
