using System.Net;
using System.Runtime.Versioning;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>Where a node's pods get their addresses.</summary>
public sealed class RoutedPodNetworkOptions
{
    /// <summary>The node's pod subnet (<c>spec.podCIDR</c>), for instance 10.244.1.0/24. Nodes on one machine need different ones.</summary>
    public required IPNetwork Subnet { get; set; }

    /// <summary>The addresses of all pods of the cluster: what goes there keeps its source address. Default 10.244.0.0/16.</summary>
    public IPNetwork ClusterCidr { get; set; } = IPNetwork.Parse("10.244.0.0/16");

    /// <summary>The largest packet, bytes. Default 1500; smaller where the way between nodes is a tunnel.</summary>
    public int Mtu { get; set; } = 1500;
}

/// <summary>
/// Pods on routed links of their own: no bridge, no process, no question to the engine.
/// </summary>
/// <remarks>
/// <para>Per pod: a veth pair. Inside it is <c>eth0</c> with the pod's address as a /32 and a default route via the node's own address in the pod
/// network (the subnet's first). Outside a /32 route leads to the pod. Both ends know the other's hardware address from the start (it is made from the
/// pod's address), so nobody asks by broadcast, and the first packet is as fast as the next.</para>
/// <para>Per node: its address on the loopback link, so that every node of one machine has one and pods see the same source whichever way the node
/// speaks to them; forwarding on; what Docker's own firewall would drop accepted; what leaves the cluster translated to the machine's address.</para>
/// <para>Because pods hang on routes, everything between two pods, even of one node, passes the forward hook, and a service may lead a pod back to
/// itself. Measured: 2–3 ms per pod; a bridge inside the engine costs it about 170 ms of CPU more.</para>
/// <para>The pair disappears with the pod's namespace, so a crash of anything leaves no rubbish.</para>
/// </remarks>
[SupportedOSPlatform("linux")]
public sealed partial class RoutedPodNetwork : IPodNetwork
{
    private const int LoopbackIndex = 1; // In every network namespace.

    private readonly RoutedPodNetworkOptions _options;
    private readonly PodSubnet _subnet;
    private readonly HostRules _rules;
    private readonly ILogger<RoutedPodNetwork> _logger;

    /// <summary>Creates the network of one node; nothing happens until <see cref="PrepareHostAsync"/>.</summary>
    public RoutedPodNetwork(RoutedPodNetworkOptions options, ILogger<RoutedPodNetwork> logger)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_options, _logger) = (options, logger);
        _subnet = new PodSubnet(options.Subnet);
        _rules = new HostRules(options.Subnet, options.ClusterCidr, logger);
    }

    /// <inheritdoc/>
    public string Mode => "routed";

    /// <inheritdoc/>
    public bool EngineAssignsAddress => false;

    /// <summary>The node's own address in the pod network: reachable from all pods, also a good <c>InternalIP</c> where nodes share a machine.</summary>
    public IPAddress NodeAddress => _subnet.Gateway;

    /// <inheritdoc/>
    public async Task PrepareHostAsync(CancellationToken cancellationToken)
    {
        await NetworkNamespaces.RunAsync(
            () =>
            {
                using var netlink = new Netlink();
                netlink.AddAddress(LoopbackIndex, _subnet.Gateway);
                return true;
            },
            cancellationToken);
        await _rules.ApplyAsync(cancellationToken);
        Log.Ready(_logger, _options.Subnet, _subnet.Gateway);
    }

    /// <summary>Takes back what <see cref="PrepareHostAsync"/> did for this node. Pods that still run lose their way out.</summary>
    public async Task CleanupHostAsync(CancellationToken cancellationToken)
    {
        await _rules.RemoveAsync(cancellationToken);
        await NetworkNamespaces.RunAsync(
            () =>
            {
                using var netlink = new Netlink();
                netlink.RemoveAddress(LoopbackIndex, _subnet.Gateway);
                return true;
            },
            cancellationToken);
    }

    /// <inheritdoc/>
    public IPAddress? Reserve(string owner) => _subnet.Reserve(owner);

    /// <inheritdoc/>
    public void Restore(string owner, IPAddress address) => _subnet.Restore(owner, address);

    /// <inheritdoc/>
    public async Task AttachAsync(PodAttachment attachment, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(attachment);
        await NetworkNamespaces.RunAsync(
            () =>
            {
                Connect(attachment);
                return true;
            },
            cancellationToken);
        if (attachment.HostPorts.Count > 0)
        {
            await _rules.AddHostPortsAsync(attachment.Address, attachment.HostPorts, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public async Task DetachAsync(string owner, IPAddress address, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(address);
        await _rules.RemoveHostPortsAsync(address, cancellationToken);
        await NetworkNamespaces.RunAsync(
            () =>
            {
                // The namespace's end has removed it in most cases, but the kernel takes its time, and the name must be free for the next owner.
                using var netlink = new Netlink();
                netlink.RemoveLink(LinkName(address));
                return true;
            },
            cancellationToken);
        _subnet.Release(owner);
    }

    /// <summary>The node's end of a pod's link: at most 15 characters, and unique on the machine as the address is.</summary>
    internal static string LinkName(IPAddress address) => "oc" + Convert.ToHexStringLower(address.GetAddressBytes());

    private static byte[] Mac(byte side, IPAddress address) => [0x0a, side, .. address.GetAddressBytes()];

    private void Connect(PodAttachment pod)
    {
        var name = LinkName(pod.Address);
        var outerMac = Mac(0x01, pod.Address);
        var innerMac = Mac(0x02, pod.Address);
        using var here = new Netlink();
        if (!here.CreateVethPair(name, outerMac, "eth0", innerMac, pod.Pid, _options.Mtu))
        {
            // Connected before (then the inner end is there), or left by an owner of the address before this one.
            using var inside = NetworkNamespaces.Inside(pod.Pid, () => new Netlink());
            if (inside.FindLink("eth0") == 0)
            {
                here.RemoveLink(name);
                if (!here.CreateVethPair(name, outerMac, "eth0", innerMac, pod.Pid, _options.Mtu))
                {
                    throw new RuntimeException(RuntimeFailure.Network, $"the link {name} is taken");
                }
            }
        }

        var outer = here.FindLink(name);
        here.SetUp(outer);
        here.SetNeighbor(outer, pod.Address, innerMac);
        here.SetRoute(outer, pod.Address, 32, gateway: null, source: _subnet.Gateway);

        using var there = NetworkNamespaces.Inside(pod.Pid, () => new Netlink());
        there.SetUp(LoopbackIndex);
        var inner = there.FindLink("eth0");
        there.AddAddress(inner, pod.Address);
        there.SetUp(inner);
        there.SetNeighbor(inner, _subnet.Gateway, outerMac);
        there.SetRoute(inner, destination: null, 0, _subnet.Gateway, source: null);
    }

    private static partial class Log
    {
        [LoggerMessage(EventId = 1, Level = LogLevel.Information, Message = "Pods get addresses of {Subnet} on routed links; the node is {Gateway} to them")]
        public static partial void Ready(ILogger logger, IPNetwork subnet, IPAddress gateway);
    }
}
