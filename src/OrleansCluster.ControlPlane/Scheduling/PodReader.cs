using System.Runtime.CompilerServices;
using System.Text.Json;
using OrleansCluster.Api;
using OrleansCluster.Scheduling;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>Reads what a pod asks of a node, once per version of the pod.</summary>
internal static class PodReader
{
    // Kubernetes' stand-ins for containers that request nothing, so that they spread instead of piling up on one node.
    private const long DefaultMilliCpu = 100;
    private const long DefaultMemory = 200L << 20;

    private static readonly ConditionalWeakTable<ICachedObject, PodRequirements> Known = [];

    public static PodRequirements Of(ICachedObject pod) => Known.GetValue(pod, static p => Read(p.Bytes));

    /// <summary>
    /// What a bound pod takes of its node. No version of a pod takes more or less than the one before, so what is known of that one is good here.
    /// </summary>
    public static PodRequirements OfBound(ICachedObject pod, ICachedObject? previous) =>
        previous is not null && previous.Uid == pod.Uid && Known.TryGetValue(previous, out var known) ? known : Of(pod);

    public static PodRequirements Read(ReadOnlyMemory<byte> bytes)
    {
        using var document = JsonDocument.Parse(bytes);
        var metadata = document.RootElement.GetProperty("metadata");
        var spec = document.RootElement.GetProperty("spec");
        var (requests, scoring, extended) = Requests(spec);
        return new PodRequirements
        {
            Key = $"{metadata.Text("namespace")}/{metadata.Text("name")}",
            Uid = metadata.Text("uid"),
            SchedulerName = spec.Text("schedulerName"),
            Requests = requests,
            ScoringRequests = scoring,
            Extended = extended,
            NodeSelector = spec.TryObject("nodeSelector", out var selector)
                ? [.. selector.EnumerateObject().Select(p => KeyValuePair.Create(p.Name, p.Value.GetString() ?? ""))] : [],
            RequiredNodeAffinity = RequiredAffinity(spec),
            PreferredNodeAffinity = PreferredAffinity(spec),
            Tolerations = [.. spec.Array("tolerations").Select(t => new Toleration(
                t.Text("key"), t.Text("operator") is { Length: > 0 } op ? op : "Equal", t.Text("value"), t.Text("effect")))],
            HostPorts = Ports(spec),
        };
    }

