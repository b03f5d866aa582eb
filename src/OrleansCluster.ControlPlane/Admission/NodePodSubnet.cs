using System.Buffers.Binary;
using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Admission;

/// <summary>
/// Gives every new node a subnet for its pods, claimed in the commit that creates the node, as <see cref="ServiceAddresses"/> does for services.
/// Candidates go from the lowest free subnet up, so that small clusters get 10.244.0.0/24, 10.244.1.0/24, ...
/// </summary>
public sealed class NodePodSubnet : IAdmissionStep
{
    /// <summary>Attempts that take the next index unseen; after them the used subnets are looked at.</summary>
    private const int OptimisticAttempts = 6;

    private readonly IResourceCaches _caches;
    private readonly uint _first;
    private readonly int _prefix;
    private readonly uint _subnets;
    private long _next = -1;

    /// <summary>Makes the step.</summary>
    public NodePodSubnet(IResourceCaches caches, IOptions<ControlPlaneOptions> options)
    {
        _caches = caches;
        var network = IPNetwork.Parse(options.Value.PodCidr);
        _first = BinaryPrimitives.ReadUInt32BigEndian(network.BaseAddress.GetAddressBytes());
        _prefix = options.Value.NodePodCidrPrefix;
        _subnets = 1u << (_prefix - network.PrefixLength);
    }

    /// <inheritdoc/>
    public IReadOnlyCollection<string>? Resources { get; } = ["nodes"];

    /// <inheritdoc/>
    public async ValueTask AdmitAsync(AdmissionRequest request, CancellationToken cancellationToken)
    {
        if (request.Operation == AdmissionOperation.Delete || request.Subresource.Length > 0)
            return;
        if (request.Object["spec"] is not JsonObject spec)
            request.Object["spec"] = spec = [];
        if (string.IsNullOrEmpty((string?)spec["podCIDR"]))
            spec["podCIDR"] = (string?)request.Old?["spec"]?["podCIDR"] ?? await ChooseAsync(request, cancellationToken);
        var cidr = (string?)spec["podCIDR"]!;
        spec["podCIDRs"] = new JsonArray(cidr);
        request.Claims = ["podcidr/" + cidr];
    }

    private async ValueTask<string> ChooseAsync(AdmissionRequest request, CancellationToken cancellationToken)
    {
        var nodes = await _caches.Get("nodes").GetLatestAsync(cancellationToken);
        if (request.Attempt < OptimisticAttempts)
        {
            // Nodes mostly come and stay: the next index is free, and thousands may register at once without looking at each other.
            Interlocked.CompareExchange(ref _next, nodes.Count, -1);
            return Subnet((uint)(Interlocked.Increment(ref _next) - 1) % _subnets);
        }
        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (var node in nodes.Enumerate())
            used.Add((string?)CanonicalJson.Parse(node.Bytes.Span)["spec"]?["podCIDR"] ?? "");
        var skip = request.Attempt - OptimisticAttempts;
        for (var i = 0u; i < _subnets; i++)
        {
            if (!used.Contains(Subnet(i)) && skip-- == 0)
                return Subnet(i);
        }
        throw request.Forbidden("the pod network has no free subnet left for this node; widen PodCidr or remove nodes");
    }

    private string Subnet(uint index)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, _first + (index << (32 - _prefix)));
        return $"{new IPAddress(bytes)}/{_prefix}";
    }
}
