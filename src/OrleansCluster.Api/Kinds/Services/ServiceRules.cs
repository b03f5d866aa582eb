using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of a Service's spec. Which addresses and node ports are free is the allocator's to say, at admission.</summary>
internal static class ServiceRules
{
    private const int MaxAffinitySeconds = 86_400;
    private static readonly FieldPath Spec = FieldPath.Root("spec");
    private static readonly string[] Types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    private static readonly string[] FamilyPolicies = ["PreferDualStack", "RequireDualStack", "SingleStack"];

    /// <summary>True where the service has no address of its own.</summary>
    public static bool IsHeadless(JsonObject? spec) => spec.GetString("clusterIP") == "None" || spec.Strings("clusterIPs").FirstOrDefault() == "None";

    /// <summary>True for the types that are reached at a cluster address.</summary>
    public static bool NeedsClusterIP(JsonObject? spec) => spec.GetString("type") is "ClusterIP" or "NodePort" or "LoadBalancer";

    /// <summary>True for the types that are reached at a port of every node.</summary>
    public static bool NeedsNodePort(JsonObject? spec) => spec.GetString("type") == "NodePort"
        || (spec.GetString("type") == "LoadBalancer" && spec.GetBool("allocateLoadBalancerNodePorts") != false);

    /// <summary>True where traffic comes from outside the cluster.</summary>
    public static bool IsExternal(JsonObject? spec) => spec.GetString("type") is "NodePort" or "LoadBalancer"
        || (spec.GetString("type") == "ClusterIP" && spec.GetArray("externalIPs") is { Count: > 0 });

    /// <summary>Checks a service.</summary>
    public static void Validate(JsonObject obj, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        var type = spec.GetString("type");
        if (spec.GetArray("ports") is null or { Count: 0 } && !IsHeadless(spec) && type != "ExternalName")
            errors.Required(Spec.Child("ports"));
        if (type is "LoadBalancer" or "NodePort" && IsHeadless(spec))
            errors.Invalid(Spec.Child("clusterIPs").Index(0), "None", $"may not be set to 'None' for {type} services");
        if (type == "ExternalName")
            ValidateExternalName(spec, errors);
        ServicePorts.Validate(spec, Spec.Child("ports"), errors);
        MetadataRules.ValidateLabels(spec.GetObject("selector"), Spec.Child("selector"), errors);
        ValidateAffinity(spec, errors);
        PodSpecRules.ValidateChoice(spec, "type", Spec, Types, errors);
        ValidateAddresses(spec, errors);
        ValidateFamilies(spec, errors);
        ValidateTraffic(spec, errors);
        ValidateLoadBalancer(spec, errors);
    }

