using System.Globalization;
using System.Text.Json;

namespace OrleansCluster.Kubelet.Variables;

/// <summary>The variables by which containers find the services of their namespace (wire contract, "Service link env").</summary>
internal static class ServiceVariables
{
    /// <summary>Adds the variables of one service; one without a cluster IP has none.</summary>
    public static void Add(JsonElement service, Dictionary<string, string> variables)
    {
        if (!service.TryGetProperty("spec", out var spec)
            || !spec.TryGetProperty("clusterIP", out var ip) || ip.GetString() is not { Length: > 0 } address || address == "None"
            || !spec.TryGetProperty("ports", out var ports) || ports.ValueKind != JsonValueKind.Array || ports.GetArrayLength() == 0)
        {
            return;
        }

        var prefix = VariableName(service.GetProperty("metadata").GetProperty("name").GetString()!);
        variables[prefix + "_SERVICE_HOST"] = address;
        var first = true;
        foreach (var port in ports.EnumerateArray())
        {
            var number = port.GetProperty("port").GetInt32().ToString(CultureInfo.InvariantCulture);
            if (first)
                variables[prefix + "_SERVICE_PORT"] = number;
            if (port.TryGetProperty("name", out var name) && name.GetString() is { Length: > 0 } portName)
                variables[$"{prefix}_SERVICE_PORT_{VariableName(portName)}"] = number;
            var protocol = port.TryGetProperty("protocol", out var p) && p.GetString() is { Length: > 0 } given ? given : "TCP";
            var scheme = protocol.ToLowerInvariant();
            var url = $"{scheme}://{HostInUrl(address)}:{number}";
            if (first)
                variables[prefix + "_PORT"] = url;
            var portPrefix = $"{prefix}_PORT_{number}_{protocol.ToUpperInvariant()}";
            variables[portPrefix] = url;
            variables[portPrefix + "_PROTO"] = scheme;
            variables[portPrefix + "_PORT"] = number;
            variables[portPrefix + "_ADDR"] = address;
            first = false;
        }
    }

    private static string VariableName(string name) => name.ToUpperInvariant().Replace('-', '_');

    private static string HostInUrl(string address) => address.Contains(':', StringComparison.Ordinal) ? $"[{address}]" : address;
}
