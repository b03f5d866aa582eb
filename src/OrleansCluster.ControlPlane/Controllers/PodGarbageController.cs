using Microsoft.Extensions.Options;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Nodes;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Removes pods that nobody else will: those bound to a node that no longer exists, and the oldest finished ones beyond a threshold. Reconciles nodes,
/// not pods, so that thousands of pods cost it nothing while their nodes are there.
/// </summary>
public sealed class PodGarbageController(IResourceCaches caches, NodePods nodePods, IOptions<ControlPlaneOptions> options) : IController
{
    /// <summary>A node that vanished may come back under its name at once (a re-registration); its pods wait this long.</summary>
    private static readonly TimeSpan Quarantine = TimeSpan.FromSeconds(40);

    // Stands for all finished pods; no node can have this name.
    private static readonly ObjectKey Finished = new("nodes", "", "~finished");

    private readonly System.Collections.Concurrent.ConcurrentDictionary<string, DateTimeOffset> _missingSince = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public string Name => "pod-garbage-collector";

    /// <inheritdoc/>
    public string Resource => "nodes";

    /// <inheritdoc/>
    public TimeSpan MinInterval => TimeSpan.FromSeconds(5);

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources => [new WakeSource("pods", Concerned)];

    /// <inheritdoc/>
    public Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context) =>
        key == Finished ? TrimFinishedAsync(context) : RemoveOrphansAsync(key.Name, context);

    private IEnumerable<ObjectKey> Concerned(WakeEvent wake)
    {
        if (wake.Removed)
            yield break;
        if (wake.Object.Field("spec.nodeName") is { Length: > 0 } node && caches.Get("nodes").Current?.Find("", node) is null)
            yield return new ObjectKey("nodes", "", node);
        if (options.Value.TerminatedPodThreshold > 0 && wake.Object.Field("status.phase") is "Succeeded" or "Failed")
            yield return Finished;
    }

    private async Task<ReconcileResult> RemoveOrphansAsync(string node, ReconcileContext context)
    {
        if ((await caches.Get("nodes").GetLatestAsync(context.CancellationToken)).Find("", node) is not null)
        {
            _missingSince.TryRemove(node, out _);
            return ReconcileResult.Done;
        }
        var orphans = await nodePods.GetLatestAsync(node, context.CancellationToken);
        if (orphans.Count == 0)
        {
            _missingSince.TryRemove(node, out _);
            return ReconcileResult.Done;
        }
        var left = _missingSince.GetOrAdd(node, context.Time.GetUtcNow()) + Quarantine - context.Time.GetUtcNow();
        if (left > TimeSpan.Zero)
            return ReconcileResult.After(left);
        await DeleteNowAsync(orphans, context);
        _missingSince.TryRemove(node, out _);
        return ReconcileResult.Done;
    }

    private async Task<ReconcileResult> TrimFinishedAsync(ReconcileContext context)
    {
        var finished = (await context.Objects.ListAsync("pods", context.CancellationToken))
            .Enumerate().Where(p => p.Field("status.phase") is "Succeeded" or "Failed" && !p.IsDeleting).ToList();
        var surplus = finished.Count - options.Value.TerminatedPodThreshold;
        if (surplus > 0)
            await DeleteNowAsync([.. finished.OrderBy(p => PodFacts.Of(p).Created).Take(surplus)], context);
        return ReconcileResult.Done;
    }

    private static Task DeleteNowAsync(IReadOnlyList<ICachedObject> pods, ReconcileContext context) =>
        Parallel.ForEachAsync(
            pods,
            new ParallelOptions { MaxDegreeOfParallelism = 32, CancellationToken = context.CancellationToken },
            async (pod, token) => await context.Objects.DeleteAsync(pod.Key, new DeleteOptions(GracePeriodSeconds: 0, PreconditionUid: pod.Uid), token));
}