    private static (ResourceAmounts Requests, ResourceAmounts Scoring, Dictionary<string, long> Extended) Requests(JsonElement spec)
    {
        ResourceAmounts sum = default, scoring = default;
        var extended = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var container in spec.Array("containers"))
        {
            var own = Container(container, extended, out var cpu, out var memory);
            sum += own;
            scoring += own + new ResourceAmounts(cpu ? 0 : DefaultMilliCpu, memory ? 0 : DefaultMemory, 0);
        }
        // A sidecar stays beside all that start after it; an ordinary init container runs alone with the sidecars before it.
        ResourceAmounts sidecars = default, peak = default;
        Dictionary<string, long>? extendedSidecars = null, extendedPeak = null;
        foreach (var container in spec.Array("initContainers"))
        {
            var ownExtended = new Dictionary<string, long>(StringComparer.Ordinal);
            var own = Container(container, ownExtended, out _, out _);
            if (container.Text("restartPolicy") == "Always")
            {
                sidecars += own;
                foreach (var (name, amount) in ownExtended)
                    Raise(ref extendedSidecars, name, (extendedSidecars?.GetValueOrDefault(name) ?? 0) + amount);
            }
            else
            {
                peak = Max(peak, own + sidecars);
                foreach (var (name, amount) in ownExtended)
                    Raise(ref extendedPeak, name, (extendedSidecars?.GetValueOrDefault(name) ?? 0) + amount);
            }
        }
        foreach (var (name, amount) in extendedSidecars ?? [])
            extended[name] = extended.GetValueOrDefault(name) + amount;
        foreach (var (name, amount) in extendedPeak ?? [])
            extended[name] = Math.Max(extended.GetValueOrDefault(name), amount);
        var overhead = spec.TryObject("overhead", out var extra) ? Amounts(extra, null) : default;
        return (Max(sum + sidecars, peak) + overhead, Max(scoring + sidecars, peak) + overhead, extended);
    }

    private static void Raise(ref Dictionary<string, long>? amounts, string name, long amount)
    {
        amounts ??= new Dictionary<string, long>(StringComparer.Ordinal);
        amounts[name] = Math.Max(amounts.GetValueOrDefault(name), amount);
    }

    private static ResourceAmounts Container(JsonElement container, Dictionary<string, long> extended, out bool cpu, out bool memory)
    {
        cpu = memory = false;
        if (!container.TryObject("resources", out var resources) || !resources.TryObject("requests", out var requests))
            return default;
        cpu = requests.TryGetProperty("cpu", out _);
        memory = requests.TryGetProperty("memory", out _);
        return Amounts(requests, extended);
    }

    /// <summary>Reads a map of quantities; what is neither cpu, memory nor ephemeral storage goes to <paramref name="extended"/>.</summary>
    public static ResourceAmounts Amounts(JsonElement quantities, Dictionary<string, long>? extended)
    {
        long cpu = 0, memory = 0, storage = 0;
        foreach (var property in quantities.EnumerateObject())
        {
            if (!Quantity.TryParse(property.Value.ValueKind == JsonValueKind.String ? property.Value.GetString() : property.Value.GetRawText(), out var quantity))
                continue;
            switch (property.Name)
            {
                case "cpu":
                    cpu = quantity.MilliValue;
                    break;
                case "memory":
                    memory = quantity.Value;
                    break;
                case "ephemeral-storage":
                    storage = quantity.Value;
                    break;
                default:
                    if (extended is not null && property.Name != "pods")
                        extended[property.Name] = extended.GetValueOrDefault(property.Name) + quantity.Value;
                    break;
            }
        }
        return new ResourceAmounts(cpu, memory, storage);
    }

    private static List<HostPort> Ports(JsonElement spec)
    {
        var ports = new List<HostPort>();
        foreach (var container in spec.Array("containers"))
        {
            foreach (var port in container.Array("ports"))
            {
                if (port.TryGetProperty("hostPort", out var number) && number.TryGetInt32(out var host) && host > 0)
                {
                    ports.Add(new HostPort(
                        port.Text("protocol") is { Length: > 0 } protocol ? protocol : "TCP",
                        port.Text("hostIP") is { Length: > 0 } address ? address : "0.0.0.0",
                        host));
                }
            }
        }
        return ports;
    }

    private static List<NodeSelectorTerm>? RequiredAffinity(JsonElement spec) =>
        NodeAffinity(spec, out var affinity) && affinity.TryObject("requiredDuringSchedulingIgnoredDuringExecution", out var required)
            ? [.. required.Array("nodeSelectorTerms").Select(Term)] : null;

    private static List<(NodeSelectorTerm, int)> PreferredAffinity(JsonElement spec) =>
        NodeAffinity(spec, out var affinity)
            ? [.. affinity.Array("preferredDuringSchedulingIgnoredDuringExecution").Select(p => (Term(p.GetProperty("preference")), p.GetProperty("weight").GetInt32()))]
            : [];

    private static bool NodeAffinity(JsonElement spec, out JsonElement affinity)
    {
        affinity = default;
        return spec.TryObject("affinity", out var all) && all.TryObject("nodeAffinity", out affinity);
    }

    private static NodeSelectorTerm Term(JsonElement term) => new(
        [.. term.Array("matchExpressions").Select(Requirement)], [.. term.Array("matchFields").Select(Requirement)]);

    private static NodeSelectorRequirement Requirement(JsonElement requirement) => new(
        requirement.Text("key"), requirement.Text("operator"), [.. requirement.Array("values").Select(v => v.GetString() ?? "")]);

    private static ResourceAmounts Max(ResourceAmounts a, ResourceAmounts b) =>
        new(Math.Max(a.MilliCpu, b.MilliCpu), Math.Max(a.Memory, b.Memory), Math.Max(a.EphemeralStorage, b.EphemeralStorage));
}

/// <summary>Reads what the scheduler needs of a node, once per version of the node.</summary>
internal static class NodeReader
{
    /// <summary>Counts for a node whose agent has not said yet what it has: it is no place for pods, and the reason is that, not `Too many pods`.</summary>
    private static readonly Taint NotReported = new("node.kubernetes.io/not-ready", "", "NoSchedule");

    private static readonly ConditionalWeakTable<ICachedObject, NodeFacts> Known = [];

    public static NodeFacts Of(ICachedObject node) => Known.GetValue(node, static n => Read(n));

    private static NodeFacts Read(ICachedObject node)
    {
        using var document = JsonDocument.Parse(node.Bytes);
        var root = document.RootElement;
        var taints = new List<Taint>();
        var unschedulable = false;
        if (root.TryObject("spec", out var spec))
        {
            taints.AddRange(spec.Array("taints").Select(t => new Taint(t.Text("key"), t.Text("value"), t.Text("effect"))));
            unschedulable = spec.TryGetProperty("unschedulable", out var cordoned) && cordoned.ValueKind == JsonValueKind.True;
        }
        ResourceAmounts allocatable = default;
        var pods = 0;
        var extended = new Dictionary<string, long>(StringComparer.Ordinal);
        if (root.TryObject("status", out var status)
            && (status.TryObject("allocatable", out var amounts) || status.TryObject("capacity", out amounts)))
        {
            allocatable = PodReader.Amounts(amounts, extended);
            pods = amounts.TryGetProperty("pods", out var count) && Quantity.TryParse(count.ValueKind == JsonValueKind.String ? count.GetString() : count.GetRawText(), out var number)
                ? (int)number.Value : 0;
        }
        else if (!taints.Contains(NotReported))
        {
            taints.Add(NotReported);
        }
        return new NodeFacts
        {
            Name = node.Key.Name,
            Labels = node.Labels.ToDictionary(StringComparer.Ordinal),
            Taints = taints,
            Unschedulable = unschedulable,
            Allocatable = allocatable,
            AllocatablePods = pods,
            Extended = extended,
        };
    }
}
