using System.Text.Json.Nodes;
using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// Puts pods that wait for a node into the scheduler's queue, in the commit that creates them, and takes them out in the commit that binds or
/// removes them: no pod is ever lost between store and queue.
/// </summary>
public sealed class PendingPods(SchedulingProfiles profiles) : ICommitEffect
{
    /// <summary>Name of the queue, in resource `pods`.</summary>
    public const string Queue = "pending";

    /// <inheritdoc/>
    public string Resource => "pods";

    /// <inheritdoc/>
    QueueChange? ICommitEffect.Queue(JsonObject? obj, JsonObject? old)
    {
        var waits = obj is not null && Waits(obj);
        var waited = old is not null && Waits(old);
        if (waits && !waited)
            return new QueueChange(Queue, QueueAction.Enqueue, obj!.Number(0, "spec", "priority"));
        if (waited && !waits)
            return new QueueChange(Queue, QueueAction.Remove);
        return null;
    }

    private bool Waits(JsonObject pod) =>
        pod.Text("spec", "nodeName").Length == 0
        && pod["spec"]?["schedulingGates"] is not JsonArray { Count: > 0 }
        && pod.Text("metadata", "deletionTimestamp").Length == 0
        && profiles.Find(pod.Text("spec", "schedulerName")) is not null;
}
