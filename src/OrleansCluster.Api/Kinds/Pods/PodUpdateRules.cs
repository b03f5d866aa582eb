using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>What of a pod may still change after its creation: images, the deadline (down), tolerations (more), gates (fewer).</summary>
internal static class PodUpdateRules
{
    private const string Frozen =
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
        "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was " +
        "previously negative)";

    private static readonly FieldPath Spec = FieldPath.Root("spec");

    /// <summary>Checks a change of the pod itself.</summary>
    public static void Validate(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        var oldSpec = old.GetObject("spec");
        if (spec is null || oldSpec is null || JsonNode.DeepEquals(spec, oldSpec))
            return;
        foreach (var list in (ReadOnlySpan<string>)["containers", "initContainers"])
        {
            if ((spec.GetArray(list)?.Count ?? 0) != (oldSpec.GetArray(list)?.Count ?? 0))
            {
                errors.Forbidden(Spec.Child(list), "pod updates may not add or remove containers");
                return;
            }
        }
        ValidateDeadline(spec, oldSpec, errors);
        ValidateTolerations(spec, oldSpec, errors);
        ValidateGates(spec, oldSpec, errors);

        // What may change is put back in a copy; whatever differs then may not.
        var frozen = (JsonObject)spec.DeepClone();
        var gated = oldSpec.GetArray("schedulingGates") is { Count: > 0 };
        foreach (var list in (ReadOnlySpan<string>)["containers", "initContainers"])
        {
            foreach (var (index, container) in frozen.Items(list))
                container.CopyMember("image", oldSpec.GetArray(list)?[index] as JsonObject);
        }
        frozen.CopyMember("activeDeadlineSeconds", oldSpec);
        frozen.CopyMember("tolerations", oldSpec);
        frozen.CopyMember("schedulingGates", oldSpec);
        if (oldSpec.GetLong("terminationGracePeriodSeconds") < 0 && spec.GetLong("terminationGracePeriodSeconds") == 1)
            frozen.CopyMember("terminationGracePeriodSeconds", oldSpec);
        if (gated && AddsOnly(spec.GetObject("nodeSelector"), oldSpec.GetObject("nodeSelector")))
            frozen.CopyMember("nodeSelector", oldSpec);
        if (!JsonNode.DeepEquals(frozen, oldSpec))
            errors.Forbidden(Spec, Frozen + Difference(frozen, oldSpec));
    }

    /// <summary>Checks a change of the status.</summary>
    public static void ValidateStatus(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        var status = obj.GetObject("status");
        var oldStatus = old.GetObject("status");
        var path = FieldPath.Root("status");
        if (oldStatus.GetString("qosClass") is { Length: > 0 } qos && status.GetString("qosClass") != qos)
            errors.Invalid(path.Child("qosClass"), status.GetString("qosClass"), "field is immutable");
        if (status.GetString("nominatedNodeName") is { Length: > 0 } node)
            errors.InvalidIf(NameSyntax.Subdomain(node), path.Child("nominatedNodeName"), node);
        // A container that must not restart cannot run again.
        var policy = obj.GetObject("spec").GetString("restartPolicy");
        if (policy is not ("Never" or "OnFailure"))
            return;
        var ended = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (_, before) in oldStatus.Items("containerStatuses"))
        {
            if (before.GetObject("state").GetObject("terminated") is { } terminated
                && (policy == "Never" || terminated.GetLong("exitCode") is null or 0))
            {
                ended.Add(before.GetString("name") ?? "");
            }
        }
        foreach (var (index, after) in status.Items("containerStatuses"))
        {
            if (ended.Contains(after.GetString("name") ?? "") && !after.GetObject("state").Has("terminated"))
                errors.Forbidden(path.Child("containerStatuses").Index(index).Child("state"), "may not be transitioned to non-terminated state");
        }
    }

    private static void ValidateDeadline(JsonObject spec, JsonObject oldSpec, FieldErrors errors)
    {
        if (oldSpec.GetLong("activeDeadlineSeconds") is not { } before)
            return;
        var path = Spec.Child("activeDeadlineSeconds");
        if (spec.GetLong("activeDeadlineSeconds") is not { } after)
            errors.Invalid(path, null, "must not update from a positive integer to nil value");
        else if (after > before)
            errors.Invalid(path, after, "must be less than or equal to previous value");
    }

    private static void ValidateTolerations(JsonObject spec, JsonObject oldSpec, FieldErrors errors)
    {
        var kept = spec.Items("tolerations").Select(t => Identity(t.Item)).ToHashSet();
        if (oldSpec.Items("tolerations").Any(t => !kept.Contains(Identity(t.Item))))
            errors.Forbidden(Spec.Child("tolerations"), "existing toleration can not be modified except its tolerationSeconds");

        static (string?, string?, string?, string?) Identity(JsonObject toleration) =>
            (toleration.GetString("key") ?? "", toleration.GetString("operator") ?? "", toleration.GetString("value") ?? "", toleration.GetString("effect") ?? "");
    }

    private static void ValidateGates(JsonObject spec, JsonObject oldSpec, FieldErrors errors)
    {
        var before = oldSpec.Items("schedulingGates").Select(g => g.Item.GetString("name")).ToHashSet(StringComparer.Ordinal);
        foreach (var (index, gate) in spec.Items("schedulingGates"))
        {
            if (!before.Contains(gate.GetString("name")))
            {
                errors.Forbidden(Spec.Child("schedulingGates").Index(index),
                    $"only deletion is allowed, but found new scheduling gate '{gate.GetString("name")}'");
            }
        }
    }

    private static bool AddsOnly(JsonObject? after, JsonObject? before) =>
        before is null || before.All(l => after.GetString(l.Key) == JsonReading.AsString(l.Value));

    // The members that differ, one a line: + what was asked for, - what is stored.
    private static string Difference(JsonObject after, JsonObject before)
    {
        var text = new System.Text.StringBuilder();
        foreach (var member in after.Select(m => m.Key).Union(before.Select(m => m.Key), StringComparer.Ordinal))
        {
            if (JsonNode.DeepEquals(after[member], before[member]))
                continue;
            text.Append("\n- ").Append(member).Append(": ").Append(Shown(before[member]));
            text.Append("\n+ ").Append(member).Append(": ").Append(Shown(after[member]));
        }
        return text.ToString();

        static string Shown(JsonNode? node)
        {
            var json = node?.ToJsonString() ?? "(none)";
            return json.Length <= 512 ? json : json[..512] + "...";
        }
    }
}
