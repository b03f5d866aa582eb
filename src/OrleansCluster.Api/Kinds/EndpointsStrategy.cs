using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Endpoints (v1): the addresses behind a Service, in the older form.</summary>
internal sealed class EndpointsStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Endpoints",
        Plural = "endpoints",
        Singular = "endpoints",
        Namespaced = true,
        ShortNames = ["ep"],
        Columns = [new("Name", Format: "name"), new("Endpoints"), new("Age")],
        AllowCreateOnUpdate = true,
        Strategy = new EndpointsStrategy(),
    };

    public override void Default(JsonObject obj)
    {
        foreach (var (_, subset) in obj.Items("subsets"))
        {
            foreach (var (_, port) in subset.Items("ports"))
                port.SetDefault("protocol", "TCP");
        }
    }

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        foreach (var (index, subset) in obj.Items("subsets"))
        {
            var path = FieldPath.Root("subsets").Index(index);
            if (subset.GetArray("addresses") is null or { Count: 0 } && subset.GetArray("notReadyAddresses") is null or { Count: 0 })
                errors.Required(path, "must specify `addresses` or `notReadyAddresses`");
            foreach (var list in (ReadOnlySpan<string>)["addresses", "notReadyAddresses"])
            {
                foreach (var (i, address) in subset.Items(list))
                    ValidateAddress(address, path.Child(list).Index(i), errors);
            }
            var named = subset.GetArray("ports") is { Count: > 1 };
            foreach (var (i, port) in subset.Items("ports"))
                ServicePorts.ValidateEndpointPort(port, named, path.Child("ports").Index(i), errors);
        }
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(Cell(obj));
        row.AddAge(obj, now);
    }

    private static void ValidateAddress(JsonObject address, FieldPath path, FieldErrors errors)
    {
        AddressRules.ValidateEndpointIP(address.GetString("ip") ?? "", path.Child("ip"), errors);
        if (address.GetString("hostname") is { Length: > 0 } hostname)
            errors.InvalidIf(NameSyntax.Label(hostname), path.Child("hostname"), hostname);
        if (address.GetString("nodeName") is { Length: > 0 } node)
            errors.InvalidIf(NameSyntax.Subdomain(node), path.Child("nodeName"), node);
    }

    private static string Cell(JsonElement obj)
    {
        if (obj.Count("subsets") == 0)
            return "<none>";
        var all = new List<string>();
        foreach (var subset in obj.Items("subsets"))
        {
            var addresses = subset.Items("addresses").Select(a => a.Text("ip") ?? "").ToArray();
            if (subset.Count("ports") == 0)
            {
                all.AddRange(addresses);
                continue;
            }
            foreach (var port in subset.Items("ports"))
                all.AddRange(addresses.Select(ip => ip.Contains(':', StringComparison.Ordinal) ? $"[{ip}]:{port.Number("port")}" : $"{ip}:{port.Number("port")}"));
        }
        return TableCells.FirstThree(all);
    }
}
