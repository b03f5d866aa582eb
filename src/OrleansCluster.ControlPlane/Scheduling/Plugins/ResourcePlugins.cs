using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling.Plugins;

/// <summary>
/// Refuses nodes without room for the pod's requests, and prefers the emptier ones: the mean, over cpu and memory, of
/// (allocatable − requested) · 100 / allocatable (wire contract, section 17). Pods that request nothing weigh in with stand-ins, so that they spread.
/// </summary>
internal sealed class NodeResourcesFit : IFilterPlugin, IScorePlugin
{
    public string Name => "NodeResourcesFit";

    public bool AppliesTo(PodRequirements pod) => true;

    public string? Refuse(PodRequirements pod, in NodeView node)
    {
        var facts = node.Facts;
        if (node.Pods + 1 > facts.AllocatablePods)
            return "Too many pods";
        var requests = pod.Requests;
        if (requests.MilliCpu > 0 && requests.MilliCpu > facts.Allocatable.MilliCpu - node.Requested.MilliCpu)
            return "Insufficient cpu";
        if (requests.Memory > 0 && requests.Memory > facts.Allocatable.Memory - node.Requested.Memory)
            return "Insufficient memory";
        if (requests.EphemeralStorage > 0 && requests.EphemeralStorage > facts.Allocatable.EphemeralStorage - node.Requested.EphemeralStorage)
            return "Insufficient ephemeral-storage";
        foreach (var (name, amount) in pod.Extended)
        {
            if (amount > 0 && amount > facts.Extended.GetValueOrDefault(name) - (node.Extended?.GetValueOrDefault(name) ?? 0))
                return "Insufficient " + name;
        }
        return null;
    }

    public long Score(PodRequirements pod, in NodeView node) =>
        (Least(node.Facts.Allocatable.MilliCpu, node.ScoringRequested.MilliCpu + pod.ScoringRequests.MilliCpu)
            + Least(node.Facts.Allocatable.Memory, node.ScoringRequested.Memory + pod.ScoringRequests.Memory)) / 2;

    private static long Least(long allocatable, long requested) =>
        allocatable == 0 || requested > allocatable ? 0 : (allocatable - requested) * 100 / allocatable;
}

/// <summary>Prefers nodes whose cpu and memory would be used to the same degree: (1 − half the difference of the two fractions) · 100.</summary>
internal sealed class NodeResourcesBalancedAllocation : IScorePlugin
{
    public string Name => "NodeResourcesBalancedAllocation";

    public bool AppliesTo(PodRequirements pod) => true;

    public long Score(PodRequirements pod, in NodeView node)
    {
        var cpu = Fraction(node.Facts.Allocatable.MilliCpu, node.Requested.MilliCpu + pod.Requests.MilliCpu);
        var memory = Fraction(node.Facts.Allocatable.Memory, node.Requested.Memory + pod.Requests.Memory);
        return (long)((1 - (Math.Abs(cpu - memory) / 2)) * 100);
    }

    private static double Fraction(long allocatable, long requested) =>
        allocatable == 0 ? 1 : Math.Min(1, requested / (double)allocatable);
}
