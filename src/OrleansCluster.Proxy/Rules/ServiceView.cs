using System.Collections.Immutable;
using System.Net;
using System.Text.Json;

namespace OrleansCluster.Proxy.Rules;

/// <summary>One entry of <c>spec.ports</c> of a Service.</summary>
internal sealed record ServicePortView(string Name, ServiceProtocol Protocol, int Port, int NodePort);

/// <summary>The few fields of a Service that a proxy needs, read from the object's JSON.</summary>
internal sealed record ServiceView
{
    /// <summary>Services with this label are another proxy's business (API reference, well-known labels).</summary>
    private const string ProxyNameLabel = "service.kubernetes.io/service-proxy-name";

    /// <summary>The API's default of <c>sessionAffinityConfig.clientIP.timeoutSeconds</c>: three hours.</summary>
    private const int DefaultAffinitySeconds = 10_800;

    public required string Namespace { get; init; }
    public required string Name { get; init; }

    /// <summary>False for headless and ExternalName services and those of another proxy: they get no rules.</summary>
    public required bool IsProxied { get; init; }

    public ImmutableArray<IPAddress> ClusterIPs { get; init; } = [];
    public ImmutableArray<IPAddress> ExternalIPs { get; init; } = [];
    public ImmutableArray<ServicePortView> Ports { get; init; } = [];
    public TimeSpan? Affinity { get; init; }
    public bool InternalTrafficLocal { get; init; }
    public bool ExternalTrafficLocal { get; init; }

    /// <exception cref="JsonException">The bytes are not a Service object.</exception>
    public static ServiceView Parse(ReadOnlyMemory<byte> utf8Json)
    {
        using var document = JsonDocument.Parse(utf8Json);
        var root = document.RootElement;
        var metadata = root.Member("metadata");
        var spec = root.Member("spec");
        var type = spec.Text("type") ?? "ClusterIP";
        var clusterIPs = Addresses(spec.Items("clusterIPs").Select(static e => e.AsText()).Prepend(spec.Text("clusterIP")));
        var loadBalancerIPs = root.Member("status").Member("loadBalancer").Items("ingress").Select(static e => e.Text("ip"));
        var affinitySeconds = spec.Member("sessionAffinityConfig").Member("clientIP").Number("timeoutSeconds") ?? DefaultAffinitySeconds;
        return new ServiceView
        {
            Namespace = metadata.Text("namespace") ?? throw new JsonException("metadata.namespace is missing."),
            Name = metadata.Text("name") ?? throw new JsonException("metadata.name is missing."),
            IsProxied = type is not "ExternalName" && clusterIPs.Length > 0 && metadata.Member("labels").Text(ProxyNameLabel) is null,
            ClusterIPs = clusterIPs,
            ExternalIPs = [.. Addresses(spec.Items("externalIPs").Select(static e => e.AsText()).Concat(loadBalancerIPs)).Order(AddressOrder.Instance)],
            Ports = [.. spec.Items("ports").Select(ParsePort).OfType<ServicePortView>()],
            Affinity = spec.Text("sessionAffinity") is "ClientIP" ? TimeSpan.FromSeconds(Math.Clamp(affinitySeconds, 1, 86_400)) : null,
            InternalTrafficLocal = spec.Text("internalTrafficPolicy") is "Local",
            ExternalTrafficLocal = spec.Text("externalTrafficPolicy") is "Local",
        };
    }

    private static ServicePortView? ParsePort(JsonElement port) =>
        port.Number("port") is { } number and > 0 and <= IPEndPoint.MaxPort && PortNames.Protocol(port.Text("protocol")) is { } protocol
            ? new ServicePortView(port.Text("name") ?? "", protocol, number, port.Number("nodePort") ?? 0)
            : null;

    private static ImmutableArray<IPAddress> Addresses(IEnumerable<string?> texts) =>
        // "None" (headless) and "" (not yet allocated) are no addresses.
        [.. texts.Select(static text => IPAddress.TryParse(text, out var address) ? address : null).OfType<IPAddress>().Distinct()];
}

/// <summary>One entry of <c>endpoints</c> of an EndpointSlice, with the API's defaults for absent conditions applied.</summary>
internal sealed record EndpointView(IPAddress Address, bool Ready, bool Serving, bool Terminating, string? NodeName);

