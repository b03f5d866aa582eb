namespace OrleansCluster.Scheduling;

/// <summary>
/// Refuses nodes for a pod. A plug-in is one class and one registration; profiles name the plug-ins they use. It must be a pure function of its
/// arguments: the very same rule is asked again by the node's authority, and a decision can be replayed.
/// </summary>
public interface IFilterPlugin
{
    /// <summary>Name in profiles and traces, e.g. `TaintToleration`.</summary>
    string Name { get; }

    /// <summary>False where this pod cannot be refused by this plug-in on any node: it is then not asked at all.</summary>
    bool AppliesTo(PodRequirements pod);

    /// <summary>
    /// Null if the node is fit, else why not, in the users' words and without the node's name, such as `Insufficient cpu`: refusals with
    /// the same text are counted together in `0/3 nodes are available: 2 Insufficient cpu, ...`.
    /// </summary>
    string? Refuse(PodRequirements pod, in NodeView node);

    /// <summary>Adds what else is wrong with a node it has refused; a node that lacks cpu and memory is counted for both. Nothing by default.</summary>
    void AddFurtherReasons(PodRequirements pod, in NodeView node, ICollection<string> reasons)
    {
    }

    /// <summary>True if a refused node might take the pod once other pods have left it; false if that is of no help.</summary>
    bool RoomWouldHelp => false;
}

/// <summary>Prefers some fit nodes over others.</summary>
public interface IScorePlugin
{
    /// <summary>Name in profiles and traces, e.g. `NodeResourcesFit`.</summary>
    string Name { get; }

    /// <summary>False where this pod gets the same score from every node.</summary>
    bool AppliesTo(PodRequirements pod);

    /// <summary>The raw score of a node, any non-negative number; see <see cref="Normalization"/>.</summary>
    long Score(PodRequirements pod, in NodeView node);

    /// <summary>How raw scores become 0 to 100.</summary>
    ScoreNormalization Normalization => ScoreNormalization.None;
}

/// <summary>How the raw scores of one plug-in over all fit nodes become 0 to 100.</summary>
public enum ScoreNormalization
{
    /// <summary>They are 0 to 100 already.</summary>
    None,

    /// <summary>100 · score / highest score.</summary>
    Proportional,

    /// <summary>100 − 100 · score / highest score: less is better.</summary>
    Reversed,
}

/// <summary>A node as plug-ins see it: its facts, and what is free on it now.</summary>
/// <param name="Facts">What the node object says.</param>
/// <param name="Requested">Sum of the requests of its pods, those just promised included.</param>
/// <param name="Pods">Number of its pods.</param>
/// <param name="HostPorts">Host ports in use, or null if none.</param>
public readonly record struct NodeView(NodeFacts Facts, ResourceAmounts Requested, int Pods, IReadOnlyCollection<HostPort>? HostPorts)
{
    /// <summary>The sum of its pods' <see cref="PodRequirements.ScoringRequests"/>.</summary>
    public ResourceAmounts ScoringRequested { get; init; }

    /// <summary>What its pods request of extended resources, or null if nothing.</summary>
    public IReadOnlyDictionary<string, long>? Extended { get; init; }
}

/// <summary>Amounts of the resources that every node has, in the units the scheduler counts in.</summary>
/// <param name="MilliCpu">Thousandths of a CPU.</param>
/// <param name="Memory">Bytes.</param>
/// <param name="EphemeralStorage">Bytes.</param>
public readonly record struct ResourceAmounts(long MilliCpu, long Memory, long EphemeralStorage)
{
    /// <summary>Adds two amounts.</summary>
    public static ResourceAmounts operator +(ResourceAmounts a, ResourceAmounts b) =>
        new(a.MilliCpu + b.MilliCpu, a.Memory + b.Memory, a.EphemeralStorage + b.EphemeralStorage);

    /// <summary>Subtracts an amount.</summary>
    public static ResourceAmounts operator -(ResourceAmounts a, ResourceAmounts b) =>
        new(a.MilliCpu - b.MilliCpu, a.Memory - b.Memory, a.EphemeralStorage - b.EphemeralStorage);
}

/// <summary>A host port that a pod takes.</summary>
/// <param name="Protocol">`TCP`, `UDP` or `SCTP`.</param>
/// <param name="Address">Host address, `0.0.0.0` for all.</param>
/// <param name="Port">The port.</param>
public readonly record struct HostPort(string Protocol, string Address, int Port)
{
    /// <summary>True if both cannot be taken on one node.</summary>
    public bool ConflictsWith(HostPort other) =>
        Port == other.Port && Protocol == other.Protocol
        && (Address == other.Address || Address == "0.0.0.0" || other.Address == "0.0.0.0");
}

/// <summary>A taint of a node.</summary>
/// <param name="Key">Its key.</param>
/// <param name="Value">Its value.</param>
/// <param name="Effect">`NoSchedule`, `PreferNoSchedule` or `NoExecute`.</param>
public sealed record Taint(string Key, string Value, string Effect);

