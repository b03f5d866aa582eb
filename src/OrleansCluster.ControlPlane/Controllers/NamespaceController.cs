using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Empties a namespace that is being deleted, of every namespaced kind there is, then takes its finalizer away so that it goes (wire contract,
/// section 13). Says in its conditions what is still there.
/// </summary>
public sealed class NamespaceController(ResourceRegistry registry, IResourceCaches caches) : IController
{
    private const int ParallelDeletions = 32;

    /// <summary>Content that takes its time (pods with grace, finalizers of others) is looked at again after this long.</summary>
    private static readonly TimeSpan Recheck = TimeSpan.FromMilliseconds(500);

    /// <summary>
    /// Least time from the deletion to the end. A creation that was admitted just before may still be on its way to the store; it is to be found here, not
    /// left behind in a namespace that is no more. Counted from a stamp cut to seconds.
    /// </summary>
    private static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(1250);

    /// <inheritdoc/>
    public string Name => "namespace-controller";

    /// <inheritdoc/>
    public string Resource => "namespaces";

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { IsDeleting: true } cached)
            return ReconcileResult.Done;

        var remaining = new List<(ResourceDefinition Kind, List<ICachedObject> Objects)>();
        foreach (var kind in registry.All.Where(k => k.Namespaced && k.Verbs.Contains("delete")))
        {
            var objects = (await caches.Get(kind.Resource).GetLatestAsync(context.CancellationToken)).Enumerate(key.Name).ToList();
            if (objects.Count > 0)
                remaining.Add((kind, objects));
        }
        await Parallel.ForEachAsync(
            remaining.SelectMany(r => r.Objects).Where(o => !o.IsDeleting),
            new ParallelOptions { MaxDegreeOfParallelism = ParallelDeletions, CancellationToken = context.CancellationToken },
            async (obj, token) => await context.Objects.DeleteAsync(obj.Key, new DeleteOptions(PropagationPolicy: "Background", PreconditionUid: obj.Uid), token));

        var ns = cached.ToJson();
        await WriteConditionsAsync(key, ns, remaining, context);
        if (remaining.Count > 0)
            return ReconcileResult.After(Recheck);
        if (KubernetesTime.TryParse(ns.Text("metadata", "deletionTimestamp"), out var deleted) && deleted + Settle - context.Time.GetUtcNow() is var left && left > TimeSpan.Zero)
            return ReconcileResult.After(left);

        var finalized = (JsonObject)ns.DeepClone();
        finalized["spec"] = new JsonObject
        {
            ["finalizers"] = new JsonArray([.. (ns["spec"]?["finalizers"] as JsonArray ?? []).Where(f => (string?)f != "kubernetes").Select(f => f?.DeepClone())]),
        };
        try
        {
            await context.Objects.UpdateAsync(key, finalized, context.CancellationToken, "finalize");
        }
        catch (StatusException gone) when (gone.Status.Code == 404)
        {
            // Somebody else finished it.
        }
        return ReconcileResult.Done;
    }

    private static async Task WriteConditionsAsync(
        ObjectKey key, JsonObject ns, List<(ResourceDefinition Kind, List<ICachedObject> Objects)> remaining, ReconcileContext context)
    {
        var withFinalizers = remaining.SelectMany(r => r.Objects)
            .SelectMany(o => (o.ToJson()["metadata"]?["finalizers"] as JsonArray ?? []).Select(f => (string?)f ?? ""))
            .CountBy(f => f, StringComparer.Ordinal).OrderBy(f => f.Key, StringComparer.Ordinal).ToList();
        var conditions = new JsonArray(
            Condition("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", "All resources successfully discovered"),
            Condition("NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions", "All legacy kube types successfully parsed"),
            Condition("NamespaceDeletionContentFailure", false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            remaining.Count == 0
                ? Condition("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed")
                : Condition("NamespaceContentRemaining", true, "SomeResourcesRemain", "Some resources are remaining: "
                    + string.Join(", ", remaining.Select(r => $"{r.Kind.Plural}.{r.Kind.Group} has {r.Objects.Count} resource instances"))),
            withFinalizers.Count == 0
                ? Condition("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", "All content-preserving finalizers finished")
                : Condition("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "
                    + string.Join(", ", withFinalizers.Select(f => $"{f.Key} in {f.Value} resource instances"))));
        foreach (var condition in conditions.OfType<JsonObject>())
        {
            var before = ns.Items("status", "conditions").FirstOrDefault(c => c.Text("type") == condition.Text("type"));
            condition["lastTransitionTime"] = before is not null && before.Text("status") == condition.Text("status")
                ? before.TextOr(context.Time.Stamp(), "lastTransitionTime") : context.Time.Stamp();
        }
        var status = new JsonObject { ["phase"] = "Terminating", ["conditions"] = conditions };
        if (JsonNode.DeepEquals(ns["status"], status))
            return;
        var updated = (JsonObject)ns.DeepClone();
        updated["status"] = status;
        await context.Objects.UpdateAsync(key, updated, context.CancellationToken, "status");
    }

    private static JsonObject Condition(string type, bool holds, string reason, string message) => new()
    {
        ["type"] = type,
        ["status"] = holds ? "True" : "False",
        ["reason"] = reason,
        ["message"] = message,
    };
}
