using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Keeps as many pods of a ReplicationController's template alive as it asks for: adopts orphans that match its selector, lets go of pods that no
/// longer do, creates what is missing and deletes what is too much, the least useful first (wire contract, section 18).
/// </summary>
public sealed class ReplicationControllerController : IController
{
    /// <summary>Most creations or deletions of one run; the changes they cause start the next.</summary>
    private const int BurstReplicas = 500;

    /// <inheritdoc/>
    public string Name => "replication-controller";

    /// <inheritdoc/>
    public string Resource => "replicationcontrollers";

    /// <summary>Many pods that start at once are counted in a few runs, not in one each.</summary>
    public TimeSpan MinInterval => TimeSpan.FromMilliseconds(20);

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources { get; }

    private readonly Storage.IResourceCaches _caches;

    /// <summary>Makes the controller.</summary>
    /// <param name="caches">Finds the controllers whose selector matches an orphan.</param>
    public ReplicationControllerController(Storage.IResourceCaches caches)
    {
        _caches = caches;
        WakeSources = [new WakeSource("pods", wake => OwnersOf(wake, caches))];
    }

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { } cached)
            return ReconcileResult.Done;
        var rc = cached.ToJson();
        var selector = LabelSet.FromMap(rc.Object("spec", "selector"));
        var claimed = await PodClaims.ClaimAsync(rc, cached, selector, _caches, context);
        var active = claimed.Where(p => p.IsActive).ToList();
        var desired = (int)rc.Number(1, "spec", "replicas");

        StatusException? failure = null;
        var failed = "FailedCreate";
        if (!cached.IsDeleting)
        {
            try
            {
                if (active.Count < desired)
                {
                    await CreateAsync(rc, Math.Min(desired - active.Count, BurstReplicas), context);
                }
                else if (active.Count > desired)
                {
                    failed = "FailedDelete";
                    await DeleteAsync(rc, active, Math.Min(active.Count - desired, BurstReplicas), context);
                }
            }
            catch (StatusException error) when (error.Status.Causes.Any(c => c.Reason == "NamespaceTerminating"))
            {
                return ReconcileResult.Done; // The namespace takes this object with it.
            }
            catch (StatusException error)
            {
                failure = error;
            }
        }

        var requeue = await WriteStatusAsync(key, rc, active, failure is null ? null : (failed, failure.Message), context);
        return failure is null ? new ReconcileResult(requeue) : throw failure;
    }

    private static async Task CreateAsync(JsonObject rc, int count, ReconcileContext context)
    {
        // Slow start: 1, 2, 4, ... at a time, so that a template the cluster refuses costs one request and not hundreds.
        for (var batch = 1; count > 0; batch *= 2)
        {
            var now = Math.Min(batch, count);
            await Task.WhenAll(Enumerable.Range(0, now).Select(async _ =>
            {
                try
                {
                    var pod = await context.Objects.CreateAsync("pods", PodTemplates.PodFor(rc), context.CancellationToken);
                    context.Events.Record(rc, "Normal", "SuccessfulCreate", "Created pod: " + pod.Text("metadata", "name"));
                }
                catch (StatusException error) when (!error.Status.Causes.Any(c => c.Reason == "NamespaceTerminating"))
                {
                    context.Events.Record(rc, "Warning", "FailedCreate", "Error creating: " + error.Message);
                    throw;
                }
            }));
            count -= now;
        }
    }

    private static async Task DeleteAsync(JsonObject rc, List<PodFacts> active, int count, ReconcileContext context)
    {
        var victims = PodDeletionOrder.LeastUsefulFirst(active, context.Time.GetUtcNow()).Take(count);
        await Task.WhenAll(victims.Select(async victim =>
        {
            if (await context.Objects.DeleteAsync(victim.Pod.Key, new DeleteOptions(PreconditionUid: victim.Pod.Uid), context.CancellationToken))
                context.Events.Record(rc, "Normal", "SuccessfulDelete", "Deleted pod: " + victim.Pod.Key.Name);
        }));
    }

    private static async Task<TimeSpan?> WriteStatusAsync(
        ObjectKey key, JsonObject rc, List<PodFacts> active, (string Reason, string Message)? failure, ReconcileContext context)
    {
        var now = context.Time.GetUtcNow();
        var minReady = TimeSpan.FromSeconds(rc.Number(0, "spec", "minReadySeconds"));
        var template = LabelSet.FromMap(rc.Object("spec", "template", "metadata", "labels"));
        int ready = 0, available = 0, labelled = 0;
        TimeSpan? requeue = null;
        foreach (var pod in active)
        {
            if (template.IsSubsetOf(pod.Pod.Labels))
                labelled++;
            if (!pod.IsReady)
                continue;
            ready++;
            var left = pod.ReadySince + minReady - now;
            if (minReady == TimeSpan.Zero || left <= TimeSpan.Zero)
                available++;
            else if (requeue is null || left < requeue)
                requeue = left;
        }
        var status = new JsonObject { ["replicas"] = active.Count };
        if (labelled > 0)
            status["fullyLabeledReplicas"] = labelled;
        if (ready > 0)
            status["readyReplicas"] = ready;
        if (available > 0)
            status["availableReplicas"] = available;
        status["observedGeneration"] = rc.Number(0, "metadata", "generation");
        if (failure is not null)
        {
            status["conditions"] = new JsonArray(new JsonObject
            {
                ["type"] = "ReplicaFailure",
                ["status"] = "True",
                ["reason"] = failure.Value.Reason,
                ["message"] = failure.Value.Message,
                ["lastTransitionTime"] = rc.Items("status", "conditions").FirstOrDefault(c => c.Text("type") == "ReplicaFailure") is { } old
                    ? old.TextOr(context.Time.Stamp(), "lastTransitionTime") : context.Time.Stamp(),
            });
        }
        if (JsonNode.DeepEquals(status, rc["status"]))
            return requeue;
        var updated = (JsonObject)rc.DeepClone();
        updated["status"] = status;
        // With its revision: a write of the status carries the metadata along, and may not undo a finalizer that came meanwhile.
        await context.Objects.UpdateAsync(key, updated, context.CancellationToken, "status");
        return requeue;
    }

    private static IEnumerable<ObjectKey> OwnersOf(WakeEvent wake, Storage.IResourceCaches caches)
    {
        var pod = wake.Object;
        if (caches.Get("replicationcontrollers").Current is not { } controllers)
            yield break;
        foreach (var rc in controllers.Enumerate(pod.Key.Namespace))
        {
            // The owner, the owner before a release, and every candidate of an orphan.
            if (pod.ControllerUid is { } owner ? owner == rc.Uid : SelectorFacts.Of(rc).Selector.Selects(pod.Labels))
                yield return rc.Key;
            else if (wake.Previous?.ControllerUid == rc.Uid)
                yield return rc.Key;
        }
    }
}
