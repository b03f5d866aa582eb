using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>EndpointSlices (discovery.k8s.io/v1). Readers follow the generation, which here counts labels and annotations too.</summary>
internal sealed class EndpointSliceStrategy : ResourceStrategy
{
    private const int MaxEndpoints = 1000;
    private const int MaxAddresses = 100;
    private const int MaxPorts = 20_000;
    private static readonly string[] AddressTypes = ["FQDN", "IPv4", "IPv6"];

    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "discovery.k8s.io",
        Version = "v1",
        Kind = "EndpointSlice",
        Plural = "endpointslices",
        Singular = "endpointslice",
        Namespaced = true,
        Columns = [new("Name", Format: "name"), new("AddressType"), new("Ports"), new("Endpoints"), new("Age")],
        Strategy = new EndpointSliceStrategy(),
    };

    public override bool TracksGeneration => true;

    public override bool ChangesGeneration(JsonObject obj, JsonObject old)
    {
        return base.ChangesGeneration(obj, old) || Differs("labels") || Differs("annotations");

        bool Differs(string member) => !JsonNode.DeepEquals(obj.GetObject("metadata")?[member], old.GetObject("metadata")?[member]);
    }

    public override void Default(JsonObject obj)
    {
        foreach (var (_, port) in obj.Items("ports"))
        {
            if (!port.Has("name"))
                port["name"] = "";
            port.SetDefault("protocol", "TCP");
        }
    }

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        var type = obj.GetString("addressType") ?? "";
        if (type.Length == 0)
            errors.Required(FieldPath.Root("addressType"));
        else if (!AddressTypes.Contains(type, StringComparer.Ordinal))
            errors.NotSupported(FieldPath.Root("addressType"), type, AddressTypes);
        var endpoints = FieldPath.Root("endpoints");
        if (obj.GetArray("endpoints") is { Count: > MaxEndpoints } all)
        {
            errors.TooMany(endpoints, all.Count, MaxEndpoints);
            return;
        }
        foreach (var (index, endpoint) in obj.Items("endpoints"))
            ValidateEndpoint(endpoint, type, endpoints.Index(index), errors);
        ValidatePorts(obj, errors);
    }

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        if (obj.GetString("addressType") != old.GetString("addressType"))
            errors.Invalid(FieldPath.Root("addressType"), obj.GetString("addressType"), "field is immutable");
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Text("addressType") ?? "");
        var ports = obj.Items("ports").Select(p =>
            p.Get("port") is not null ? $"{p.Number("port")}" : p.Text("name") is { Length: > 0 } name ? name : "*").ToArray();
        row.Add(ports.Length == 0 ? "<unset>" : TableCells.FirstThree(ports));
        var addresses = obj.Items("endpoints").SelectMany(e => e.Items("addresses")).Select(a => a.GetString() ?? "").ToArray();
        row.Add(addresses.Length == 0 ? "<unset>" : TableCells.FirstThree(addresses));
        row.AddAge(obj, now);
    }

    private static void ValidateEndpoint(JsonObject endpoint, string type, FieldPath path, FieldErrors errors)
    {
        var addresses = endpoint.Strings("addresses").ToArray();
        var at = path.Child("addresses");
        if (addresses.Length == 0)
            errors.Required(at, "must contain at least 1 address");
        else if (addresses.Length > MaxAddresses)
            errors.TooMany(at, addresses.Length, MaxAddresses);
        for (var i = 0; i < addresses.Length; i++)
            ValidateAddress(addresses[i], type, at.Index(i), errors);
        if (endpoint.GetString("hostname") is { Length: > 0 } hostname)
            errors.InvalidIf(NameSyntax.Label(hostname), path.Child("hostname"), hostname);
        if (endpoint.GetString("nodeName") is { Length: > 0 } node)
            errors.InvalidIf(NameSyntax.Subdomain(node), path.Child("nodeName"), node);
    }

    private static void ValidateAddress(string address, string type, FieldPath path, FieldErrors errors)
    {
        switch (type)
        {
            case "IPv4":
                if (!NameSyntax.TryParseIP(address, out var v4) || v4.AddressFamily != AddressFamily.InterNetwork)
                    errors.Invalid(path, address, "must be a valid IPv4 address");
                else
                    AddressRules.ValidateEndpointIP(address, path, errors);
                break;
            case "IPv6":
                if (!IPAddress.TryParse(address, out var v6) || v6.AddressFamily != AddressFamily.InterNetworkV6)
                    errors.Invalid(path, address, "must be a valid IPv6 address");
                else
                    AddressRules.ValidateEndpointIP(address, path, errors);
                break;
            case "FQDN":
                errors.InvalidIf(NameSyntax.Subdomain(address), path, address);
                break;
            default:
                break;
        }
    }

    private static void ValidatePorts(JsonObject obj, FieldErrors errors)
    {
        var path = FieldPath.Root("ports");
        if (obj.GetArray("ports") is { Count: > MaxPorts } all)
        {
            errors.TooMany(path, all.Count, MaxPorts);
            return;
        }
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (index, port) in obj.Items("ports"))
        {
            var at = path.Index(index);
            var name = port.GetString("name") ?? "";
            if (name.Length > 0)
                errors.InvalidIf(NameSyntax.Label(name), at.Child("name"), name);
            if (!names.Add(name))
                errors.Duplicate(at.Child("name"), name);
            PodSpecRules.ValidateChoice(port, "protocol", at, ServicePorts.Protocols, errors);
            if (port.GetString("appProtocol") is { Length: > 0 } application)
                errors.InvalidIf(NameSyntax.QualifiedName(application), at.Child("appProtocol"), application);
        }
    }
}
