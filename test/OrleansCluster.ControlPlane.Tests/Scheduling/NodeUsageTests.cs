using CsCheck;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Tests.Scheduling;

public sealed class NodeUsageTests
{
    private static readonly Gen<PodRequirements> Pods =
        from cpu in Gen.Long[0, 1000]
        from memory in Gen.Long[0, 1000]
        from ports in Gen.Int[1, 3].Array[0, 2]
        from gpus in Gen.Int[0, 2]
        select new PodRequirements
        {
            Key = "default/p",
            Uid = "p",
            Requests = new ResourceAmounts(cpu, memory, 0),
            ScoringRequests = new ResourceAmounts(cpu + 1, memory, 0),
            HostPorts = [.. ports.Select(p => new HostPort("TCP", "0.0.0.0", p))],
            Extended = gpus == 0 ? new Dictionary<string, long>() : new Dictionary<string, long> { ["gpu"] = gpus },
        };

    [Fact]
    public void Pods_taken_away_in_any_order_leave_nothing() => (from pods in Pods.Array[0, 8] from order in Gen.Shuffle(pods) select (pods, order)).Sample(
        input =>
        {
            var usage = input.pods.Aggregate(NodeUsage.None, (u, p) => u.With(p));
            Assert.Equal(input.pods.Length, usage.Pods);
            Assert.Equal(input.pods.Sum(p => p.Requests.MilliCpu), usage.Requested.MilliCpu);
            Assert.Equal(input.pods.Sum(p => p.HostPorts.Count), usage.HostPorts?.Count ?? 0);
            var left = input.order.Aggregate(usage, (u, p) => u.Without(p));
            Assert.Equal(NodeUsage.None, left);
        },
        iter: 500);
}
