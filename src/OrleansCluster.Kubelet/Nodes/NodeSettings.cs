using System.Net;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>One node as it was configured.</summary>
internal sealed record NodeSettings
{
    public required string Name { get; init; }

    /// <summary>What `status.addresses` says and pods see as `status.hostIP`.</summary>
    public required IPAddress Address { get; init; }

    /// <summary>The pod subnet, or null: then the control plane chooses (`spec.podCIDR`).</summary>
    public IPNetwork? PodSubnet { get; init; }

    /// <summary>Where to keep pods, or null on a hollow node, which keeps nothing.</summary>
    public string? DataDirectory { get; init; }

    public required bool Hollow { get; init; }

    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    public required NodeAgentOptions Options { get; init; }

    /// <summary>Makes the container runtime once the pod subnet is known.</summary>
    public required Func<IPNetwork, CancellationToken, Task<(IContainerRuntime Runtime, IProber Prober)>> CreateRuntime { get; init; }
}
