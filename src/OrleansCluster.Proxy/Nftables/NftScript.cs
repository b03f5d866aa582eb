using System.Text;

namespace OrleansCluster.Proxy.Nftables;

/// <summary>
/// Writes transactions for <c>nft -f -</c>. The kernel applies a whole script or nothing, and packets see the table
/// either before or after it.
/// </summary>
internal sealed class NftScript(string table)
{
    /// <summary>Marks a packet whose source the postrouting chain must replace. One bit, the one Kubernetes' own proxies use.</summary>
    public const string MarkForMasquerade = "meta mark set meta mark | 0x4000";

    // Just before the priority at which Docker's and others' translation runs (-100), so that a service address is
    // resolved before anything else looks at the packet's destination.
    private const string DestinationPriority = "-110";

    private const string SourcePriority = "90";

    // Elements per command: keeps lines of a readable length and costs nothing.
    private const int ElementsPerCommand = 200;

    /// <summary>
    /// The fixed part. Order matters only inside a chain: a chain that others jump to stands before them.
    /// </summary>
    /// <remarks>
    /// Node ports are not offered on 127.0.0.0/8: the translated packet would leave through a pod's interface with a
    /// loopback source, which the kernel drops unless <c>route_localnet</c> is set, and that setting would let
    /// neighbours reach what listens on loopback only (CVE-2020-8558). A user-space listener serves loopback instead.
    /// </remarks>
    private static readonly string[] Frame =
    [
        $"add map ip {{T}} {NftState.Services} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}",
        $"add map ip {{T}} {NftState.NodePorts} {{ type inet_proto . inet_service : verdict; }}",
        $"add set ip {{T}} {NftState.Hairpin} {{ type ipv4_addr . ipv4_addr; }}",
        $"add set ip {{T}} {NftState.ClusterIPs} {{ type ipv4_addr; }}",
        // A service without endpoints refuses at once instead of leaving the client to its time-out.
        $"add chain ip {{T}} {NftState.NoEndpointsChain}",
        $"add rule ip {{T}} {NftState.NoEndpointsChain} meta l4proto tcp reject with tcp reset",
        $"add rule ip {{T}} {NftState.NoEndpointsChain} reject",
        "add chain ip {T} dispatch",
        $"add rule ip {{T}} dispatch ip daddr . meta l4proto . th dport vmap @{NftState.Services}",
        $"add rule ip {{T}} dispatch ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @{NftState.NodePorts}",
        $"add chain ip {{T}} prerouting {{ type nat hook prerouting priority {DestinationPriority}; }}",
        "add rule ip {T} prerouting jump dispatch",
        $"add chain ip {{T}} output {{ type nat hook output priority {DestinationPriority}; }}",
        "add rule ip {T} output jump dispatch",
        $"add chain ip {{T}} postrouting {{ type nat hook postrouting priority {SourcePriority}; }}",
        "add rule ip {T} postrouting meta mark & 0x4000 == 0x4000 meta mark set meta mark ^ 0x4000 masquerade",
        // A pod that reaches itself through a service would answer itself directly and not recognise the answer.
        $"add rule ip {{T}} postrouting ct status dnat ip saddr . ip daddr @{NftState.Hairpin} masquerade",
        // What still has a cluster IP as its destination after translation asks for a port that the service lacks.
        "add chain ip {T} unknown_port",
        $"add rule ip {{T}} unknown_port ip daddr @{NftState.ClusterIPs} meta l4proto tcp reject with tcp reset",
        $"add rule ip {{T}} unknown_port ip daddr @{NftState.ClusterIPs} reject",
        "add chain ip {T} filter_forward { type filter hook forward priority 0; }",
        "add rule ip {T} filter_forward ct state new jump unknown_port",
        "add chain ip {T} filter_output { type filter hook output priority 0; }",
        "add rule ip {T} filter_output ct state new jump unknown_port",
    ];

    /// <summary>Removes the table, whether it exists or not: <c>delete</c> alone fails on a missing one.</summary>
    public string Remove() => $"add table ip {table}\ndelete table ip {table}\n";

