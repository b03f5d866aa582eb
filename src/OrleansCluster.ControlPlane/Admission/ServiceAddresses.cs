using System.Buffers.Binary;
using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Admission;

/// <summary>
/// Gives services their cluster IPs and node ports. The choice is claimed in the very commit that writes the service, so two services can never
/// hold one address, no address leaks, and no allocator has to be asked: a claim in conflict makes the grain decide again, and a higher
/// attempt picks another candidate. Candidates are spread by a hash of the uid, so conflicts are rare until the range is nearly full; after some of
/// them the services are looked through for what is free.
/// </summary>
public sealed class ServiceAddresses : IAdmissionStep
{
    /// <summary>Attempts that pick unseen.</summary>
    private const int OptimisticAttempts = 6;

    private readonly IResourceCaches _caches;
    private readonly uint _firstAddress;
    private readonly uint _addresses;
    private readonly IPNetwork _network;
    private readonly int _firstPort;
    private readonly int _ports;

    /// <summary>Makes the step.</summary>
    public ServiceAddresses(IResourceCaches caches, IOptions<ControlPlaneOptions> options)
    {
        _caches = caches;
        _network = IPNetwork.Parse(options.Value.ServiceCidr);
        // The network address, the first host (the API server's `kubernetes` service), the next ten (kept for well-known services such
        // as DNS) and the broadcast address are never picked; a service may still ask for one of the ten.
        _firstAddress = ToNumber(_network.BaseAddress) + 12;
        _addresses = (uint)Math.Max(1, (1L << (32 - _network.PrefixLength)) - 13);
        _firstPort = options.Value.NodePortFirst;
        _ports = options.Value.NodePortLast - _firstPort + 1;
    }

    /// <inheritdoc/>
    public IReadOnlyCollection<string>? Resources { get; } = ["services"];

    /// <inheritdoc/>
    public async ValueTask AdmitAsync(AdmissionRequest request, CancellationToken cancellationToken)
    {
        if (request.Operation == AdmissionOperation.Delete || request.Subresource.Length > 0 || request.Object["spec"] is not JsonObject spec)
            return;
        var used = request.Attempt < OptimisticAttempts ? null : await UsedAsync(request.Key, cancellationToken);
        var claims = new List<string>();
        var seed = Seed((string?)request.Object["metadata"]?["uid"]);
        var type = (string?)spec["type"] ?? "ClusterIP";
        if (type == "ExternalName")
        {
            spec.Remove("clusterIP");
            spec.Remove("clusterIPs");
        }
        else
        {
            ClusterIP(request, spec, seed, used, claims);
        }
        NodePorts(request, spec, type is "NodePort" or "LoadBalancer", seed, used, claims);
        request.Claims = claims;
    }

    /// <summary>The names that the other services hold.</summary>
    private async ValueTask<HashSet<string>> UsedAsync(ObjectKey own, CancellationToken cancellationToken)
    {
        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (var service in (await _caches.Get("services").GetLatestAsync(cancellationToken)).Enumerate())
        {
            if (service.Key == own)
                continue;
            var spec = CanonicalJson.Parse(service.Bytes.Span).Object("spec");
            used.Add("ip/" + spec.Text("clusterIP"));
            foreach (var port in spec.Items("ports"))
                used.Add($"nodeport/{(port.Text("protocol") is { Length: > 0 } protocol ? protocol : "TCP")}/{port.Number(0, "nodePort")}");
        }
        return used;
    }

    /// <summary>A candidate by seed and attempt, or one that is free if it is known what is used.</summary>
    /// <exception cref="StatusException">All are used.</exception>
    private static long Pick(AdmissionRequest request, ulong seed, long count, HashSet<string>? used, Func<long, string> claim, string what)
    {
        if (used is null)
            return (long)((seed + ((ulong)request.Attempt * 7919)) % (ulong)count);
        // Others may look at this very moment: each further attempt takes a free one further on.
        var skip = request.Attempt - OptimisticAttempts;
        long? free = null;
        for (long i = 0, at = (long)(seed % (ulong)count); i < count; i++, at = (at + 1) % count)
        {
            if (used.Contains(claim(at)))
                continue;
            free = at;
            if (skip-- == 0)
                break;
        }
        return free ?? throw request.Forbidden($"failed to allocate a {what}: range is full");
    }

