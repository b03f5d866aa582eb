using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Deletes what its owners have left behind, over the owner references of all kinds, and carries out foreground and orphaning deletions (wire contract,
/// section 13). Reconciles two sorts of objects: a dependent looks whether its owners are still there; an owner with one of the two
/// finalizers sees its dependents off. Nothing is deleted on the word of a cache alone: absence is asked of the store's newest revision.
/// </summary>
public sealed class GarbageCollector(ResourceRegistry registry, IResourceCaches caches, OwnerIndex index) : IController
{
    private const string Foreground = "foregroundDeletion";
    private const string Orphan = "orphan";

    /// <inheritdoc/>
    public string Name => "garbage-collector";

    /// <inheritdoc/>
    public string Resource => "pods";

    /// <inheritdoc/>
    public bool WakesOnOwnResource => false;

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources { get; } =
        [.. registry.All.Where(d => d.Verbs.Contains("delete") && d.TimeToLive is null).Select(d => new WakeSource(d.Resource, wake => Concerned(wake, registry, caches, index)))];

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { } obj)
            return ReconcileResult.Done;
        if (obj.IsDeleting)
        {
            var finalizers = Finalizers(obj);
            if (finalizers.Contains(Orphan))
                return await OrphanDependentsAsync(obj, context);
            if (finalizers.Contains(Foreground))
                return await DeleteDependentsAsync(obj, context);
            return ReconcileResult.Done;
        }
        await CollectAsync(obj, context);
        return ReconcileResult.Done;
    }

    private static IEnumerable<ObjectKey> Concerned(WakeEvent wake, ResourceRegistry registry, IResourceCaches caches, OwnerIndex index)
    {
        // The index first, then the look for the owner; and a removed owner's dependents from the index: whichever of two changes that happen
        // together is mapped second finds the other.
        var obj = wake.Object;
        if (!wake.Removed)
            index.Note(obj);
        if (wake.Removed)
        {
            index.Forget(obj);
            foreach (var dependent in index.Dependents(obj.Uid))
                yield return dependent;
        }
        else if (obj.IsDeleting && Finalizers(obj) is var finalizers && (finalizers.Contains(Foreground) || finalizers.Contains(Orphan)))
        {
            yield return obj.Key;
        }
        if (wake.Previous is not null && !wake.Removed)
            yield break; // Owners are looked at when an object appears and when it goes.
        foreach (var reference in OwnerReference.Of(obj))
        {
            if (registry.FindByKind(reference.ApiVersion, reference.Kind) is not { } kind || IsOutOfReach(obj, kind))
                continue;
            var owner = caches.Get(kind.Resource).Current?.Find(kind.Namespaced ? obj.Key.Namespace : "", reference.Name);
            if (wake.Removed && owner is { IsDeleting: true } && owner.Uid == reference.Uid)
                yield return owner.Key; // It may be waiting for this dependent.
            else if (!wake.Removed && owner?.Uid != reference.Uid)
                yield return obj.Key; // Born without its owner, as far as this cache knows.
        }
    }

    private async Task CollectAsync(ICachedObject obj, ReconcileContext context)
    {
        var gone = new List<string>();
        var present = 0;
        foreach (var reference in OwnerReference.Of(obj))
        {
            if (registry.FindByKind(reference.ApiVersion, reference.Kind) is not { } kind || IsOutOfReach(obj, kind))
            {
                present++; // What cannot be looked up is no proof of absence.
                continue;
            }
            var owners = await caches.Get(kind.Resource).GetLatestAsync(context.CancellationToken);
            if (owners.Find(kind.Namespaced ? obj.Key.Namespace : "", reference.Name)?.Uid == reference.Uid)
                present++;
            else
                gone.Add(reference.Uid);
        }
        if (gone.Count == 0)
            return;
        if (present > 0)
        {
            await RemoveReferencesAsync(obj, gone.Contains, context);
            return;
        }
        // With its revision, too: a new owner may have taken it since.
        await context.Objects.DeleteAsync(
            obj.Key,
            new DeleteOptions(PropagationPolicy: "Background", PreconditionUid: obj.Uid, PreconditionResourceVersion: obj.Revision.ToString()),
            context.CancellationToken);
    }

    // A cluster-scoped object cannot say in which namespace its owner would be; Kubernetes never collects such a one.
    private static bool IsOutOfReach(ICachedObject dependent, ResourceDefinition owner) => owner.Namespaced && dependent.Key.Namespace.Length == 0;

    private async Task<ReconcileResult> DeleteDependentsAsync(ICachedObject owner, ReconcileContext context)
    {
        var blocking = new HashSet<string>(StringComparer.Ordinal);
        foreach (var dependent in await DependentsAsync(owner, context))
        {
            if (OwnerReference.Of(dependent).Any(r => r.Uid == owner.Uid && r.BlocksOwnerDeletion))
                blocking.Add(dependent.Uid);
            if (dependent.IsDeleting)
                continue;
            // Foreground goes all the way down: a dependent waits for its own dependents.
            var policy = index.Dependents(dependent.Uid).Count > 0 ? "Foreground" : "Background";
            await context.Objects.DeleteAsync(dependent.Key, new DeleteOptions(PropagationPolicy: policy, PreconditionUid: dependent.Uid), context.CancellationToken);
        }
        if (blocking.Count > 0)
            blocking.ExceptWith(await AncestorsAsync(owner, context));
        if (blocking.Count > 0)
            return ReconcileResult.After(TimeSpan.FromSeconds(1)); // Usually the last dependent's removal comes first.
        await RemoveFinalizerAsync(owner, Foreground, context);
        return ReconcileResult.Done;
    }

    /// <summary>
    /// Uids of the owners of an object, of their owners, and so on. One of them that is also a dependent closes a circle, in which each would wait for
    /// the other for ever: it does not block.
    /// </summary>
    private async Task<HashSet<string>> AncestorsAsync(ICachedObject obj, ReconcileContext context)
    {
        const int MaxAncestors = 1000;
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var open = new Queue<ICachedObject>([obj]);
        while (seen.Count < MaxAncestors && open.TryDequeue(out var next))
        {
            foreach (var reference in OwnerReference.Of(next))
            {
                if (registry.FindByKind(reference.ApiVersion, reference.Kind) is { } kind && !IsOutOfReach(next, kind) && seen.Add(reference.Uid)
                    && await context.Objects.GetAsync(kind.Key(kind.Namespaced ? next.Key.Namespace : "", reference.Name), context.CancellationToken) is { } owner
                    && owner.Uid == reference.Uid)
                {
                    open.Enqueue(owner);
                }
            }
        }
        return seen;
    }

    private async Task<ReconcileResult> OrphanDependentsAsync(ICachedObject owner, ReconcileContext context)
    {
        foreach (var dependent in await DependentsAsync(owner, context))
            await RemoveReferencesAsync(dependent, uid => uid == owner.Uid, context);
        await RemoveFinalizerAsync(owner, Orphan, context);
        return ReconcileResult.Done;
    }

    private async Task<List<ICachedObject>> DependentsAsync(ICachedObject owner, ReconcileContext context)
    {
        var dependents = new List<ICachedObject>();
        // A dependent created just before its owner's deletion may not be in the index yet.
        await index.CatchUpAsync(context.CancellationToken);
        foreach (var key in index.Dependents(owner.Uid))
        {
            if ((owner.Key.Namespace.Length == 0 || key.Namespace == owner.Key.Namespace)
                && await context.Objects.GetAsync(key, context.CancellationToken) is { } dependent)
            {
                dependents.Add(dependent);
            }
        }
        return dependents;
    }

    private static async Task RemoveReferencesAsync(ICachedObject dependent, Func<string, bool> remove, ReconcileContext context)
    {
        var rest = dependent.ToJson().Items("metadata", "ownerReferences").Where(r => !remove(r.Text("uid"))).Select(r => r.DeepClone()).ToArray();
        await PatchMetadataAsync(dependent, "ownerReferences", rest, context);
    }

    private static async Task RemoveFinalizerAsync(ICachedObject obj, string finalizer, ReconcileContext context)
    {
        var rest = Finalizers(obj).Where(f => f != finalizer).Select(f => (JsonNode)f!).ToArray();
        await PatchMetadataAsync(obj, "finalizers", rest, context);
    }

    private static async Task PatchMetadataAsync(ICachedObject obj, string member, JsonNode[] values, ReconcileContext context)
    {
        try
        {
            await context.Objects.PatchAsync(
                obj.Key,
                new JsonObject
                {
                    ["metadata"] = new JsonObject
                    {
                        ["uid"] = obj.Uid,
                        ["resourceVersion"] = obj.Revision.ToString(),
                        [member] = values.Length == 0 ? null : new JsonArray(values),
                    },
                },
                context.CancellationToken);
        }
        catch (StatusException gone) when (gone.Status.Code == 404)
        {
            // Removed in the meantime, which was the aim.
        }
    }

    private static List<string> Finalizers(ICachedObject obj) =>
        obj.Bytes.Span.IndexOf("\"finalizers\""u8) < 0
            ? []
            : [.. (obj.ToJson()["metadata"]?["finalizers"] as JsonArray ?? []).Select(f => (string?)f ?? "")];
}
