using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Failures;

/// <summary>A silo is killed in the middle of work: its grains live on elsewhere, and nothing acknowledged is lost or done twice.</summary>
public sealed class SiloFailureTests
{
    [Fact]
    public async Task KilledSilo_ReconcilesGoOnAndWhatWasDoneTwiceIsTakenBack()
    {
        await using var cluster = await TestCluster.StartAsync(new()
        {
            Silos = 2,
            Scheduler = true,
            Controllers = [typeof(ReplicationControllerController), typeof(GarbageCollector)],
        });
        for (var i = 0; i < 4; i++)
            await cluster.CreateAsync("nodes", Manifests.Node($"n{i}"));
        for (var i = 0; i < 10; i++)
            await cluster.CreateAsync("replicationcontrollers", Manifests.ReplicationController($"rc{i}", 8, $"\"app\":\"rc{i}\""));
        await cluster.UntilAsync("the work is under way", () => cluster.ListAsync("pods"), pods => pods.Count > 10);

        await cluster.Orleans.KillSiloAsync(cluster.Orleans.Silos[1], TestContext.Current.CancellationToken);

        var pods = await cluster.UntilAsync(
            "every controller has its pods, each on a node",
            // A reconcile of the killed silo may overlap with its successor's and make a pod too many; that one is deleted again, which here nobody finishes on its node.
            async () => (await cluster.ListAsync("pods")).Where(p => p.At("metadata", "deletionTimestamp") is null).ToList(),
            kept => kept.Count == 80 && kept.All(p => p.At("spec", "nodeName") is not null));
        Assert.All(pods.GroupBy(p => p.At("metadata", "labels", "app")), g => Assert.Equal(8, g.Count()));
    }

    [Fact]
    public async Task KilledSilo_AcknowledgedWritesStay()
    {
        await using var cluster = await TestCluster.StartAsync(new() { Silos = 2 });
        var names = Enumerable.Range(0, 40).Select(i => $"m{i}").ToArray();
        foreach (var name in names)
            await cluster.CreateAsync("configmaps", $$"""{"metadata":{"name":"{{name}}","namespace":"default"},"data":{"n":"0"} }""");

        // Every writer counts what was acknowledged to it while the silo goes.
        var acknowledged = await Task.WhenAll(names.Select(async (name, index) =>
        {
            for (var n = 1; n <= 20; n++)
            {
                if (index == 0 && n == 5)
                    await cluster.Orleans.KillSiloAsync(cluster.Orleans.Silos[1], TestContext.Current.CancellationToken);
                await cluster.PatchAsync("configmaps", name, $$"""{"data":{"n":"{{n}}"} }""");
            }
            return (Name: name, Last: 20);
        }));

        foreach (var (name, last) in acknowledged)
            Assert.Equal($"{last}", (await cluster.GetAsync("configmaps", name)).At("data", "n"));
    }
}
