using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling.Plugins;

/// <summary>Refuses cordoned nodes, except to pods that tolerate the cordon's taint.</summary>
internal sealed class NodeUnschedulable : IFilterPlugin
{
    private static readonly Taint Cordon = new("node.kubernetes.io/unschedulable", "", "NoSchedule");

    public string Name => "NodeUnschedulable";

    public bool AppliesTo(PodRequirements pod) => true;

    public string? Refuse(PodRequirements pod, in NodeView node) =>
        node.Facts.Unschedulable && !TaintToleration.Tolerated(pod, Cordon) ? "node(s) were unschedulable" : null;
}

/// <summary>Refuses nodes with a taint of effect NoSchedule or NoExecute that the pod does not tolerate; prefers nodes with fewer PreferNoSchedule ones.</summary>
internal sealed class TaintToleration : IFilterPlugin, IScorePlugin
{
    public string Name => "TaintToleration";

    public ScoreNormalization Normalization => ScoreNormalization.Reversed;

    public bool AppliesTo(PodRequirements pod) => true;

    public string? Refuse(PodRequirements pod, in NodeView node)
    {
        foreach (var taint in node.Facts.Taints)
        {
            if (taint.Effect is "NoSchedule" or "NoExecute" && !Tolerated(pod, taint))
            {
                return taint.Value.Length == 0
                    ? $"node(s) had untolerated taint {{{taint.Key}: }}"
                    : $"node(s) had untolerated taint {{{taint.Key}: {taint.Value}}}";
            }
        }
        return null;
    }

    public long Score(PodRequirements pod, in NodeView node)
    {
        var count = 0;
        foreach (var taint in node.Facts.Taints)
        {
            if (taint.Effect == "PreferNoSchedule" && !Tolerated(pod, taint))
                count++;
        }
        return count;
    }

    internal static bool Tolerated(PodRequirements pod, Taint taint)
    {
        foreach (var toleration in pod.Tolerations)
        {
            if (toleration.Covers(taint))
                return true;
        }
        return false;
    }
}

/// <summary>Node selector and node affinity: the required ones refuse, the preferred ones score.</summary>
internal sealed class NodeAffinity : IFilterPlugin, IScorePlugin
{
    public string Name => "NodeAffinity";

    public ScoreNormalization Normalization => ScoreNormalization.Proportional;

    bool IFilterPlugin.AppliesTo(PodRequirements pod) => pod.NodeSelector.Count > 0 || pod.RequiredNodeAffinity is not null;

    bool IScorePlugin.AppliesTo(PodRequirements pod) => pod.PreferredNodeAffinity.Count > 0;

    public string? Refuse(PodRequirements pod, in NodeView node)
    {
        const string Mismatch = "node(s) didn't match Pod's node affinity/selector";
        foreach (var (key, value) in pod.NodeSelector)
        {
            if (!node.Facts.Labels.TryGetValue(key, out var label) || label != value)
                return Mismatch;
        }
        if (pod.RequiredNodeAffinity is null)
            return null;
        foreach (var term in pod.RequiredNodeAffinity)
        {
            if (term.Matches(node.Facts))
                return null;
        }
        return Mismatch;
    }

    public long Score(PodRequirements pod, in NodeView node)
    {
        long sum = 0;
        foreach (var (term, weight) in pod.PreferredNodeAffinity)
        {
            if (term.Matches(node.Facts))
                sum += weight;
        }
        return sum;
    }
}

/// <summary>Refuses nodes on which a host port of the pod is taken.</summary>
internal sealed class NodePorts : IFilterPlugin
{
    public string Name => "NodePorts";

    public bool AppliesTo(PodRequirements pod) => pod.HostPorts.Count > 0;

    public bool RoomWouldHelp => true;

    public string? Refuse(PodRequirements pod, in NodeView node)
    {
        foreach (var port in pod.HostPorts)
        {
            foreach (var taken in node.HostPorts ?? [])
            {
                if (port.ConflictsWith(taken))
                    return "node(s) didn't have free ports for the requested pod ports";
            }
        }
        return null;
    }
}