/// <summary>A toleration of a pod.</summary>
/// <param name="Key">Key, empty for all (with `Exists`).</param>
/// <param name="Operator">`Exists` or `Equal`.</param>
/// <param name="Value">Value for `Equal`.</param>
/// <param name="Effect">Effect, empty for all.</param>
public sealed record Toleration(string Key, string Operator, string Value, string Effect)
{
    /// <summary>True if it covers a taint.</summary>
    public bool Covers(Taint taint) =>
        (Effect.Length == 0 || Effect == taint.Effect)
        && (Key.Length == 0 ? Operator == "Exists" : Key == taint.Key)
        && (Operator == "Exists" || Value == taint.Value);
}

/// <summary>What the scheduler knows of a node from its object. Immutable; made once per version of the node.</summary>
public sealed record NodeFacts
{
    /// <summary>Node name.</summary>
    public required string Name { get; init; }

    /// <summary>Labels.</summary>
    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>Taints.</summary>
    public required IReadOnlyList<Taint> Taints { get; init; }

    /// <summary>`spec.unschedulable` (cordoned).</summary>
    public required bool Unschedulable { get; init; }

    /// <summary>What pods may request in sum.</summary>
    public required ResourceAmounts Allocatable { get; init; }

    /// <summary>How many pods may be there.</summary>
    public required int AllocatablePods { get; init; }

    /// <summary>Extended resources by name.</summary>
    public IReadOnlyDictionary<string, long> Extended { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);
}

/// <summary>What a pod asks of a node. Immutable; read once per version of the pod.</summary>
public sealed record PodRequirements
{
    /// <summary>`namespace/name`.</summary>
    public required string Key { get; init; }

    /// <summary>Pod uid.</summary>
    public required string Uid { get; init; }

    /// <summary>`spec.schedulerName`, or the empty string.</summary>
    public string SchedulerName { get; init; } = "";

    /// <summary>What it requests: the larger of the containers' sum and each init container's, plus overhead.</summary>
    public required ResourceAmounts Requests { get; init; }

    /// <summary>The same with Kubernetes' stand-ins (100m, 200 MiB) for containers that request nothing; used for scoring only.</summary>
    public required ResourceAmounts ScoringRequests { get; init; }

    /// <summary>Extended resources it requests.</summary>
    public IReadOnlyDictionary<string, long> Extended { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);

    /// <summary>`spec.nodeSelector`.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> NodeSelector { get; init; } = [];

    /// <summary>Required node affinity: one of the terms must match; null for none.</summary>
    public IReadOnlyList<NodeSelectorTerm>? RequiredNodeAffinity { get; init; }

    /// <summary>Preferred node affinity with weights.</summary>
    public IReadOnlyList<(NodeSelectorTerm Term, int Weight)> PreferredNodeAffinity { get; init; } = [];

    /// <summary>Tolerations.</summary>
    public IReadOnlyList<Toleration> Tolerations { get; init; } = [];

    /// <summary>Host ports.</summary>
    public IReadOnlyList<HostPort> HostPorts { get; init; } = [];
}

/// <summary>One term of a node affinity: all requirements must hold.</summary>
/// <param name="Labels">Requirements on labels.</param>
/// <param name="Fields">Requirements on fields; only `metadata.name` exists.</param>
public sealed record NodeSelectorTerm(IReadOnlyList<NodeSelectorRequirement> Labels, IReadOnlyList<NodeSelectorRequirement> Fields)
{
    /// <summary>True if the node fulfils the term; a term without requirements matches nothing.</summary>
    public bool Matches(NodeFacts node)
    {
        if (Labels.Count == 0 && Fields.Count == 0)
            return false;
        foreach (var requirement in Labels)
        {
            if (!requirement.Matches(node.Labels.TryGetValue(requirement.Key, out var value) ? value : null))
                return false;
        }
        foreach (var requirement in Fields)
        {
            if (!requirement.Matches(requirement.Key == "metadata.name" ? node.Name : null))
                return false;
        }
        return true;
    }
}

/// <summary>One requirement of a node affinity term.</summary>
/// <param name="Key">Label or field.</param>
/// <param name="Operator">`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.</param>
/// <param name="Values">Values.</param>
public sealed record NodeSelectorRequirement(string Key, string Operator, IReadOnlyList<string> Values)
{
    /// <summary>True if a value (null: absent) fulfils the requirement.</summary>
    public bool Matches(string? value) => Operator switch
    {
        "In" => value is not null && Values.Contains(value),
        "NotIn" => value is null || !Values.Contains(value),
        "Exists" => value is not null,
        "DoesNotExist" => value is null,
        "Gt" => long.TryParse(value, out var left) && Values.Count == 1 && long.TryParse(Values[0], out var right) && left > right,
        "Lt" => long.TryParse(value, out var left) && Values.Count == 1 && long.TryParse(Values[0], out var right) && left < right,
        _ => false,
    };
}
