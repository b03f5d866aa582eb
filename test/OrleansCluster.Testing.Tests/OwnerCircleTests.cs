using k8s;
using k8s.Models;

namespace OrleansCluster.Testing.Tests;

/// <summary>Objects that own each other, or themselves: no deletion of one may wait for itself.</summary>
public sealed class OwnerCircleTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task ForegroundDeletion_OwnersInACircle_RemovesThemAll(int size)
    {
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions { Nodes = 0 }, Cancellation);
        var maps = new List<V1ConfigMap>();
        for (var i = 0; i < size; i++)
        {
            var map = new V1ConfigMap { Metadata = new V1ObjectMeta { Name = $"circle-{i}" } };
            maps.Add(await cluster.Kubernetes.CreateNamespacedConfigMapAsync(map, "default", cancellationToken: Cancellation));
        }
        for (var i = 0; i < size; i++)
        {
            var owner = maps[(i + 1) % size].Metadata;
            var patch = new V1Patch(
                new
                {
                    metadata = new
                    {
                        ownerReferences = new[] { new { apiVersion = "v1", kind = "ConfigMap", name = owner.Name, uid = owner.Uid, blockOwnerDeletion = true } },
                    },
                },
                V1Patch.PatchType.MergePatch);
            await cluster.Kubernetes.PatchNamespacedConfigMapAsync(patch, maps[i].Metadata.Name, "default", cancellationToken: Cancellation);
        }
        await cluster.Kubernetes.DeleteNamespacedConfigMapAsync("circle-0", "default", propagationPolicy: "Foreground", cancellationToken: Cancellation);
        await cluster.WaitForAsync<V1ConfigMap>(
            found => found.All(map => !map.Metadata.Name.StartsWith("circle-", StringComparison.Ordinal)), "the circle is gone", cancellationToken: Cancellation);
    }
}
