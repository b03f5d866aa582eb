using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.Nftables;

/// <summary>Key of an element of a named set or map.</summary>
/// <param name="Set">Name of the set or map.</param>
/// <param name="Key">The element's key in nft syntax.</param>
internal readonly record struct NftElementKey(string Set, string Key);

/// <summary>What one service rule contributes to the table: nothing in it depends on any other rule.</summary>
internal sealed record NftFragment(
    ImmutableArray<KeyValuePair<string, ImmutableArray<string>>> Chains,
    ImmutableArray<KeyValuePair<string, string>> Sets,
    ImmutableArray<KeyValuePair<NftElementKey, string>> Elements);

/// <summary>
/// The variable part of the table: chains with their rules, affinity sets, elements of the shared maps and sets.
/// (The fixed part, base chains and the maps themselves, is <see cref="NftScript"/>'s.)
/// </summary>
/// <remarks>
/// <code>
/// map services  { 10.96.0.10 . tcp . 80 : goto svc-…, 10.96.0.11 . tcp . 80 : goto no_endpoints }
/// map nodeports { tcp . 30080 : goto ext-… }
/// chain ext-… { mark for masquerade; goto svc-… }                        arrived from outside
/// chain svc-… { dnat … to numgen inc mod 3 map { 0 : a, 1 : b, 2 : c } }   round robin; the rule holds the position
///
/// chain svc-… { ip saddr @aff-…a goto ep-…a; …; numgen inc mod 2 vmap { 0 : goto ep-…a, 1 : goto ep-…b } }   with affinity
/// chain ep-…a { update @aff-…a { ip saddr }; dnat to a }
/// </code>
/// A round robin position lives in its rule, so it survives as long as the rule is not replaced. That is why a service
/// has a chain of its own that is touched only when its endpoints change, and why a new node port or cluster IP is only
/// a new element that points to it.
/// </remarks>
internal sealed class NftState
{
    public const string Services = "services";
    public const string NodePorts = "nodeports";
    public const string Hairpin = "hairpin";
    public const string ClusterIPs = "cluster_ips";
    public const string NoEndpointsChain = "no_endpoints";

    // The kernel allows 255 (NFT_NAME_MAXLEN); older ones 127.
    private const int MaxNameLength = 120;

    // Upper bound of remembered clients per endpoint. A full set means that further clients have no affinity, not that
    // they are refused: remembering and translating are two rules.
    private const int MaxAffinityClients = 65_535;

    private NftState(
        Dictionary<string, ImmutableArray<string>> chains, Dictionary<string, string> sets, Dictionary<NftElementKey, string> elements)
    {
        Chains = chains;
        Sets = sets;
        Elements = elements;
    }

    /// <summary>Rules by chain name.</summary>
    public IReadOnlyDictionary<string, ImmutableArray<string>> Chains { get; }

    /// <summary>Declarations by set name. A name is never used with two different declarations.</summary>
    public IReadOnlyDictionary<string, string> Sets { get; }

    /// <summary>Verdicts by map key; an empty verdict for elements of plain sets.</summary>
    public IReadOnlyDictionary<NftElementKey, string> Elements { get; }

    /// <summary>Joins fragments. When two services claim the same address and port, the first in the given order has it.</summary>
    public static NftState Join(IEnumerable<NftFragment> fragments)
    {
        var chains = new Dictionary<string, ImmutableArray<string>>(StringComparer.Ordinal);
        var sets = new Dictionary<string, string>(StringComparer.Ordinal);
        var elements = new Dictionary<NftElementKey, string>();
        foreach (var fragment in fragments)
        {
            foreach (var (name, rules) in fragment.Chains)
                chains.Add(name, rules);
            foreach (var (name, declaration) in fragment.Sets)
                sets.Add(name, declaration);
            foreach (var (key, verdict) in fragment.Elements)
                elements.TryAdd(key, verdict);
        }

        return new NftState(chains, sets, elements);
    }

