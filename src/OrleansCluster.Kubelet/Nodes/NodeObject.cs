using System.Globalization;
using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>What a node says of itself.</summary>
internal sealed record NodeFacts
{
    public required string Name { get; init; }

    public required string Address { get; init; }

    public required int Port { get; init; }

    public required RuntimeVersion Runtime { get; init; }

    public required long Cpus { get; init; }

    public required long MemoryBytes { get; init; }

    public required long StorageBytes { get; init; }

    public required int MaxPods { get; init; }

    public required long ReservedCpuMillis { get; init; }

    public required long ReservedMemoryBytes { get; init; }

    public required string KubeletVersion { get; init; }

    public required string MachineId { get; init; }

    public required string BootId { get; init; }

    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>The pod subnet if it was configured; else the control plane chooses.</summary>
    public string? PodSubnet { get; init; }
}

/// <summary>How a node is doing.</summary>
/// <param name="NotReady">Why it is not ready, or null.</param>
/// <param name="MemoryPressure">Little memory is left.</param>
/// <param name="DiskPressure">Little disk is left.</param>
/// <param name="PidPressure">Few process ids are left.</param>
internal sealed record NodeHealth(string? NotReady, bool MemoryPressure, bool DiskPressure, bool PidPressure);

/// <summary>Makes the Node object and its status (wire contract, "Nodes").</summary>
internal static class NodeObject
{
    /// <summary>Images beyond this many are not listed; the largest come first.</summary>
    private const int MaxImages = 50;

    public static JsonObject New(NodeFacts facts)
    {
        var node = new JsonObject
        {
            ["kind"] = "Node",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject { ["name"] = facts.Name, ["labels"] = Labels(facts) },
            ["spec"] = new JsonObject(),
        };
        if (facts.PodSubnet is { } subnet)
        {
            node["spec"]!["podCIDR"] = subnet;
            node["spec"]!["podCIDRs"] = new JsonArray(subnet);
        }
        return node;
    }

    public static JsonObject Labels(NodeFacts facts)
    {
        var labels = new JsonObject
        {
            ["beta.kubernetes.io/arch"] = facts.Runtime.Architecture,
            ["beta.kubernetes.io/os"] = "linux",
            ["kubernetes.io/arch"] = facts.Runtime.Architecture,
            ["kubernetes.io/hostname"] = facts.Name,
            ["kubernetes.io/os"] = "linux",
        };
        foreach (var (name, value) in facts.Labels)
            labels[name] = value;
        return labels;
    }

    /// <summary>The status as a strategic merge patch: conditions and addresses merge by type.</summary>
    /// <param name="facts">What the node is.</param>
    /// <param name="conditions">See <see cref="Conditions"/>.</param>
    /// <param name="images">The engine's images.</param>
    public static JsonObject StatusPatch(NodeFacts facts, JsonArray conditions, IReadOnlyList<ContainerImage> images) => new()
    {
        ["status"] = new JsonObject
        {
            ["addresses"] = new JsonArray(
                new JsonObject { ["type"] = "InternalIP", ["address"] = facts.Address },
                new JsonObject { ["type"] = "Hostname", ["address"] = facts.Name }),
            ["capacity"] = Resources(facts, facts.Cpus * 1000, facts.MemoryBytes),
            ["allocatable"] = Resources(
                facts, Math.Max(0, facts.Cpus * 1000 - facts.ReservedCpuMillis), Math.Max(0, facts.MemoryBytes - facts.ReservedMemoryBytes)),
            ["conditions"] = conditions,
            ["daemonEndpoints"] = new JsonObject { ["kubeletEndpoint"] = new JsonObject { ["Port"] = facts.Port } },
            ["images"] = new JsonArray([.. images.OrderByDescending(image => image.SizeBytes).Take(MaxImages).Select(Image)]),
            ["nodeInfo"] = new JsonObject
            {
                ["architecture"] = facts.Runtime.Architecture,
                ["bootID"] = facts.BootId,
                ["containerRuntimeVersion"] = $"{facts.Runtime.Name}://{facts.Runtime.Version}",
                ["kernelVersion"] = facts.Runtime.KernelVersion,
                ["kubeProxyVersion"] = facts.KubeletVersion,
                ["kubeletVersion"] = facts.KubeletVersion,
                ["machineID"] = facts.MachineId,
                ["operatingSystem"] = "linux",
                ["osImage"] = facts.Runtime.OperatingSystem,
                ["systemUUID"] = facts.MachineId,
            },
        },
    };

    /// <summary>The four conditions; a condition keeps its transition time while its status stays.</summary>
    /// <param name="health">How the node is doing.</param>
    /// <param name="now">Now.</param>
    /// <param name="since">Type to (status, transition time); brought up to date.</param>
    public static JsonArray Conditions(NodeHealth health, DateTimeOffset now, Dictionary<string, (bool Status, DateTimeOffset Since)> since)
    {
        JsonObject Condition(string type, bool status, string reason, string message)
        {
            if (!since.TryGetValue(type, out var before) || before.Status != status)
                since[type] = before = (status, now);
            return new JsonObject
            {
                ["type"] = type,
                ["status"] = status ? "True" : "False",
                ["reason"] = reason,
                ["message"] = message,
                ["lastHeartbeatTime"] = WireFormat.Time(now),
                ["lastTransitionTime"] = WireFormat.Time(before.Since),
            };
        }

        return new JsonArray(
            health.MemoryPressure
                ? Condition("MemoryPressure", true, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
                : Condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            health.DiskPressure
                ? Condition("DiskPressure", true, "KubeletHasDiskPressure", "kubelet has disk pressure")
                : Condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            health.PidPressure
                ? Condition("PIDPressure", true, "KubeletHasInsufficientPID", "kubelet has insufficient PID available")
                : Condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            health.NotReady is { } why
                ? Condition("Ready", false, "KubeletNotReady", why)
                : Condition("Ready", true, "KubeletReady", "kubelet is posting ready status"));
    }

    private static JsonObject Resources(NodeFacts facts, long cpuMillis, long memoryBytes) => new()
    {
        ["cpu"] = cpuMillis % 1000 == 0
            ? (cpuMillis / 1000).ToString(CultureInfo.InvariantCulture)
            : string.Create(CultureInfo.InvariantCulture, $"{cpuMillis}m"),
        ["ephemeral-storage"] = string.Create(CultureInfo.InvariantCulture, $"{facts.StorageBytes / 1024}Ki"),
        ["hugepages-1Gi"] = "0",
        ["hugepages-2Mi"] = "0",
        ["memory"] = string.Create(CultureInfo.InvariantCulture, $"{memoryBytes / 1024}Ki"),
        ["pods"] = facts.MaxPods.ToString(CultureInfo.InvariantCulture),
    };

    private static JsonObject Image(ContainerImage image) => new()
    {
        ["names"] = new JsonArray([.. image.Names.Select(name => (JsonNode)name)]),
        ["sizeBytes"] = image.SizeBytes,
    };
}