    private void ClusterIP(AdmissionRequest request, JsonObject spec, ulong seed, HashSet<string>? used, List<string> claims)
    {
        var ip = (string?)spec["clusterIP"] ?? (string?)(spec["clusterIPs"] as JsonArray)?.FirstOrDefault() ?? (string?)request.Old?["spec"]?["clusterIP"];
        if (ip == "None")
        {
            spec["clusterIP"] = ip;
            spec["clusterIPs"] = new JsonArray("None");
            return;
        }
        if (string.IsNullOrEmpty(ip))
            ip = Address(Pick(request, seed, _addresses, used, i => "ip/" + Address(i), "serviceIP"));
        else if (!IPAddress.TryParse(ip, out var address) || !_network.Contains(address))
            throw new StatusException(OutOfRange(request, ip));
        spec["clusterIP"] = ip;
        spec["clusterIPs"] = new JsonArray(ip);
        claims.Add("ip/" + ip);
    }

    private void NodePorts(AdmissionRequest request, JsonObject spec, bool wanted, ulong seed, HashSet<string>? used, List<string> claims)
    {
        var ports = spec["ports"] as JsonArray ?? [];
        for (var i = 0; i < ports.Count; i++)
        {
            if (ports[i] is not JsonObject port)
                continue;
            if (!wanted)
            {
                port.Remove("nodePort");
                continue;
            }
            var protocol = (string?)port["protocol"] ?? "TCP";
            var chosen = port["nodePort"] is { } node && int.TryParse(node.ToString(), out var number) ? number : 0;
            if (chosen == 0)
                chosen = OldNodePort(request.Old, port) ?? FreePort(request, protocol, (seed / 65_537) + ((ulong)i * 2_741), used, claims);
            else if (chosen < _firstPort || chosen >= _firstPort + _ports)
                throw new StatusException(PortOutOfRange(request, i, chosen));
            port["nodePort"] = chosen;
            claims.Add($"nodeport/{protocol}/{chosen}");
        }
    }

    private int FreePort(AdmissionRequest request, string protocol, ulong seed, HashSet<string>? used, List<string> claims)
    {
        string Claim(long port) => $"nodeport/{protocol}/{_firstPort + port}";
        if (used is not null)
            return _firstPort + (int)Pick(request, seed, _ports, [.. used, .. claims], Claim, "nodePort");
        // Two ports of one service must not pick the same.
        var port = Pick(request, seed, _ports, null, Claim, "nodePort");
        for (var i = 0; i < _ports && claims.Contains(Claim(port)); i++)
            port = (port + 1) % _ports;
        return _firstPort + (int)port;
    }

    // kubectl apply and replace send manifests without node ports: the service keeps the ones it has.
    private static int? OldNodePort(JsonObject? old, JsonObject port)
    {
        foreach (var before in old?["spec"]?["ports"] as JsonArray ?? [])
        {
            if (before?["port"]?.ToString() == port["port"]?.ToString()
                && ((string?)before?["protocol"] ?? "TCP") == ((string?)port["protocol"] ?? "TCP")
                && before?["nodePort"] is { } node && int.TryParse(node.ToString(), out var number))
            {
                return number;
            }
        }
        return null;
    }

    private StatusError OutOfRange(AdmissionRequest request, string ip)
    {
        var errors = new FieldErrors();
        errors.Invalid(FieldPath.Root("spec").Child("clusterIPs"), $"[\"{ip}\"]",
            $"failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {_network}");
        return errors.ToStatus(request.Definition.Kind, request.Definition.Group, request.Key.Name);
    }

    private StatusError PortOutOfRange(AdmissionRequest request, int index, int port)
    {
        var errors = new FieldErrors();
        errors.Invalid(FieldPath.Root("spec").Child("ports").Index(index).Child("nodePort"), port,
            $"provided port is not in the valid range. The range of valid ports is {_firstPort}-{_firstPort + _ports - 1}");
        return errors.ToStatus(request.Definition.Kind, request.Definition.Group, request.Key.Name);
    }

    // Uids are random, so eight of their bytes are as good as a hash.
    private static ulong Seed(string? uid) =>
        Guid.TryParse(uid, out var guid) ? BinaryPrimitives.ReadUInt64BigEndian(guid.ToByteArray()) : 0;

    private static uint ToNumber(IPAddress address) => BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());

    private string Address(long index) => ToAddress(_firstAddress + (uint)index).ToString();

    private static IPAddress ToAddress(uint number)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
        return new IPAddress(bytes);
    }
}