    /// <summary>Replaces whatever the table holds. No other table is touched.</summary>
    public string Full(NftState desired)
    {
        var script = new StringBuilder(Remove());
        script.Append("add table ip ").Append(table).Append('\n');
        foreach (var line in Frame)
            script.Append(line.Replace("{T}", table, StringComparison.Ordinal)).Append('\n');
        Append(script, NftState.Join([]), desired);
        return script.ToString();
    }

    /// <summary>The least that leads from one state to another; empty when they are equal.</summary>
    public string Incremental(NftState applied, NftState desired)
    {
        var script = new StringBuilder();
        Append(script, applied, desired);
        return script.ToString();
    }

    // The order keeps every intermediate step valid: nothing is deleted that is still pointed to, nothing is pointed to
    // that does not exist yet.
    private void Append(StringBuilder script, NftState from, NftState to)
    {
        // 1. Elements that vanish or point elsewhere.
        AppendElements(script, "delete", from.Elements
            .Where(e => !to.Elements.TryGetValue(e.Key, out var verdict) || verdict != e.Value)
            .Select(static e => KeyValuePair.Create(e.Key, "")));

        // 2. New sets, then new chains, all of them before any rule.
        foreach (var (name, declaration) in to.Sets.Where(s => !from.Sets.ContainsKey(s.Key)).OrderBy(static s => s.Key, StringComparer.Ordinal))
            script.Append($"add set ip {table} {name} {declaration}\n");
        var changed = to.Chains
            .Where(c => !from.Chains.TryGetValue(c.Key, out var rules) || !SameRules(rules, c.Value))
            .OrderBy(static c => c.Key, StringComparer.Ordinal)
            .ToArray();
        foreach (var (name, _) in changed)
            script.Append($"{(from.Chains.ContainsKey(name) ? "flush" : "add")} chain ip {table} {name}\n");

        // 3. Their rules.
        foreach (var (name, rules) in changed)
        {
            foreach (var rule in rules)
                script.Append($"add rule ip {table} {name} {rule}\n");
        }

        // 4. Elements that are new or point elsewhere.
        AppendElements(script, "add", to.Elements.Where(e => !from.Elements.TryGetValue(e.Key, out var verdict) || verdict != e.Value));

        // 5. Chains that vanish: emptied first, because they may point to each other.
        var vanished = from.Chains.Keys.Where(name => !to.Chains.ContainsKey(name)).Order(StringComparer.Ordinal).ToArray();
        foreach (var name in vanished)
            script.Append($"flush chain ip {table} {name}\n");
        foreach (var name in vanished)
            script.Append($"delete chain ip {table} {name}\n");

        // 6. Sets that vanish; no rule looks into them any more.
        foreach (var name in from.Sets.Keys.Where(name => !to.Sets.ContainsKey(name)).Order(StringComparer.Ordinal))
            script.Append($"delete set ip {table} {name}\n");
    }

    private void AppendElements(StringBuilder script, string verb, IEnumerable<KeyValuePair<NftElementKey, string>> elements)
    {
        foreach (var set in elements.GroupBy(static e => e.Key.Set).OrderBy(static g => g.Key, StringComparer.Ordinal))
        {
            foreach (var chunk in set.OrderBy(static e => e.Key.Key, StringComparer.Ordinal).Chunk(ElementsPerCommand))
            {
                script.Append($"{verb} element ip {table} {set.Key} {{ ")
                    .AppendJoin(", ", chunk.Select(static e => e.Value.Length == 0 ? e.Key.Key : $"{e.Key.Key} : {e.Value}"))
                    .Append(" }\n");
            }
        }
    }

    // A fragment that was not compiled again carries the same array, which settles most comparisons.
    private static bool SameRules(System.Collections.Immutable.ImmutableArray<string> left, System.Collections.Immutable.ImmutableArray<string> right) =>
        left == right || left.SequenceEqual(right);
}