/// <summary>One entry of <c>ports</c> of an EndpointSlice.</summary>
internal sealed record EndpointPortView(string Name, ServiceProtocol Protocol, int Port);

/// <summary>The few fields of an EndpointSlice that a proxy needs, read from the object's JSON.</summary>
internal sealed record EndpointSliceView
{
    private const string ServiceNameLabel = "kubernetes.io/service-name";

    public required string Namespace { get; init; }
    public required string Name { get; init; }

    /// <summary>The service that owns the slice; null = a slice that no service uses.</summary>
    public string? ServiceName { get; init; }

    public ImmutableArray<EndpointView> Endpoints { get; init; } = [];
    public ImmutableArray<EndpointPortView> Ports { get; init; } = [];

    /// <exception cref="JsonException">The bytes are not an EndpointSlice object.</exception>
    public static EndpointSliceView Parse(ReadOnlyMemory<byte> utf8Json)
    {
        using var document = JsonDocument.Parse(utf8Json);
        var root = document.RootElement;
        var metadata = root.Member("metadata");
        return new EndpointSliceView
        {
            Namespace = metadata.Text("namespace") ?? throw new JsonException("metadata.namespace is missing."),
            Name = metadata.Text("name") ?? throw new JsonException("metadata.name is missing."),
            ServiceName = metadata.Member("labels").Text(ServiceNameLabel),
            Endpoints = [.. root.Items("endpoints").Select(ParseEndpoint).OfType<EndpointView>()],
            Ports = [.. root.Items("ports").Select(ParsePort).OfType<EndpointPortView>()],
        };
    }

    private static EndpointView? ParseEndpoint(JsonElement endpoint)
    {
        // All addresses of an entry are the same backend, and consumers may use only the first (EndpointSlice reference).
        // Entries of a slice with addressType FQDN do not parse as addresses and fall out here.
        if (!IPAddress.TryParse(endpoint.Items("addresses").FirstOrDefault().AsText(), out var address))
            return null;
        var conditions = endpoint.Member("conditions");
        var ready = conditions.Flag("ready") ?? true;
        return new EndpointView(
            address, ready, conditions.Flag("serving") ?? ready, conditions.Flag("terminating") ?? false, endpoint.Text("nodeName"));
    }

    private static EndpointPortView? ParsePort(JsonElement port) =>
        // A port without a number stands for all ports, which cannot be balanced to.
        port.Number("port") is { } number and > 0 and <= IPEndPoint.MaxPort && PortNames.Protocol(port.Text("protocol")) is { } protocol
            ? new EndpointPortView(port.Text("name") ?? "", protocol, number)
            : null;
}

internal static class PortNames
{
    public static ServiceProtocol? Protocol(string? text) => text switch
    {
        null or "" or "TCP" => ServiceProtocol.Tcp,
        "UDP" => ServiceProtocol.Udp,
        "SCTP" => ServiceProtocol.Sctp,
        _ => null,
    };
}

/// <summary>Order of addresses by their bytes, IPv4 first: the same on every host and in every run.</summary>
internal sealed class AddressOrder : IComparer<IPAddress>
{
    public static readonly AddressOrder Instance = new();

    public int Compare(IPAddress? x, IPAddress? y)
    {
        Span<byte> left = stackalloc byte[16];
        Span<byte> right = stackalloc byte[16];
        x!.TryWriteBytes(left, out var leftLength);
        y!.TryWriteBytes(right, out var rightLength);
        return leftLength != rightLength
            ? leftLength.CompareTo(rightLength)
            : left[..leftLength].SequenceCompareTo(right[..rightLength]);
    }
}

/// <summary>Reading members that may be absent, null or of an unexpected type, without exceptions.</summary>
internal static class JsonElementReading
{
    public static JsonElement Member(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) ? value : default;

    public static string? AsText(this JsonElement element) => element.ValueKind == JsonValueKind.String ? element.GetString() : null;

    public static string? Text(this JsonElement element, string name) => element.Member(name).AsText();

    public static int? Number(this JsonElement element, string name) =>
        element.Member(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var number) ? number : null;

    public static bool? Flag(this JsonElement element, string name) => element.Member(name).ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => null,
    };

    public static IEnumerable<JsonElement> Items(this JsonElement element, string name) =>
        element.Member(name) is { ValueKind: JsonValueKind.Array } array ? array.EnumerateArray() : [];
}
