using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// What an update of a Service keeps and drops. Clients send back manifests that never named the address and node ports the server allocated:
/// those stay. And a change of type drops what only the old type needed, unless the client changed that itself (then validation speaks).
/// </summary>
internal static class ServiceTransitions
{
    /// <summary>Keeps the allocated values that the new spec leaves out.</summary>
    public static void KeepAllocated(JsonObject spec, JsonObject? old)
    {
        if (ServiceRules.NeedsClusterIP(old) && ServiceRules.NeedsClusterIP(spec))
        {
            if (!spec.Has("clusterIP") && !spec.Has("clusterIPs"))
            {
                spec.CopyMember("clusterIP", old);
                spec.CopyMember("clusterIPs", old);
            }
            foreach (var member in (ReadOnlySpan<string>)["ipFamilies", "ipFamilyPolicy"])
            {
                if (!spec.Has(member))
                    spec.CopyMember(member, old);
            }
        }
        if (ServiceRules.NeedsNodePort(old) && ServiceRules.NeedsNodePort(spec))
            KeepNodePorts(spec, old);
        if (spec.GetLong("healthCheckNodePort") is null or 0 && spec.GetString("type") == "LoadBalancer" && old.GetString("type") == "LoadBalancer"
            && spec.GetString("externalTrafficPolicy") == "Local")
        {
            spec.CopyMember("healthCheckNodePort", old);
        }
    }

    /// <summary>Drops what the new type has no use for.</summary>
    public static void DropUnneeded(JsonObject spec, JsonObject? old)
    {
        if (ServiceRules.NeedsClusterIP(old) && !ServiceRules.NeedsClusterIP(spec))
        {
            foreach (var member in (ReadOnlySpan<string>)["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"])
                DropIfSame(spec, old, member);
        }
        if (ServiceRules.NeedsNodePort(old) && !ServiceRules.NeedsNodePort(spec) && SameNodePorts(spec, old))
        {
            foreach (var (_, port) in spec.Items("ports"))
                port.Remove("nodePort");
        }
        if (ServiceRules.IsExternal(old) && !ServiceRules.IsExternal(spec))
            DropIfSame(spec, old, "externalTrafficPolicy");
        if (old.GetString("type") == "LoadBalancer" && spec.GetString("type") != "LoadBalancer")
        {
            foreach (var member in (ReadOnlySpan<string>)["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"])
                DropIfSame(spec, old, member);
        }
    }

    // By name if the port has one, else by number.
    private static void KeepNodePorts(JsonObject spec, JsonObject? old)
    {
        var before = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var (_, port) in old.Items("ports"))
        {
            if (port.GetLong("nodePort") is not (null or 0) and { } nodePort)
            {
                before.TryAdd(ByNumber(port), nodePort);
                if (port.GetString("name") is { Length: > 0 } name)
                    before.TryAdd(name, nodePort);
            }
        }
        var taken = NodePorts(spec);
        foreach (var (_, port) in spec.Items("ports"))
        {
            if (port.GetLong("nodePort") is not (null or 0))
                continue;
            var key = port.GetString("name") is { Length: > 0 } name ? name : ByNumber(port);
            if (before.TryGetValue(key, out var nodePort) && taken.Add(nodePort))
                port["nodePort"] = nodePort;
        }

        // A slash cannot be in a name, so the two kinds of key do not meet.
        static string ByNumber(JsonObject port) => $"{port.GetString("protocol")}/{port.GetLong("port")}";
    }

    private static bool SameNodePorts(JsonObject spec, JsonObject? old) => NodePorts(spec).IsSubsetOf(NodePorts(old));

    private static HashSet<long> NodePorts(JsonObject? spec) =>
        [.. spec.Items("ports").Select(p => p.Item.GetLong("nodePort") ?? 0).Where(n => n != 0)];

    private static void DropIfSame(JsonObject spec, JsonObject? old, string member)
    {
        if (JsonNode.DeepEquals(spec[member], old?[member]))
            spec.Remove(member);
    }
}
