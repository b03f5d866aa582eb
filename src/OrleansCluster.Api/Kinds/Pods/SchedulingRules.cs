using System.Globalization;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of what a pod says about where it may run: tolerations, affinity, spreading.</summary>
internal static class SchedulingRules
{
    private static readonly string[] Effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

    /// <summary>Checks the tolerations.</summary>
    public static void ValidateTolerations(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, toleration) in spec.Items("tolerations"))
        {
            var at = path.Index(index);
            var key = toleration.GetString("key") ?? "";
            var @operator = toleration.GetString("operator") ?? "";
            var value = toleration.GetString("value") ?? "";
            var effect = toleration.GetString("effect") ?? "";
            if (key.Length > 0)
                errors.InvalidIf(NameSyntax.QualifiedName(key), at.Child("key"), key);
            if (key.Length == 0 && @operator != "Exists")
            {
                errors.Invalid(at.Child("operator"), @operator,
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
            }
            if (toleration.Has("tolerationSeconds") && effect != "NoExecute")
                errors.Invalid(at.Child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
            switch (@operator)
            {
                case "" or "Equal":
                    errors.InvalidIf(NameSyntax.LabelValue(value), at.Child("operator"), value);
                    break;
                case "Exists":
                    if (value.Length > 0)
                        errors.Invalid(at.Child("operator"), toleration, "value must be empty when `operator` is 'Exists'");
                    break;
                default:
                    errors.NotSupported(at.Child("operator"), @operator, ["Equal", "Exists"]);
                    break;
            }
            if (effect.Length > 0 && !Effects.Contains(effect, StringComparer.Ordinal))
                errors.NotSupported(at.Child("effect"), effect, Effects);
        }
    }

    /// <summary>Checks node affinity, pod affinity and pod anti-affinity.</summary>
    public static void ValidateAffinity(JsonObject? affinity, FieldPath path, FieldErrors errors)
    {
        if (affinity is null)
            return;
        var node = affinity.GetObject("nodeAffinity");
        var at = path.Child("nodeAffinity");
        if (node.GetObject("requiredDuringSchedulingIgnoredDuringExecution") is { } required)
        {
            var terms = at.Child("requiredDuringSchedulingIgnoredDuringExecution").Child("nodeSelectorTerms");
            if (required.GetArray("nodeSelectorTerms") is null or { Count: 0 })
                errors.Required(terms, "must have at least one node selector term");
            foreach (var (index, term) in required.Items("nodeSelectorTerms"))
                ValidateNodeTerm(term, terms.Index(index), errors);
        }
        foreach (var (index, preferred) in node.Items("preferredDuringSchedulingIgnoredDuringExecution"))
        {
            var item = at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(index);
            ValidateWeight(preferred, item, errors);
            ValidateNodeTerm(preferred.GetObject("preference"), item.Child("preference"), errors);
        }
        foreach (var kind in (ReadOnlySpan<string>)["podAffinity", "podAntiAffinity"])
        {
            var pods = affinity.GetObject(kind);
            foreach (var (index, term) in pods.Items("requiredDuringSchedulingIgnoredDuringExecution"))
                ValidatePodTerm(term, path.Child(kind).Child("requiredDuringSchedulingIgnoredDuringExecution").Index(index), errors);
            foreach (var (index, preferred) in pods.Items("preferredDuringSchedulingIgnoredDuringExecution"))
            {
                var item = path.Child(kind).Child("preferredDuringSchedulingIgnoredDuringExecution").Index(index);
                ValidateWeight(preferred, item, errors);
                ValidatePodTerm(preferred.GetObject("podAffinityTerm"), item.Child("podAffinityTerm"), errors);
            }
        }
    }

    /// <summary>Checks the topology spread constraints.</summary>
    public static void ValidateSpreading(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        var seen = new HashSet<(string, string)>();
        foreach (var (index, constraint) in spec.Items("topologySpreadConstraints"))
        {
            var at = path.Index(index);
            if (constraint.GetLong("maxSkew") is not > 0 and var skew)
                errors.Invalid(at.Child("maxSkew"), skew ?? 0, "must be greater than zero");
            ValidateTopologyKey(constraint, at, errors);
            PodSpecRules.ValidateChoice(constraint, "whenUnsatisfiable", at, ["DoNotSchedule", "ScheduleAnyway"], errors);
            var key = constraint.GetString("topologyKey") ?? "";
            var action = constraint.GetString("whenUnsatisfiable") ?? "";
            if (!seen.Add((key, action)))
                errors.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), $"{{{key}, {action}}}");
            if (constraint.Has("minDomains"))
            {
                if (constraint.GetLong("minDomains") is not > 0 and var domains)
                    errors.Invalid(at.Child("minDomains"), domains, "must be greater than zero");
                if (action != "DoNotSchedule")
                    errors.Invalid(at.Child("minDomains"), constraint.GetLong("minDomains"), $"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            }
            PodSpecRules.ValidateChoice(constraint, "nodeAffinityPolicy", at, ["Honor", "Ignore"], errors, required: false);
            PodSpecRules.ValidateChoice(constraint, "nodeTaintsPolicy", at, ["Honor", "Ignore"], errors, required: false);
            LabelSelector.FromObject(constraint.GetObject("labelSelector"), at.Child("labelSelector"), errors);
        }
    }

    private static void ValidateNodeTerm(JsonObject? term, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, requirement) in term.Items("matchExpressions"))
            ValidateNodeRequirement(requirement, path.Child("matchExpressions").Index(index), errors);
        foreach (var (index, requirement) in term.Items("matchFields"))
        {
            var at = path.Child("matchFields").Index(index);
            if (requirement.GetString("operator") is not ("In" or "NotIn"))
                errors.Invalid(at.Child("operator"), requirement.GetString("operator") ?? "", "not a valid selector operator");
            if (requirement.GetArray("values") is not { Count: 1 })
                errors.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
            if (requirement.GetString("key") is not "metadata.name" and var key)
                errors.Invalid(at.Child("key"), key ?? "", "not a valid field selector key");
        }
    }

    private static void ValidateNodeRequirement(JsonObject requirement, FieldPath path, FieldErrors errors)
    {
        var values = requirement.Strings("values").ToArray();
        switch (requirement.GetString("operator"))
        {
            case "In" or "NotIn":
                if (values.Length == 0)
                    errors.Required(path.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                break;
            case "Exists" or "DoesNotExist":
                if (values.Length > 0)
                    errors.Forbidden(path.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                break;
            case "Gt" or "Lt":
                if (values.Length != 1)
                    errors.Required(path.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
                else if (!long.TryParse(values[0], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _))
                    errors.Invalid(path.Child("values").Index(0), values[0], "for 'Gt', 'Lt' operators, the value must be an integer");
                break;
            default:
                errors.Invalid(path.Child("operator"), requirement.GetString("operator") ?? "", "not a valid selector operator");
                break;
        }
        var key = requirement.GetString("key") ?? "";
        errors.InvalidIf(NameSyntax.QualifiedName(key), path.Child("key"), key);
    }

    private static void ValidatePodTerm(JsonObject? term, FieldPath path, FieldErrors errors)
    {
        LabelSelector.FromObject(term.GetObject("labelSelector"), path.Child("labelSelector"), errors);
        LabelSelector.FromObject(term.GetObject("namespaceSelector"), path.Child("namespaceSelector"), errors);
        var index = 0;
        foreach (var name in term.Strings("namespaces"))
            errors.InvalidIf(NameSyntax.Label(name), path.Child("namespaces").Index(index++), name);
        ValidateTopologyKey(term, path, errors);
    }

    private static void ValidateTopologyKey(JsonObject? term, FieldPath path, FieldErrors errors)
    {
        var key = term.GetString("topologyKey") ?? "";
        if (key.Length == 0)
            errors.Required(path.Child("topologyKey"), "can not be empty");
        else
            errors.InvalidIf(NameSyntax.QualifiedName(key), path.Child("topologyKey"), key);
    }

    private static void ValidateWeight(JsonObject preferred, FieldPath path, FieldErrors errors)
    {
        if (preferred.GetLong("weight") is not (>= 1 and <= 100) and var weight)
            errors.Invalid(path.Child("weight"), weight ?? 0, "must be in the range 1-100");
    }
}
