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

    public bool RoomWouldHelp => true;

    public string? Refuse(PodRequirements pod, in NodeView node)
    {
        if (node.Pods + 1 > node.Facts.AllocatablePods)
            return "Too many pods";
        if (Lacks(pod.Requests.MilliCpu, node.Facts.Allocatable.MilliCpu, node.Requested.MilliCpu))
            return "Insufficient cpu";
        if (Lacks(pod.Requests.Memory, node.Facts.Allocatable.Memory, node.Requested.Memory))
            return "Insufficient memory";
        if (Lacks(pod.Requests.EphemeralStorage, node.Facts.Allocatable.EphemeralStorage, node.Requested.EphemeralStorage))
            return "Insufficient ephemeral-storage";
        if (pod.Extended.Count == 0)
            return null;
        foreach (var (name, amount) in pod.Extended)
        {
            if (LacksExtended(name, amount, node))
                return "Insufficient " + name;
        }
        return null;
    }

    public void AddFurtherReasons(PodRequirements pod, in NodeView node, ICollection<string> reasons)
    {
        var first = Refuse(pod, node);
        void Add(string reason)
        {
            if (reason != first)
                reasons.Add(reason);
        }
        if (Lacks(pod.Requests.MilliCpu, node.Facts.Allocatable.MilliCpu, node.Requested.MilliCpu))
            Add("Insufficient cpu");
        if (Lacks(pod.Requests.Memory, node.Facts.Allocatable.Memory, node.Requested.Memory))
            Add("Insufficient memory");
        if (Lacks(pod.Requests.EphemeralStorage, node.Facts.Allocatable.EphemeralStorage, node.Requested.EphemeralStorage))
            Add("Insufficient ephemeral-storage");
        foreach (var (name, amount) in pod.Extended)
        {
            if (LacksExtended(name, amount, node))
                Add("Insufficient " + name);
        }
    }

    private static bool Lacks(long wanted, long allocatable, long requested) => wanted > 0 && wanted > allocatable - requested;

    private static bool LacksExtended(string name, long amount, in NodeView node) =>
        Lacks(amount, node.Facts.Extended.GetValueOrDefault(name), node.Extended?.GetValueOrDefault(name) ?? 0);

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
