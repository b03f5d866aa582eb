using System.Collections.Concurrent;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Failures;

/// <summary>One of two silos dies in the middle of everything: what was acknowledged is there, and what was begun is finished by the other.</summary>
public sealed class SiloKillTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task After_a_silo_is_killed_no_acknowledged_write_is_missing_and_all_converges()
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions
        {
            Silos = 2,
            Scheduler = true,
            Controllers = [typeof(ReplicationControllerController), typeof(GarbageCollector), typeof(EndpointsController), typeof(EndpointSliceController)],
        });
        for (var i = 0; i < 5; i++)
            await cluster.CreateAsync("nodes", Manifests.Node($"n{i}"));
        await cluster.CreateAsync("services", Manifests.Service("front"));
        await cluster.CreateAsync("configmaps", """{"metadata":{"name":"counter","namespace":"default"},"data":{} }""");

        var acknowledged = new ConcurrentBag<string>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        var writers = Enumerable.Range(0, 8).Select(w => Task.Run(() => WriteAsync(cluster, w, acknowledged, stop.Token), Cancellation)).ToList();
        await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 40));
        await cluster.UntilAsync("work is under way", async () => acknowledged.Count > 50 && (await cluster.ListAsync("pods")).Count > 5);

        await cluster.Orleans.KillSiloAsync(cluster.Orleans.Silos[1], Cancellation);
        var before = acknowledged.Count;
        await cluster.UntilAsync("writes go on", () => Task.FromResult(acknowledged.Count > before + 100));
        await stop.CancelAsync();
        await Task.WhenAll(writers);

        var data = (await cluster.GetAsync("configmaps", "counter"))!["data"]!.AsObject().Select(p => p.Key).ToHashSet();
        Assert.Empty(acknowledged.Where(k => k.StartsWith('k')).Except(data));
        var names = (await cluster.ListAsync("secrets")).Of().ToHashSet();
        Assert.Empty(acknowledged.Where(k => k.StartsWith('s')).Except(names));

        await cluster.UntilAsync("forty pods, all bound, none double", () => cluster.ListAsync("pods"), p => p.Count == 40 && p.All(o => o.At("spec", "nodeName") is not null));
        await cluster.PatchAsync("replicationcontrollers", "web", """{"spec":{"replicas":10} }""");
        await cluster.UntilAsync("ten are left", () => cluster.ListAsync("pods"), p => p.Count(o => !o.IsDeleting()) == 10);
        await cluster.DeleteAsync("replicationcontrollers", "web", new DeleteOptions(PropagationPolicy: "Background"));
        await cluster.UntilAsync("none is left", () => cluster.ListAsync("pods"), p => p.All(o => o.IsDeleting()));
    }

    // Each writer alternates a patch of one shared object with the creation of one of its own.
    private static async Task WriteAsync(TestCluster cluster, int writer, ConcurrentBag<string> acknowledged, CancellationToken stop)
    {
        for (var i = 0; !stop.IsCancellationRequested; i++)
        {
            try
            {
                await cluster.PatchAsync("configmaps", "counter", $$"""{"data":{"k{{writer}}-{{i}}":"1"} }""");
                acknowledged.Add($"k{writer}-{i}");
                await cluster.CreateAsync("secrets", $$"""{"metadata":{"name":"s{{writer}}-{{i}}","namespace":"default"} }""");
                acknowledged.Add($"s{writer}-{i}");
            }
            catch (StatusException unknown) when (unknown.Status.Code == 504)
            {
                // Not acknowledged: it may be there or not.
            }
        }
    }
}
