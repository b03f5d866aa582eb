using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Objects;

/// <summary>One writer per object, and what it does when the store's answer is lost.</summary>
public sealed class ObjectGrainTests
{
    private const string Map = """{"metadata":{"name":"m","namespace":"default"},"data":{"a":"1"}}""";

    private static async Task<int> CodeAsync(Func<Task> write)
    {
        try
        {
            await write();
            return 200;
        }
        catch (StatusException error)
        {
            return error.Status.Code;
        }
    }

    [Fact]
    public async Task Patches_OfManyCallersAtOnce_AllLand()
    {
        await using var cluster = await TestCluster.StartAsync(new() { Silos = 2 });
        await cluster.CreateAsync("configmaps", Map);

        await Task.WhenAll(Enumerable.Range(0, 64).Select(i => cluster.PatchAsync("configmaps", "m", $$"""{"data":{"k{{i}}":"{{i}}"} }""")));

        var data = (JsonObject)(await cluster.GetAsync("configmaps", "m"))!["data"]!;
        Assert.Equal(65, data.Count);
    }

    [Fact]
    public async Task Updates_OnOneRevision_OnlyOneWins()
    {
        await using var cluster = await TestCluster.StartAsync();
        var created = await cluster.CreateAsync("configmaps", Map);

        var codes = await Task.WhenAll(Enumerable.Range(0, 16).Select(i =>
        {
            var mine = (JsonObject)created.DeepClone();
            mine["data"] = new JsonObject { ["a"] = $"mine-{i}" };
            return CodeAsync(() => cluster.Client.UpdateAsync(cluster.Key("configmaps", "m"), mine, TestContext.Current.CancellationToken));
        }));

        Assert.Single(codes, 200);
        Assert.Equal(15, codes.Count(c => c == 409));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Create_TheStoresAnswerIsLost_IsThereOnceWithTheCallersUid(bool committed)
    {
        var losses = 2;
        await using var cluster = await TestCluster.StartAsync(new()
        {
            Store = inner => StoreProxy.Around(inner, async (batch, commit) =>
            {
                if (!batch.Any(c => c.Resource == "configmaps") || Interlocked.Decrement(ref losses) < 0)
                    return await commit();
                if (committed)
                    await commit();
                throw new TimeoutException("the answer was lost");
            }),
        });

        var created = await cluster.CreateAsync("configmaps", Map);

        var stored = await cluster.GetAsync("configmaps", "m");
        Assert.Equal(created.At("metadata", "uid"), stored.At("metadata", "uid"));
        var changes = await cluster.Inner.ReadChangesAsync("configmaps", 0, 100, TimeSpan.Zero, TestContext.Current.CancellationToken);
        Assert.Single(changes, c => c.Key.EndsWith("/m", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Patch_TheStoresAnswerIsLost_IsAppliedAndNothingElseIsLost()
    {
        var losses = 0;
        await using var cluster = await TestCluster.StartAsync(new()
        {
            Store = inner => StoreProxy.Around(inner, async (batch, commit) =>
            {
                var result = await commit();
                return batch.Any(c => c.Resource == "configmaps") && Interlocked.Decrement(ref losses) >= 0
                    ? throw new TimeoutException("the answer was lost")
                    : result;
            }),
        });
        await cluster.CreateAsync("configmaps", Map);

        losses = 1;
        await cluster.PatchAsync("configmaps", "m", """{"data":{"b":"2"}}""");
        await cluster.PatchAsync("configmaps", "m", """{"data":{"c":"3"}}""");

        Assert.Equal("""{"a":"1","b":"2","c":"3"}""", (await cluster.GetAsync("configmaps", "m"))!["data"]!.ToJsonString());
    }

    [Fact]
    public async Task Delete_WithAFinalizer_WaitsForIt()
    {
        await using var cluster = await TestCluster.StartAsync();
        await cluster.CreateAsync("configmaps", """{"metadata":{"name":"m","namespace":"default","finalizers":["example.com/hold"]}}""");

        await cluster.DeleteAsync("configmaps", "m", new DeleteOptions { GracePeriodSeconds = 0 });
        var marked = await cluster.GetAsync("configmaps", "m");
        Assert.NotNull(marked.At("metadata", "deletionTimestamp"));
        Assert.Equal(422, await CodeAsync(() => cluster.PatchAsync("configmaps", "m", """{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}""")));

        await cluster.PatchAsync("configmaps", "m", """{"metadata":{"finalizers":null}}""");
        Assert.Null(await cluster.GetAsync("configmaps", "m"));
    }

    [Fact]
    public async Task Delete_OfABoundPod_IsMarkedAndStays_WithoutGraceItGoes()
    {
        await using var cluster = await TestCluster.StartAsync();
        await cluster.CreateAsync("pods", Manifests.Pod("p", spec: ",\"nodeName\":\"n1\",\"terminationGracePeriodSeconds\":7"));

        await cluster.DeleteAsync("pods", "p");
        var marked = await cluster.GetAsync("pods", "p");
        Assert.Equal("7", marked.At("metadata", "deletionGracePeriodSeconds"));

        await cluster.DeleteAsync("pods", "p", new DeleteOptions { GracePeriodSeconds = 0 });
        Assert.Null(await cluster.GetAsync("pods", "p"));
    }

    [Fact]
    public async Task Delete_WithAnotherUid_IsAConflict()
    {
        await using var cluster = await TestCluster.StartAsync();
        await cluster.CreateAsync("configmaps", Map);

        Assert.Equal(409, await CodeAsync(() => cluster.DeleteAsync("configmaps", "m", new DeleteOptions { PreconditionUid = "another" })));
        Assert.NotNull(await cluster.GetAsync("configmaps", "m"));
    }

    [Fact]
    public async Task Writes_OfTheSameNameAfterADeletion_StartAnew()
    {
        await using var cluster = await TestCluster.StartAsync();
        var first = await cluster.CreateAsync("configmaps", Map);
        Assert.Equal(409, await CodeAsync(() => cluster.CreateAsync("configmaps", Map)));

        await cluster.DeleteAsync("configmaps", "m");
        var second = await cluster.CreateAsync("configmaps", Map);

        Assert.NotEqual(first.At("metadata", "uid"), second.At("metadata", "uid"));
        Assert.Equal(404, await CodeAsync(() => cluster.PatchAsync("configmaps", "gone", "{}")));
    }
}
