using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>What the streaming endpoints must know of a pod; the pod workers answer it from memory.</summary>
public interface IPodContainers
{
    /// <summary>The pod of that node, namespace and name, or null when the node has none.</summary>
    PodStreams? Find(string nodeName, string podNamespace, string podName);
}

/// <summary>A pod as the streaming endpoints see it.</summary>
/// <param name="Runtime">The runtime that holds its containers.</param>
/// <param name="SandboxId">The sandbox, or null when there is none now.</param>
/// <param name="Containers">All containers of the spec, init and ephemeral ones included, in order.</param>
public sealed record PodStreams(IContainerRuntime Runtime, string? SandboxId, IReadOnlyList<PodContainerStreams> Containers);

/// <summary>A container of a pod as the streaming endpoints see it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="ContainerId">The newest engine container, running or ended, or null when none was created.</param>
/// <param name="PreviousContainerId">The engine container before that, if it is still there.</param>
/// <param name="Running">Whether the newest one runs.</param>
/// <param name="WaitingReason">Why it does not run, for instance <c>ContainerCreating</c>, or null.</param>
/// <param name="Tty">Whether the container has a terminal.</param>
public sealed record PodContainerStreams(
    string Name,
    string? ContainerId,
    string? PreviousContainerId,
    bool Running,
    string? WaitingReason,
    bool Tty = false);
