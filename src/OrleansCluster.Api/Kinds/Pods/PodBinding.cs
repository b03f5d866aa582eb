using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Binding: gives a pod its node (wire contract, section 12). Sets `spec.nodeName` and the condition PodScheduled, and adds the labels and
/// annotations of the Binding. A pod is bound once.
/// </summary>
internal static class PodBinding
{
    /// <summary>Binds a private copy of the pod; answers null or the error.</summary>
    public static StatusError? Apply(JsonObject pod, JsonObject binding, StrategyContext context)
    {
        var name = context.Key.Name;
        var target = binding.GetObject("target");
        var node = target.GetString("name") ?? "";
        if (Check(target, node, name) is { } wrong)
            return wrong;
        var metadata = pod.EnsureObject("metadata");
        var spec = pod.EnsureObject("spec");
        if (metadata.Has("deletionTimestamp"))
            return Conflict(name, $"pod {name} is being deleted, cannot be assigned to a host");
        if (spec.GetString("nodeName") is { Length: > 0 } present)
            return Conflict(name, $"pod {name} is already assigned to node \"{present}\"");
        if (spec.GetArray("schedulingGates") is { Count: > 0 })
            return Conflict(name, $"pod {name} has non-empty .spec.schedulingGates");

        spec["nodeName"] = node;
        Merge(metadata, binding.GetObject("metadata"), "labels");
        Merge(metadata, binding.GetObject("metadata"), "annotations");
        Conditions.Set(pod.EnsureObject("status"), "PodScheduled", "True", context.Now);
        return null;
    }

    private static StatusError? Check(JsonObject? target, string node, string pod)
    {
        var errors = new FieldErrors();
        var path = FieldPath.Root("target");
        if (target.GetString("kind") is { Length: > 0 } and not "Node" and var kind)
            errors.NotSupported(path.Child("kind"), kind, ["Node", "<empty>"]);
        if (node.Length == 0)
            errors.Required(path.Child("name"));
        else
            errors.InvalidIf(NameSyntax.Subdomain(node), path.Child("name"), node);
        return errors.IsEmpty ? null : errors.ToStatus("Binding", "", pod);
    }

    private static void Merge(JsonObject metadata, JsonObject? from, string map)
    {
        foreach (var (key, value) in from.GetObject(map) ?? [])
        {
            if (JsonReading.AsString(value) is { } text)
                metadata.EnsureObject(map)[key] = text;
        }
    }

    private static StatusError Conflict(string pod, string why) => StatusError.Conflict("pods/binding", "", pod, why);
}
