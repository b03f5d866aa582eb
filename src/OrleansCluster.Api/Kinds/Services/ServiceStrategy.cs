using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Services (v1). Cluster addresses and node ports are allocated at admission, between the two halves of a write.</summary>
internal sealed class ServiceStrategy : ResourceStrategy
{
    private const int DefaultAffinitySeconds = 10_800;

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Service",
        Plural = "services",
        Singular = "service",
        Namespaced = true,
        ShortNames = ["svc"],
        Categories = ["all"],
        Subresources = [new("status", ["get", "patch", "update"], "Service")],
        Columns =
        [
            new("Name", Format: "name"), new("Type"), new("Cluster-IP"), new("External-IP"), new("Port(s)"), new("Age"), new("Selector", Priority: 1),
        ],
        DeleteReturnsObject = true,
        AllowCreateOnUpdate = true,
        Strategy = new ServiceStrategy(),
    };

    public override bool HasStatus => true;

    public override NameRule NameRule => NameRule.Dns1035Label;

    public override IReadOnlyList<SelectableField> SelectableFields => [new("spec.clusterIP"), new("spec.type")];

    public override void Default(JsonObject obj)
    {
        var spec = obj.EnsureObject("spec");
        spec.SetDefault("type", "ClusterIP");
        spec.SetDefault("sessionAffinity", "None");
        if (spec.GetString("sessionAffinity") == "None")
            spec.Remove("sessionAffinityConfig");
        else if (spec.GetString("sessionAffinity") == "ClientIP")
            spec.EnsureObject("sessionAffinityConfig").EnsureObject("clientIP").SetDefault("timeoutSeconds", DefaultAffinitySeconds);
        foreach (var (_, port) in spec.Items("ports"))
        {
            port.SetDefault("protocol", "TCP");
            if (port["targetPort"] is null || JsonReading.AsLong(port["targetPort"]) == 0 || JsonReading.AsString(port["targetPort"]) is "")
                port.CopyMember("targetPort", new JsonObject { ["targetPort"] = port["port"]?.DeepClone() });
        }
        if (ServiceRules.IsExternal(spec))
            spec.SetDefault("externalTrafficPolicy", "Cluster");
        if (spec.GetString("type") == "LoadBalancer")
            spec.SetDefault("allocateLoadBalancerNodePorts", true);
        if (ServiceRules.NeedsClusterIP(spec))
            spec.SetDefault("internalTrafficPolicy", "Cluster");
        MirrorAddresses(spec);
        obj.EnsureObject("status").EnsureObject("loadBalancer");
        foreach (var (_, ingress) in obj.GetObject("status").GetObject("loadBalancer").Items("ingress"))
        {
            if (spec.GetString("type") == "LoadBalancer" && ingress.GetString("ip") is { Length: > 0 })
                ingress.SetDefault("ipMode", "VIP");
        }
    }

    public override void PrepareForCreate(JsonObject obj, StrategyContext context) => DefaultFamilies(obj.EnsureObject("spec"));

    public override void PrepareForUpdate(JsonObject obj, JsonObject old, StrategyContext context)
    {
        var spec = obj.EnsureObject("spec");
        ServiceTransitions.KeepAllocated(spec, old.GetObject("spec"));
        ServiceTransitions.DropUnneeded(spec, old.GetObject("spec"));
        DefaultFamilies(spec);
    }

    public override void Validate(JsonObject obj, FieldErrors errors) => ServiceRules.Validate(obj, errors);

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors) => ServiceRules.ValidateUpdate(obj, old, errors);

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        var spec = obj.Get("spec") ?? default;
        row.AddName(obj);
        row.Add(spec.Text("type") ?? "");
        row.Add(ClusterIP(spec));
        row.Add(ExternalIP(obj, spec));
        row.Add(Ports(spec));
        row.AddAge(obj, now);
        row.Add(TableCells.Labels(spec.Get("selector")));
    }

    // The older singular member and the first of the list are one value under two names.
    private static void MirrorAddresses(JsonObject spec)
    {
        var first = spec.Strings("clusterIPs").FirstOrDefault();
        if (spec.GetString("clusterIP") is { Length: > 0 } single)
        {
            if (first is null)
                spec["clusterIPs"] = new JsonArray(single);
        }
        else if (first is { Length: > 0 })
        {
            spec["clusterIP"] = first;
        }
        else
        {
            spec.Remove("clusterIP");
            spec.Remove("clusterIPs");
        }
    }

    private static void DefaultFamilies(JsonObject spec)
    {
        if (!ServiceRules.NeedsClusterIP(spec))
            return;
        // Headless without selector: whoever writes the endpoints may use either family.
        var open = ServiceRules.IsHeadless(spec) && spec.GetObject("selector") is null or { Count: 0 };
        spec.SetDefault("ipFamilyPolicy", open && !spec.Has("ipFamilies") ? "RequireDualStack" : "SingleStack");
        if (spec.GetArray("ipFamilies") is { Count: > 0 })
            return;
        var first = spec.GetString("clusterIP") ?? "";
        spec["ipFamilies"] = open && spec.GetString("ipFamilyPolicy") == "RequireDualStack"
            ? new JsonArray("IPv4", "IPv6")
            : new JsonArray(first.Contains(':', StringComparison.Ordinal) ? "IPv6" : "IPv4");
    }

    private static string ClusterIP(JsonElement spec)
    {
        foreach (var ip in spec.Items("clusterIPs"))
            return TableCells.OrNone(ip.GetString());
        return TableCells.OrNone(spec.Text("clusterIP"));
    }

    private static string ExternalIP(JsonElement obj, JsonElement spec)
    {
        var external = spec.Items("externalIPs").Select(ip => ip.GetString() ?? "").ToArray();
        switch (spec.Text("type"))
        {
            case "ClusterIP" or "NodePort":
                return TableCells.OrNone(string.Join(',', external));
            case "LoadBalancer":
                var ingress = obj.Get("status", "loadBalancer")?.Items("ingress").Select(i => i.Text("ip") is { Length: > 0 } ip ? ip : i.Text("hostname") ?? "") ?? [];
                var all = string.Join(',', ingress.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Concat(external));
                return all.Length == 0 ? "<pending>" : all;
            case "ExternalName":
                return spec.Text("externalName") ?? "";
            default:
                return "<unknown>";
        }
    }

    private static string Ports(JsonElement spec) => TableCells.OrNone(string.Join(',', spec.Items("ports").Select(p =>
        p.Number("nodePort") > 0
            ? $"{p.Number("port")}:{p.Number("nodePort")}/{p.Text("protocol")}"
            : $"{p.Number("port")}/{p.Text("protocol")}")));
}
