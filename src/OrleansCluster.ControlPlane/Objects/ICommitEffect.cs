using System.Text.Json.Nodes;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// What else a commit of a resource does in the same atomic step, such as queueing a new pod for the scheduler. One class and one registration.
/// </summary>
public interface ICommitEffect
{
    /// <summary>The resource whose commits it extends.</summary>
    string Resource { get; }

    /// <summary>The queue change that goes with a write.</summary>
    /// <param name="obj">The object to be written, or null for a removal.</param>
    /// <param name="old">The stored object, or null at creation.</param>
    QueueChange? Queue(JsonObject? obj, JsonObject? old);
}