    /// <summary>Translates one rule. IPv4 only: addresses of the other family are left out.</summary>
    public static NftFragment Compile(ServiceRule rule)
    {
        var chains = ImmutableArray.CreateBuilder<KeyValuePair<string, ImmutableArray<string>>>();
        var sets = ImmutableArray.CreateBuilder<KeyValuePair<string, string>>();
        var elements = ImmutableArray.CreateBuilder<KeyValuePair<NftElementKey, string>>();
        var suffix = Suffix(rule.Key);
        var protocol = ProtocolName(rule.Key.Protocol);
        var endpoints = V4(rule.Endpoints);
        var external = V4(rule.ExternalEndpoints);
        var hasExternal = rule.NodePort != 0 || rule.ExternalIPs.Any(IsV4);

        // 1. A chain per endpoint remembers the client, if the service has affinity.
        var distinct = hasExternal ? endpoints.Union(external).ToArray() : endpoints;
        if (rule.Affinity is { } affinity)
        {
            foreach (var endpoint in distinct)
            {
                var remembered = AffinitySet(suffix, affinity, endpoint);
                sets.Add(new(remembered, Invariant(
                    $"{{ type ipv4_addr; size {MaxAffinityClients}; flags dynamic,timeout; timeout {(long)affinity.TotalSeconds}s; }}")));
                chains.Add(new(EndpointChain(suffix, endpoint),
                    [$"update @{remembered} {{ ip saddr }}", $"meta l4proto {protocol} dnat to {endpoint}"]));
            }
        }

        // 2. A chain per service balances.
        var internalTarget = AddBalancer("svc", endpoints);

        // 3. Traffic from outside balances in the same chain, unless only one side is limited to local endpoints.
        var externalTarget = NoEndpointsChain;
        if (hasExternal && external.Length > 0)
        {
            externalTarget = external.SequenceEqual(endpoints) ? internalTarget : AddBalancer("svx", external);
            if (!rule.ExternalTrafficLocal)
            {
                // The answer must come back through this host even if the endpoint is on another.
                var marking = Name("ext", suffix);
                chains.Add(new(marking, [NftScript.MarkForMasquerade, $"goto {externalTarget}"]));
                externalTarget = marking;
            }
        }

        // 4. Elements lead to the chains.
        foreach (var ip in rule.ClusterIPs.Where(IsV4))
        {
            elements.Add(new(new(Services, Invariant($"{ip} . {protocol} . {rule.Port}")), $"goto {internalTarget}"));
            elements.Add(new(new(ClusterIPs, ip.ToString()), ""));
        }

        foreach (var ip in rule.ExternalIPs.Where(IsV4))
            elements.Add(new(new(Services, Invariant($"{ip} . {protocol} . {rule.Port}")), $"goto {externalTarget}"));
        if (rule.NodePort != 0)
            elements.Add(new(new(NodePorts, Invariant($"{protocol} . {rule.NodePort}")), $"goto {externalTarget}"));
        foreach (var ip in distinct.Select(static e => e.Address).Distinct())
            elements.Add(new(new(Hairpin, $"{ip} . {ip}"), ""));
        return new NftFragment(chains.ToImmutable(), sets.ToImmutable(), elements.ToImmutable());

        string AddBalancer(string kind, IPEndPoint[] targets)
        {
            if (targets.Length == 0)
                return NoEndpointsChain;
            var name = Name(kind, suffix);
            chains.Add(new(name, Balance(targets, rule.Affinity, protocol, suffix)));
            return name;
        }
    }

    private static ImmutableArray<string> Balance(IPEndPoint[] endpoints, TimeSpan? affinity, string protocol, string suffix)
    {
        if (affinity is not { } time)
        {
            return
            [
                endpoints.Length == 1
                    ? $"meta l4proto {protocol} dnat to {endpoints[0]}"
                    : Invariant($"meta l4proto {protocol} dnat ip addr . port to numgen inc mod {endpoints.Length} map {{ ")
                      + Numbered(endpoints, static e => Invariant($"{e.Address} . {e.Port}")) + " }",
            ];
        }

        return
        [
            .. endpoints.Select(e => $"ip saddr @{AffinitySet(suffix, time, e)} goto {EndpointChain(suffix, e)}"),
            endpoints.Length == 1
                ? $"goto {EndpointChain(suffix, endpoints[0])}"
                : Invariant($"numgen inc mod {endpoints.Length} vmap {{ ") + Numbered(endpoints, e => $"goto {EndpointChain(suffix, e)}") + " }",
        ];
    }

    private static string Numbered(IPEndPoint[] endpoints, Func<IPEndPoint, string> value) =>
        string.Join(", ", endpoints.Select((endpoint, index) => Invariant($"{index} : {value(endpoint)}")));

    private static string EndpointChain(string suffix, IPEndPoint endpoint) =>
        Name("ep", Invariant($"{Hash(suffix)}/{endpoint.Address}/{endpoint.Port}"));

    // The time is part of the name, so that another time makes another set and a set's declaration never changes.
    private static string AffinitySet(string suffix, TimeSpan affinity, IPEndPoint endpoint) =>
        Name("aff", Invariant($"{Hash(suffix)}/{endpoint.Address}/{endpoint.Port}/{(long)affinity.TotalSeconds}"));

    private static string Name(string kind, string suffix) => $"{kind}-{suffix}";

    // Hash first: it alone makes the name unique, the rest is for the reader of `nft list table` and may be cut.
    // Foreign characters cannot come from a valid object; should one slip through, it must not become nft syntax.
    private static string Suffix(ServicePortKey key)
    {
        var protocol = ProtocolName(key.Protocol);
        var text = new StringBuilder($"{Hash($"{key.Namespace}/{key.Name}/{protocol}/{key.Port}")}/{key.Namespace}/{key.Name}/{protocol}");
        if (key.Port.Length > 0)
            text.Append('/').Append(key.Port);
        for (var i = 0; i < text.Length; i++)
        {
            if (!char.IsAsciiLetterOrDigit(text[i]) && text[i] is not ('/' or '-' or '.'))
                text[i] = '_';
        }

        return text.Length > MaxNameLength ? text.ToString(0, MaxNameLength) : text.ToString();
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 6));

    private static string ProtocolName(ServiceProtocol protocol) => protocol switch
    {
        ServiceProtocol.Udp => "udp",
        ServiceProtocol.Sctp => "sctp",
        _ => "tcp",
    };

    private static IPEndPoint[] V4(ImmutableArray<IPEndPoint> endpoints) => [.. endpoints.Where(static e => IsV4(e.Address))];

    private static bool IsV4(IPAddress address) => address.AddressFamily == AddressFamily.InterNetwork;

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
