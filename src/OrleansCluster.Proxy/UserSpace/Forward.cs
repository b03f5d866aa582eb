using System.Collections.Immutable;
using System.Net;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.UserSpace;

/// <summary>One listener that should exist, and where its traffic goes.</summary>
/// <param name="Listen">Address and port to listen on.</param>
/// <param name="Service">The service port it belongs to.</param>
/// <param name="External">True when it uses the endpoints for external traffic. Listeners of one service port with the
/// same value share one round robin.</param>
/// <param name="Endpoints">Where to, in order; never empty: a service without endpoints has no listener, so that the
/// kernel refuses at once.</param>
/// <param name="Affinity">How long a client stays with its endpoint; null = no affinity.</param>
/// <param name="MayMap">True when the listener may stand on a port of 127.0.0.1 if its address is not this host's.</param>
internal sealed record Forward(
    IPEndPoint Listen, ServicePortKey Service, bool External, ImmutableArray<IPEndPoint> Endpoints, TimeSpan? Affinity, bool MayMap = false);

/// <summary>Derives the listeners of the user-space proxy from the rules.</summary>
internal static class ForwardPlan
{
    /// <summary>Pure. When two services claim the same address and port, the first in the given order has it.</summary>
    public static IReadOnlyList<Forward> For(ImmutableArray<ServiceRule> rules, IReadOnlyList<IPAddress> localAddresses)
    {
        var plan = new Dictionary<(IPEndPoint Listen, ServiceProtocol Protocol), Forward>();
        foreach (var rule in rules)
        {
            if (rule.Key.Protocol == ServiceProtocol.Sctp)
                continue;
            foreach (var ip in rule.ClusterIPs)
                Add(rule, ip, rule.Port, external: false);
            foreach (var ip in rule.ExternalIPs.Where(localAddresses.Contains))
                Add(rule, ip, rule.Port, external: true);
            if (rule.NodePort == 0)
                continue;

            // An answer to a datagram must come from the address that was asked, which only a socket bound to it ensures;
            // a TCP connection keeps its address by itself.
            IEnumerable<IPAddress> nodeAddresses = rule.Key.Protocol == ServiceProtocol.Udp ? localAddresses : [IPAddress.Any];
            foreach (var ip in nodeAddresses)
                Add(rule, ip, rule.NodePort, external: true);
        }

        return [.. plan.Values];

        void Add(ServiceRule rule, IPAddress ip, int port, bool external)
        {
            var isShared = rule.Endpoints.SequenceEqual(rule.ExternalEndpoints);
            // Sockets forward between address families, but a service's endpoints are of its families anyway.
            var endpoints = external ? rule.ExternalEndpoints : rule.Endpoints;
            if (endpoints.Length == 0)
                return;
            var listen = new IPEndPoint(ip, port);
            plan.TryAdd((listen, rule.Key.Protocol), new Forward(
                listen, rule.Key, external && !isShared, endpoints, rule.Affinity, MayMap: !external));
        }
    }
}
