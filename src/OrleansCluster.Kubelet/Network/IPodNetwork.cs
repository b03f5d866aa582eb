using System.Net;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>Gives the pods of one node addresses and connects their sandboxes. All members may be called concurrently.</summary>
public interface IPodNetwork
{
    /// <summary>How it works, for logs: <c>routed</c>, <c>docker-bridge</c> or <c>hollow</c>.</summary>
    string Mode { get; }

    /// <summary>Whether the engine connects the sandbox itself and assigns the address at its start; then nothing is reserved here.</summary>
    bool EngineAssignsAddress { get; }

    /// <summary>Sets up what all pods of the host need (forwarding, rules). Repeats are harmless.</summary>
    Task PrepareHostAsync(CancellationToken cancellationToken);

    /// <summary>Takes a free address of the node's pod subnet for an owner (a sandbox), who has at most one; null when the engine assigns it. A full subnet is <see cref="RuntimeFailure.Network"/>.</summary>
    IPAddress? Reserve(string owner);

    /// <summary>Marks the address of a sandbox found running as taken.</summary>
    void Restore(string owner, IPAddress address);

    /// <summary>Connects the network namespace of <see cref="PodAttachment.Pid"/> under the reserved address. Connecting twice is harmless.</summary>
    Task AttachAsync(PodAttachment attachment, CancellationToken cancellationToken);

    /// <summary>Disconnects a sandbox and gives its address back. Disconnecting twice is harmless.</summary>
    Task DetachAsync(string owner, IPAddress address, CancellationToken cancellationToken);
}

/// <summary>A sandbox to connect.</summary>
/// <param name="Owner">Whose address it is, as given to <see cref="IPodNetwork.Reserve"/>.</param>
/// <param name="Pid">A process in the sandbox's network namespace.</param>
/// <param name="Address">The reserved address.</param>
/// <param name="HostPorts">Ports of the node that shall lead into the pod.</param>
public sealed record PodAttachment(string Owner, int Pid, IPAddress Address, IReadOnlyList<HostPort> HostPorts);
