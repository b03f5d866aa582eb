using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Where a kind keeps what its scale subresource shows.</summary>
/// <param name="SelectorIsLabelSelector">
/// True where `spec.selector` is a selector object, false where it is a map of labels (ReplicationController).
/// </param>
public sealed record ScaleMapping(bool SelectorIsLabelSelector);

/// <summary>
/// The scale subresource: an `autoscaling/v1 Scale` view of an object with `spec.replicas` and `status.replicas`. Strategies that say where
/// (<see cref="ResourceStrategy.Scale"/>) have it without further code.
/// </summary>
internal static class ScaleSubresource
{
    /// <summary>The Scale of an object.</summary>
    /// <param name="obj">The object, with its resourceVersion if the view shall carry one.</param>
    /// <param name="mapping">The kind's mapping.</param>
    public static JsonObject Read(JsonObject obj, ScaleMapping mapping)
    {
        var metadata = new JsonObject();
        var stored = obj.GetObject("metadata");
        foreach (var member in (ReadOnlySpan<string>)["name", "namespace", "uid", "resourceVersion", "creationTimestamp"])
            metadata.CopyMember(member, stored);
        var status = new JsonObject { ["replicas"] = obj.GetObject("status").GetLong("replicas") ?? 0 };
        var selector = obj.GetObject("spec").GetObject("selector");
        var text = mapping.SelectorIsLabelSelector
            ? LabelSelector.FromObject(selector, FieldPath.Root("spec").Child("selector"), new FieldErrors()).ToString()
            : LabelSelector.FromLabels(selector).ToString();
        if (text.Length > 0)
            status["selector"] = text;
        return new JsonObject
        {
            ["kind"] = "Scale",
            ["apiVersion"] = "autoscaling/v1",
            ["metadata"] = metadata,
            ["spec"] = new JsonObject { ["replicas"] = obj.GetObject("spec").GetLong("replicas") ?? 0 },
            ["status"] = status,
        };
    }

    /// <summary>Writes the replicas of a Scale into the object; answers null or the error.</summary>
    internal static StatusError? Apply(JsonObject obj, JsonObject scale, StrategyContext context)
    {
        if (scale.GetString("kind") is { Length: > 0 } kind && kind != "Scale")
            return StatusError.BadRequest($"expected input object type to be Scale, but {kind}");
        var replicas = scale.GetObject("spec").GetLong("replicas") ?? 0;
        var errors = new FieldErrors();
        if (replicas < 0)
            errors.Invalid(FieldPath.Root("spec").Child("replicas"), replicas, "must be greater than or equal to 0");
        else if (replicas > int.MaxValue)
            errors.Invalid(FieldPath.Root("spec").Child("replicas"), replicas, "must be less than or equal to 2147483647");
        if (!errors.IsEmpty)
            return errors.ToStatus("Scale", "autoscaling", context.Key.Name);
        obj.EnsureObject("spec")["replicas"] = replicas;
        return null;
    }
}
