using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of a pod's spec, as Pods and all pod templates have them. The spec is defaulted.</summary>
internal static class PodSpecRules
{
    private static readonly string[] RestartPolicies = ["Always", "Never", "OnFailure"];
    private static readonly string[] DnsPolicies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];

    /// <summary>Checks a pod template: labels, annotations and spec.</summary>
    public static void ValidateTemplate(JsonObject? template, FieldPath path, FieldErrors errors)
    {
        var metadata = template.GetObject("metadata");
        MetadataRules.ValidateLabels(metadata.GetObject("labels"), path.Child("metadata").Child("labels"), errors);
        MetadataRules.ValidateAnnotations(metadata.GetObject("annotations"), path.Child("metadata").Child("annotations"), errors);
        Validate(template.GetObject("spec"), path.Child("spec"), errors);
        if (template.GetObject("spec").GetArray("ephemeralContainers") is { Count: > 0 })
            errors.Forbidden(path.Child("spec").Child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }

    /// <summary>Checks a spec.</summary>
    public static void Validate(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        var volumes = VolumeRules.Validate(spec, path.Child("volumes"), errors);
        ContainerRules.ValidateAll(spec, path, volumes, errors);
        ValidatePolicies(spec, path, errors);
        ValidateNames(spec, path, errors);
        ValidateSecurity(spec, path, errors);
        ValidateDns(spec, path, errors);
        ValidateHostAliases(spec, path, errors);
        ValidateGates(spec, path, errors);
        MetadataRules.ValidateLabels(spec.GetObject("nodeSelector"), path.Child("nodeSelector"), errors);
        SchedulingRules.ValidateTolerations(spec, path.Child("tolerations"), errors);
        SchedulingRules.ValidateAffinity(spec.GetObject("affinity"), path.Child("affinity"), errors);
        SchedulingRules.ValidateSpreading(spec, path.Child("topologySpreadConstraints"), errors);
        ResourceRules.ValidateAmounts(spec.GetObject("overhead"), path.Child("overhead"), errors);
    }

    /// <summary>A number of a list of choices; absent is fine only where a default has filled it in before.</summary>
    internal static void ValidateChoice(JsonObject? obj, string member, FieldPath path, IReadOnlyList<string> choices, FieldErrors errors, bool required = true)
    {
        var value = obj.GetString(member) ?? "";
        if (value.Length == 0)
        {
            if (required)
                errors.Required(path.Child(member));
        }
        else if (!choices.Contains(value, StringComparer.Ordinal))
        {
            errors.NotSupported(path.Child(member), value, choices);
        }
    }

    private static void ValidatePolicies(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        ValidateChoice(spec, "restartPolicy", path, RestartPolicies, errors);
        ValidateChoice(spec, "dnsPolicy", path, DnsPolicies, errors);
        if (spec.Has("activeDeadlineSeconds") && spec.GetLong("activeDeadlineSeconds") is not (>= 1 and <= int.MaxValue) and var deadline)
            errors.Invalid(path.Child("activeDeadlineSeconds"), deadline, "must be between 1 and 2147483647, inclusive");
        ValidateChoice(spec, "preemptionPolicy", path, ["Never", "PreemptLowerPriority"], errors, required: false);
        if (spec.GetObject("os") is { } os)
            ValidateChoice(os, "name", path.Child("os"), ["linux", "windows"], errors);
    }

    private static void ValidateNames(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        foreach (var member in (ReadOnlySpan<string>)["nodeName", "serviceAccountName", "priorityClassName", "runtimeClassName", "schedulerName"])
        {
            if (spec.GetString(member) is { Length: > 0 } name)
                errors.InvalidIf(NameSyntax.Subdomain(name), path.Child(member), name);
        }
        foreach (var member in (ReadOnlySpan<string>)["hostname", "subdomain"])
        {
            if (spec.GetString(member) is { Length: > 0 } name)
                errors.InvalidIf(NameSyntax.Label(name), path.Child(member), name);
        }
        foreach (var (index, secret) in spec.Items("imagePullSecrets"))
        {
            if (secret.GetString("name") is null or "")
                errors.Required(path.Child("imagePullSecrets").Index(index).Child("name"));
        }
    }

    private static void ValidateSecurity(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        if (spec.GetBool("shareProcessNamespace") == true && spec.GetBool("hostPID") == true)
        {
            errors.Invalid(path.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled");
        }
        var security = spec.GetObject("securityContext");
        var at = path.Child("securityContext");
        ContainerRules.ValidateIds(security, at, ["runAsUser", "runAsGroup", "fsGroup"], errors);
        var index = 0;
        foreach (var group in security.GetArray("supplementalGroups") ?? [])
        {
            if (JsonReading.AsLong(group) is not (>= 0 and <= int.MaxValue))
                errors.Invalid(at.Child("supplementalGroups").Index(index), group, ContainerRules.IdRange);
            index++;
        }
        ValidateChoice(security, "fsGroupChangePolicy", at, ["Always", "OnRootMismatch"], errors, required: false);
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (i, sysctl) in security.Items("sysctls"))
        {
            var name = sysctl.GetString("name") ?? "";
            if (name.Length == 0)
                errors.Required(at.Child("sysctls").Index(i).Child("name"));
            else if (!names.Add(name))
                errors.Duplicate(at.Child("sysctls").Index(i).Child("name"), name);
        }
    }

    private static void ValidateDns(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        var config = spec.GetObject("dnsConfig");
        var at = path.Child("dnsConfig");
        var servers = config.Strings("nameservers").ToArray();
        if (spec.GetString("dnsPolicy") == "None")
        {
            if (config is null)
                errors.Required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
            else if (servers.Length == 0)
                errors.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
        if (servers.Length > 3)
            errors.Invalid(at.Child("nameservers"), config.GetArray("nameservers"), "must not have more than 3 nameservers");
        for (var i = 0; i < servers.Length; i++)
        {
            if (!NameSyntax.IsIP(servers[i]))
                errors.Invalid(at.Child("nameservers").Index(i), servers[i], "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
        foreach (var (index, option) in config.Items("options"))
        {
            if (option.GetString("name") is null or "")
                errors.Required(at.Child("options").Index(index), "must not be empty");
        }
    }

    private static void ValidateHostAliases(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, alias) in spec.Items("hostAliases"))
        {
            var at = path.Child("hostAliases").Index(index);
            var ip = alias.GetString("ip") ?? "";
            if (!NameSyntax.IsIP(ip))
                errors.Invalid(at.Child("ip"), ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            var host = 0;
            foreach (var name in alias.Strings("hostnames"))
                errors.InvalidIf(NameSyntax.Subdomain(name), at.Child("hostnames").Index(host++), name);
        }
    }

    private static void ValidateGates(JsonObject? spec, FieldPath path, FieldErrors errors)
    {
        foreach (var (index, gate) in spec.Items("readinessGates"))
        {
            var type = gate.GetString("conditionType") ?? "";
            errors.InvalidIf(NameSyntax.QualifiedName(type), path.Child("readinessGates").Index(index).Child("conditionType"), type);
        }
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (index, gate) in spec.Items("schedulingGates"))
        {
            var at = path.Child("schedulingGates").Index(index);
            var name = gate.GetString("name") ?? "";
            errors.InvalidIf(NameSyntax.QualifiedName(name), at.Child("name"), name);
            if (!names.Add(name))
                errors.Duplicate(at, name);
        }
        if (names.Count > 0 && spec.GetString("nodeName") is { Length: > 0 })
            errors.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}
