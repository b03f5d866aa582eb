using System.Net;

namespace OrleansCluster.Kubelet.Network;

/// <summary>
/// Pods on Docker's default bridge: where the agent has no right to the machine's network, or the engine runs on another machine (Docker Desktop).
/// Slower to start (about 170 ms of CPU per pod), and pods of two machines cannot reach each other.
/// </summary>
public sealed class DockerBridgeNetwork : IPodNetwork
{
    /// <inheritdoc/>
    public string Mode => "docker-bridge";

    /// <inheritdoc/>
    public bool EngineAssignsAddress => true;

    /// <inheritdoc/>
    public Task PrepareHostAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public IPAddress? Reserve(string owner) => null;

    /// <inheritdoc/>
    public void Restore(string owner, IPAddress address)
    {
        // The engine knows.
    }

    /// <inheritdoc/>
    public Task AttachAsync(PodAttachment attachment, CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task DetachAsync(string owner, IPAddress address, CancellationToken cancellationToken) => Task.CompletedTask;
}
