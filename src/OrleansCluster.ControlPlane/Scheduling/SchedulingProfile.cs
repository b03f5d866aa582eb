using OrleansCluster.ControlPlane.Scheduling.Plugins;
using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>A score plug-in and what it counts.</summary>
/// <param name="Plugin">The plug-in.</param>
/// <param name="Weight">Factor of its 0 to 100.</param>
public sealed record WeightedScore(IScorePlugin Plugin, int Weight);

/// <summary>A named combination of plug-ins; pods choose it by `spec.schedulerName`.</summary>
/// <param name="Name">The scheduler name.</param>
/// <param name="Filters">Filters, the cheap ones that refuse most first.</param>
/// <param name="Scores">Scores with weights.</param>
public sealed record SchedulingProfile(string Name, IReadOnlyList<IFilterPlugin> Filters, IReadOnlyList<WeightedScore> Scores);

/// <summary>The profiles of this silo.</summary>
public sealed class SchedulingProfiles
{
    /// <summary>Scheduler name of pods that ask for none.</summary>
    public const string DefaultName = "default-scheduler";

    private readonly Dictionary<string, SchedulingProfile> _byName;

    /// <summary>Makes the profiles: the shipped one and those registered by the host.</summary>
    public SchedulingProfiles(IEnumerable<SchedulingProfile> registered)
    {
        _byName = registered.Append(Default()).DistinctBy(p => p.Name, StringComparer.Ordinal).ToDictionary(p => p.Name, StringComparer.Ordinal);
    }

    /// <summary>The profile of a pod, or null if it is for a scheduler of somebody else.</summary>
    public SchedulingProfile? Find(string schedulerName) =>
        _byName.GetValueOrDefault(schedulerName.Length == 0 ? DefaultName : schedulerName);

    private static SchedulingProfile Default()
    {
        var taints = new TaintToleration();
        var affinity = new NodeAffinity();
        var fit = new NodeResourcesFit();
        return new SchedulingProfile(
            DefaultName,
            [new NodeUnschedulable(), taints, affinity, new NodePorts(), fit],
            [new(taints, 3), new(affinity, 2), new(fit, 1), new(new NodeResourcesBalancedAllocation(), 1)]);
    }
}
