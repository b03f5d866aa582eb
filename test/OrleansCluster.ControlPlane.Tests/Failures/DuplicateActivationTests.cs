using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Failures;

/// <summary>
/// Every grain twice, on purpose: two clusters that know nothing of each other on one store, as during a change of membership or a network split, only that
/// this one lasts. Nothing relies on Orleans' single activation; these tests are what says so.
/// </summary>
public sealed class DuplicateActivationTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ObjectGrain_Doubled_LosesNoAcknowledgedWriteAndDoesNoneTwice()
    {
        await using var pair = await StartPairAsync(new TestClusterOptions());
        await pair.First.CreateAsync("configmaps", """{"metadata":{"name":"counter","namespace":"default"},"data":{"first":"x"} }""");
        var key = pair.First.Key("configmaps", "counter");
        var acknowledged = await Task.WhenAll(Enumerable.Range(0, 120).Select(async i =>
        {
            var patch = new JsonArray(new JsonObject { ["op"] = "add", ["path"] = $"/data/k{i}", ["value"] = "x" });
            var reply = await (i % 2 == 0 ? pair.First : pair.Second).ExecuteAsync(key, new ObjectRequest
            {
                Verb = ObjectVerb.Patch,
                ContentType = MediaTypes.JsonPatch,
                Body = CanonicalJson.SerializeNode(patch),
            });
            // A refusal is an answer too, as long as nothing was written.
            return (Name: $"k{i}", reply.IsSuccess, reply.Revision);
        }));
        var data = (await pair.First.GetAsync("configmaps", "counter"))!["data"]!.AsObject();
        Assert.Equal(acknowledged.Where(a => a.IsSuccess).Select(a => a.Name).Order(StringComparer.Ordinal), data.Select(d => d.Key).Where(k => k != "first").Order(StringComparer.Ordinal));
        Assert.True(acknowledged.Count(a => a.IsSuccess) > 60);
        Assert.Equal(acknowledged.Count(a => a.IsSuccess), acknowledged.Where(a => a.IsSuccess).Select(a => a.Revision).Distinct().Count());
    }

    [Fact]
    public async Task NodeAndDecisionGrains_Doubled_NeverOvercommitANodeAndStillFillIt()
    {
        await using var pair = await StartPairAsync(new TestClusterOptions { Scheduler = true });
        await pair.First.CreateAsync("nodes", Manifests.Node("n0", pods: 5));
        await pair.First.CreateAsync("nodes", Manifests.Node("n1", pods: 5));
        await Task.WhenAll(Enumerable.Range(0, 30).Select(i => (i % 2 == 0 ? pair.First : pair.Second).CreateAsync("pods", Manifests.Pod($"p{i}"))));

        await pair.First.UntilAsync(
            "both nodes are full",
            async () =>
            {
                var bound = (await pair.First.ListAsync("pods")).Select(p => p.At("spec", "nodeName")).Where(n => n is not null).GroupBy(n => n!).ToDictionary(g => g.Key, g => g.Count());
                Assert.All(bound.Values, count => Assert.True(count <= 5, "a node has more pods than fit"));
                return bound;
            },
            bound => bound.Values.Sum() == 10);
    }

    [Fact]
    public async Task NodeGrain_ItsFenceHasMoved_TakesANewEpochAndThePodsAreBound()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Scheduler = true });
        await cluster.CreateAsync("nodes", Manifests.Node("n0"));
        await cluster.CreateAsync("pods", Manifests.Pod("first"));
        await cluster.UntilAsync("the first is bound", () => cluster.GetAsync("pods", "first"), p => p.At("spec", "nodeName") == "n0");

        // A change of the store's epoch raises all fences, and so does another activation of the node's grain.
        for (var i = 0; i < 3; i++)
            await cluster.Inner.AdvanceFenceAsync("pods", "node/n0", Cancellation);
        await cluster.CreateAsync("pods", Manifests.Pod("second"));
        await cluster.UntilAsync("the second is bound", () => cluster.GetAsync("pods", "second"), p => p.At("spec", "nodeName") == "n0", patience: TimeSpan.FromSeconds(20));
    }

    [Fact]
    public async Task NodeGrain_AnotherOneHasFilledTheNode_DoesNotKeepItsPromisesUnderANewEpoch()
    {
        await using var pair = await StartPairAsync(new TestClusterOptions());
        await pair.First.CreateAsync("nodes", Manifests.Node("n0", pods: 2));
        for (var i = 0; i < 4; i++)
            await pair.First.CreateAsync("pods", Manifests.Pod($"p{i}"));

        var old = await ReserveAsync(pair.First, "p0");
        Assert.Equal(old.Epoch, (await ReserveAsync(pair.First, "p1")).Epoch);
        foreach (var name in (string[])["p2", "p3"])
        {
            var promise = await ReserveAsync(pair.Second, name);
            Assert.True(promise.Admitted);
            Assert.True((await BindAsync(pair.Second, name, promise.Epoch)).IsSuccess);
        }
        Assert.True(ObjectGrain.IsFenceMoved((await BindAsync(pair.First, "p0", old.Epoch)).GetError()!));

        Assert.False((await ReserveAsync(pair.First, "p0", old.Epoch)).Admitted);
        Assert.False((await ReserveAsync(pair.First, "p1", old.Epoch)).Admitted);
    }

    [Fact]
    public async Task PumpsAndReconcileGrains_Doubled_SettleOnWhatIsDeclared()
    {
        await using var pair = await StartPairAsync(new TestClusterOptions
        {
            Controllers = [typeof(ReplicationControllerController), typeof(GarbageCollector)],
        });
        await pair.First.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 12));
        await SettlesAsync(12);
        await pair.Second.PatchAsync("replicationcontrollers", "web", """{"spec":{"replicas":5} }""");
        await SettlesAsync(5);
        await pair.First.DeleteAsync("replicationcontrollers", "web", new DeleteOptions(PropagationPolicy: "Background"));
        await SettlesAsync(0);

        Task SettlesAsync(int count) => pair.First.UntilAsync(
            $"there are {count} pods", () => pair.First.ListAsync("pods"), pods => pods.Count(p => !p.IsDeleting()) == count);
    }

    private static async Task<ReserveReply> ReserveAsync(TestCluster cluster, string pod, long refused = 0)
    {
        var bytes = CanonicalJson.SerializeNode((await cluster.GetAsync("pods", pod))!);
        var read = PodReader.Read(bytes);
        return await cluster.Grains.GetGrain<INodeGrain>("n0").ReserveAsync(
            new ReserveRequest { PodUid = read.Uid, PodKey = $"default/{pod}", Pod = bytes, Requirements = read, RefusedEpoch = refused }, Cancellation);
    }

    private static async Task<ObjectReply> BindAsync(TestCluster cluster, string pod, long epoch) => await cluster.ExecuteAsync(
        cluster.Key("pods", pod),
        new ObjectRequest
        {
            Verb = ObjectVerb.Bind,
            Body = Encoding.UTF8.GetBytes($$"""{"kind":"Binding","apiVersion":"v1","metadata":{"name":"{{pod}}","namespace":"default"},"target":{"kind":"Node","name":"n0"} }"""),
            NodeEpoch = epoch,
            FieldValidation = FieldValidation.Ignore,
        });

    private static async Task<Pair> StartPairAsync(TestClusterOptions options)
    {
        var first = await TestCluster.StartAsync(options);
        return new Pair(first, await TestCluster.StartAsync(options with { Seed = 2, Store = _ => first.Inner }));
    }

    private sealed record Pair(TestCluster First, TestCluster Second) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await Second.DisposeAsync();
            await First.DisposeAsync();
        }
    }
}
