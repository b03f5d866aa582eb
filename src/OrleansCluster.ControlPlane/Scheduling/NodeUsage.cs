using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// What the pods of one node take, summed. Immutable; the one place that adds and subtracts pods, for the scheduler's view and for the node's authority
/// alike, so that the two count by the same rule.
/// </summary>
internal sealed record NodeUsage
{
    public static readonly NodeUsage None = new();

    public ResourceAmounts Requested { get; private init; }

    public ResourceAmounts ScoringRequested { get; private init; }

    public int Pods { get; private init; }

    /// <summary>Host ports in use, or null if none.</summary>
    public IReadOnlyCollection<HostPort>? HostPorts { get; private init; }

    /// <summary>Extended resources in use, or null if none.</summary>
    public IReadOnlyDictionary<string, long>? Extended { get; private init; }

    public NodeUsage With(PodRequirements pod) => new()
    {
        Requested = Requested + pod.Requests,
        ScoringRequested = ScoringRequested + pod.ScoringRequests,
        Pods = Pods + 1,
        HostPorts = pod.HostPorts.Count == 0 ? HostPorts : [.. HostPorts ?? [], .. pod.HostPorts],
        Extended = Add(pod.Extended, 1),
    };

    public NodeUsage Without(PodRequirements pod)
    {
        var ports = HostPorts;
        if (pod.HostPorts.Count > 0 && ports is not null)
        {
            var left = ports.ToList();
            foreach (var port in pod.HostPorts)
                left.Remove(port);
            ports = left.Count == 0 ? null : left;
        }
        return new NodeUsage
        {
            Requested = Requested - pod.Requests,
            ScoringRequested = ScoringRequested - pod.ScoringRequests,
            Pods = Pods - 1,
            HostPorts = ports,
            Extended = Add(pod.Extended, -1),
        };
    }

    public NodeView View(NodeFacts facts) => new(facts, Requested, Pods, HostPorts) { ScoringRequested = ScoringRequested, Extended = Extended };

    private IReadOnlyDictionary<string, long>? Add(IReadOnlyDictionary<string, long> amounts, int sign)
    {
        if (amounts.Count == 0)
            return Extended;
        var sum = Extended is null ? new Dictionary<string, long>(StringComparer.Ordinal) : new Dictionary<string, long>(Extended, StringComparer.Ordinal);
        foreach (var (name, amount) in amounts)
        {
            var left = sum.GetValueOrDefault(name) + (sign * amount);
            if (left == 0)
                sum.Remove(name);
            else
                sum[name] = left;
        }
        return sum.Count == 0 ? null : sum;
    }
}
