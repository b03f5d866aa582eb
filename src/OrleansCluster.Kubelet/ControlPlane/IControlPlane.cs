using OrleansCluster.Api;

namespace OrleansCluster.Kubelet.ControlPlane;

/// <summary>
/// Everything a node agent asks of the control plane. Any call may throw when it is away; refusals are values (<see cref="ObjectReply"/>).
/// </summary>
internal interface IControlPlane
{
    /// <summary>Opens a node's session. Returns the handle that keeps the observer alive and how often to send heartbeats.</summary>
    Task<NodeConnection> ConnectAsync(string node, string sessionId, INodeObserver observer, CancellationToken cancellationToken);

    /// <summary>Tells that the agent lives.</summary>
    Task<HeartbeatReply> HeartbeatAsync(string node, string sessionId, CancellationToken cancellationToken);

    /// <summary>Closes a session.</summary>
    Task DisconnectAsync(string node, string sessionId, CancellationToken cancellationToken);

    /// <summary>Runs a write through the object's grain.</summary>
    Task<ObjectReply> ExecuteAsync(ObjectKey key, ObjectRequest request, CancellationToken cancellationToken);

    /// <summary>Reads one object; null if there is none.</summary>
    Task<byte[]?> GetAsync(ObjectKey key, CancellationToken cancellationToken);

    /// <summary>Reads all objects of a namespace.</summary>
    Task<byte[][]> ListAsync(string resource, string @namespace, CancellationToken cancellationToken);
}

/// <summary>An open session of a node.</summary>
/// <param name="HeartbeatInterval">How often to send heartbeats.</param>
/// <param name="Observer">To be disposed when the session ends.</param>
internal sealed record NodeConnection(TimeSpan HeartbeatInterval, IDisposable Observer);
