using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Decides which pods a controller object owns: those that name it as controller and match its selector, and orphans that match. A pod that no
/// longer matches is released. One pod never has two controllers: adoption writes the owner under the pod's uid and revision. An object that is
/// being deleted adopts nothing; that it is not is asked of the store's newest revision, or a pod that its deletion has just orphaned would be
/// taken back and collected with it.
/// </summary>
internal static class PodClaims
{
    public static async Task<List<PodFacts>> ClaimAsync(
        JsonObject owner, ICachedObject cached, LabelSet selector, IResourceCaches caches, ReconcileContext context)
    {
        var claimed = new List<PodFacts>();
        bool? mayAdopt = cached.IsDeleting ? false : null;
        var pods = await context.Objects.ListAsync("pods", context.CancellationToken);
        foreach (var pod in pods.Enumerate(cached.Key.Namespace))
        {
            var matches = selector.Selects(pod.Labels);
            if (pod.ControllerUid == cached.Uid)
            {
                if (matches)
                    claimed.Add(PodFacts.Of(pod));
                else if (!pod.IsDeleting)
                    await ReleaseAsync(pod, cached.Uid, context);
            }
            else if (matches && pod.ControllerUid is null && !pod.IsDeleting && PodFacts.Of(pod).IsActive
                && (mayAdopt ??= await IsAliveAsync(cached, caches, context)) && await AdoptAsync(pod, owner, context))
            {
                claimed.Add(PodFacts.Of(pod));
            }
        }
        return claimed;
    }

    /// <summary>The owner reference that marks a pod as this object's.</summary>
    public static JsonObject ControllerReference(JsonObject owner) => new()
    {
        ["apiVersion"] = owner.Text("apiVersion"),
        ["kind"] = owner.Text("kind"),
        ["name"] = owner.Text("metadata", "name"),
        ["uid"] = owner.Text("metadata", "uid"),
        ["controller"] = true,
        ["blockOwnerDeletion"] = true,
    };

    private static async Task<bool> IsAliveAsync(ICachedObject owner, IResourceCaches caches, ReconcileContext context)
    {
        var latest = await caches.Get(owner.Key.Resource).GetLatestAsync(context.CancellationToken);
        return latest.Find(owner.Key.Namespace, owner.Key.Name) is { IsDeleting: false } found && found.Uid == owner.Uid;
    }

    private static async Task<bool> AdoptAsync(ICachedObject pod, JsonObject owner, ReconcileContext context)
    {
        var references = new JsonArray([.. pod.ToJson().Items("metadata", "ownerReferences").Select(r => r.DeepClone()), ControllerReference(owner)]);
        return await PatchReferencesAsync(pod, references, context);
    }

    private static Task<bool> ReleaseAsync(ICachedObject pod, string ownerUid, ReconcileContext context)
    {
        var rest = pod.ToJson().Items("metadata", "ownerReferences").Where(r => r.Text("uid") != ownerUid).Select(r => r.DeepClone());
        return PatchReferencesAsync(pod, new JsonArray([.. rest]), context);
    }

    private static async Task<bool> PatchReferencesAsync(ICachedObject pod, JsonArray references, ReconcileContext context)
    {
        try
        {
            await context.Objects.PatchAsync(
                pod.Key,
                new JsonObject
                {
                    ["metadata"] = new JsonObject
                    {
                        ["uid"] = pod.Uid,
                        ["resourceVersion"] = pod.Revision.ToString(),
                        ["ownerReferences"] = references.Count == 0 ? null : references,
                    },
                },
                context.CancellationToken);
            return true;
        }
        catch (StatusException error) when (error.Status.Code is 404 or 409)
        {
            return false; // It changed or went; its change wakes this controller again.
        }
    }
}

/// <summary>Pods made from templates.</summary>
internal static class PodTemplates
{
    /// <summary>A pod of an object's `spec.template`, owned by the object.</summary>
    public static JsonObject PodFor(JsonObject owner)
    {
        var template = owner.Object("spec", "template");
        var metadata = new JsonObject
        {
            ["generateName"] = Prefix(owner.Text("metadata", "name")),
            ["namespace"] = owner.Text("metadata", "namespace"),
        };
        foreach (var member in (string[])["labels", "annotations", "finalizers"])
        {
            if (template.Object("metadata")[member] is { } value)
                metadata[member] = value.DeepClone();
        }
        metadata["ownerReferences"] = new JsonArray(PodClaims.ControllerReference(owner));
        return new JsonObject
        {
            ["kind"] = "Pod",
            ["apiVersion"] = "v1",
            ["metadata"] = metadata,
            ["spec"] = template.Object("spec").DeepClone(),
        };
    }

    // A dash is appended only if the name then still begins a valid pod name.
    private static string Prefix(string owner) => owner.EndsWith('.') ? owner : owner + "-";
}

/// <summary>Which pods go first when there are too many (wire contract, section 18).</summary>
internal static class PodDeletionOrder
{
    public static IEnumerable<PodFacts> LeastUsefulFirst(IReadOnlyList<PodFacts> pods, DateTimeOffset now)
    {
        var perNode = pods.CountBy(p => p.NodeName).ToDictionary(StringComparer.Ordinal);
        return pods
            .OrderBy(p => p.NodeName.Length > 0)
            .ThenBy(p => p.Phase switch { "" or "Pending" => 0, "Unknown" => 1, _ => 2 })
            .ThenBy(p => p.IsReady)
            .ThenBy(p => p.DeletionCost)
            .ThenByDescending(p => p.NodeName.Length > 0 ? perNode[p.NodeName] : 0)
            .ThenBy(p => p.IsReady ? Bucket(now - p.ReadySince) : 0)
            .ThenByDescending(p => p.Restarts)
            .ThenBy(p => Bucket(now - p.Created))
            .ThenBy(p => p.Pod.Key.Name, StringComparer.Ordinal);
    }

    // Ages compare by order of magnitude, so that pods of one scale-up are told apart by what matters more.
    private static int Bucket(TimeSpan age) => age <= TimeSpan.FromSeconds(1) ? 0 : (int)Math.Log2(age.TotalSeconds);
}