    /// <summary>Checks a change: the primary address stays what it is as long as the type needs one.</summary>
    public static void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        var spec = obj.GetObject("spec");
        var oldSpec = old.GetObject("spec");
        if (spec.GetString("type") == "ExternalName" || oldSpec.GetString("type") == "ExternalName")
            return;
        var after = spec.Strings("clusterIPs").ToArray();
        var before = oldSpec.Strings("clusterIPs").ToArray();
        var path = Spec.Child("clusterIPs").Index(0);
        if (before.Length > 0 && after.Length == 0)
            errors.Invalid(path, GoText.List(after), "primary clusterIP can not be unset");
        else if (before.Length > 0 && before[0] != after[0])
            errors.Invalid(path, GoText.List(after), "may not change once set");
    }

    private static void ValidateExternalName(JsonObject? spec, FieldErrors errors)
    {
        if (spec.GetArray("clusterIPs") is { Count: > 0 })
            errors.Forbidden(Spec.Child("clusterIPs"), "may not be set for ExternalName services");
        var name = spec.GetString("externalName") ?? "";
        var trimmed = name.EndsWith('.') ? name[..^1] : name;
        if (trimmed.Length == 0)
            errors.Required(Spec.Child("externalName"));
        else
            errors.InvalidIf(NameSyntax.Subdomain(trimmed.ToLowerInvariant()), Spec.Child("externalName"), trimmed);
    }

    private static void ValidateAffinity(JsonObject? spec, FieldErrors errors)
    {
        PodSpecRules.ValidateChoice(spec, "sessionAffinity", Spec, ["ClientIP", "None"], errors);
        var config = spec.GetObject("sessionAffinityConfig");
        var path = Spec.Child("sessionAffinityConfig");
        if (spec.GetString("sessionAffinity") == "ClientIP")
        {
            var seconds = config.GetObject("clientIP").GetLong("timeoutSeconds");
            if (seconds is null)
                errors.Required(path, "when session affinity type is ClientIP");
            else if (seconds is <= 0 or > MaxAffinitySeconds)
                errors.Invalid(path.Child("clientIP").Child("timeoutSeconds"), seconds, $"must be greater than 0 and less than {MaxAffinitySeconds}");
        }
        else if (config is not null)
        {
            errors.Forbidden(path, "must not be set when session affinity is None");
        }
    }

    private static void ValidateAddresses(JsonObject? spec, FieldErrors errors)
    {
        var addresses = spec.Strings("clusterIPs").ToArray();
        var path = Spec.Child("clusterIPs");
        if (addresses.Length > 2)
            errors.Invalid(path, GoText.List(addresses), "may only hold up to 2 values");
        var first = spec.GetString("clusterIP") ?? "";
        if (addresses.Length > 0 && addresses[0] != first)
            errors.Invalid(path, GoText.List(addresses), "first value must match `clusterIP`");
        for (var i = 0; i < addresses.Length; i++)
        {
            if (addresses[i] == "None")
            {
                if (i > 0 || addresses.Length > 1)
                    errors.Invalid(path, GoText.List(addresses), "'None' must be the first and only value");
            }
            else if (!NameSyntax.IsIP(addresses[i]))
            {
                errors.Invalid(path.Index(i), addresses[i], AddressRules.NotAnIP);
            }
        }
        var index = 0;
        foreach (var ip in spec.Strings("externalIPs"))
            AddressRules.ValidateEndpointIP(ip, Spec.Child("externalIPs").Index(index++), errors);
    }

    private static void ValidateFamilies(JsonObject? spec, FieldErrors errors)
    {
        PodSpecRules.ValidateChoice(spec, "ipFamilyPolicy", Spec, FamilyPolicies, errors, required: false);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var index = 0;
        foreach (var family in spec.Strings("ipFamilies"))
        {
            var path = Spec.Child("ipFamilies").Index(index++);
            if (family is not ("IPv4" or "IPv6"))
                errors.NotSupported(path, family, ["IPv4", "IPv6"]);
            else if (!seen.Add(family))
                errors.Duplicate(path, family);
        }
        if (spec.GetString("type") != "ExternalName")
            return;
        foreach (var member in (ReadOnlySpan<string>)["ipFamilies", "ipFamilyPolicy"])
        {
            if (spec.Has(member))
                errors.Forbidden(Spec.Child(member), "may not be set for ExternalName services");
        }
    }

    private static void ValidateTraffic(JsonObject? spec, FieldErrors errors)
    {
        if (spec.GetString("externalTrafficPolicy") is { Length: > 0 } external)
        {
            if (!IsExternal(spec))
                errors.Invalid(Spec.Child("externalTrafficPolicy"), external, "may only be set for externally-accessible services");
            PodSpecRules.ValidateChoice(spec, "externalTrafficPolicy", Spec, ["Cluster", "Local"], errors);
        }
        PodSpecRules.ValidateChoice(spec, "internalTrafficPolicy", Spec, ["Cluster", "Local"], errors, required: NeedsClusterIP(spec));
        PodSpecRules.ValidateChoice(spec, "trafficDistribution", Spec, ["PreferClose"], errors, required: false);
        if (spec.GetLong("healthCheckNodePort") is not (null or 0) and var port
            && !(spec.GetString("type") == "LoadBalancer" && spec.GetString("externalTrafficPolicy") == "Local"))
        {
            errors.Invalid(Spec.Child("healthCheckNodePort"), port,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
        }
    }

    private static void ValidateLoadBalancer(JsonObject? spec, FieldErrors errors)
    {
        if (spec.GetString("type") == "LoadBalancer")
            return;
        foreach (var member in (ReadOnlySpan<string>)["loadBalancerSourceRanges", "loadBalancerClass", "allocateLoadBalancerNodePorts"])
        {
            if (spec.Has(member))
                errors.Forbidden(Spec.Child(member), "may only be used when `type` is 'LoadBalancer'");
        }
    }
}
