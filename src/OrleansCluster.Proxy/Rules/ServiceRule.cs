using System.Collections.Immutable;
using System.Net;

namespace OrleansCluster.Proxy.Rules;

/// <summary>The transport protocol of a service port, as in <c>ServicePort.protocol</c>.</summary>
public enum ServiceProtocol
{
    /// <summary>TCP, the default.</summary>
    Tcp,

    /// <summary>UDP.</summary>
    Udp,

    /// <summary>SCTP: by kernel rules only; the user-space proxy skips it.</summary>
    Sctp,
}

/// <summary>Identity of one port of one service: the unit that is balanced, counted and replaced.</summary>
/// <param name="Namespace">The service's namespace.</param>
/// <param name="Name">The service's name.</param>
/// <param name="Port">The port's name; empty for the only port of a service.</param>
/// <param name="Protocol">The port's protocol; two ports may share a name only across protocols.</param>
public sealed record ServicePortKey(string Namespace, string Name, string Port, ServiceProtocol Protocol) : IComparable<ServicePortKey>
{
    /// <summary>Ordinal order by namespace, name, port and protocol: the order in which conflicts are decided.</summary>
    public int CompareTo(ServicePortKey? other)
    {
        if (other is null)
            return 1;
        var order = string.CompareOrdinal(Namespace, other.Namespace);
        if (order == 0)
            order = string.CompareOrdinal(Name, other.Name);
        if (order == 0)
            order = string.CompareOrdinal(Port, other.Port);
        return order == 0 ? Protocol.CompareTo(other.Protocol) : order;
    }

    /// <inheritdoc/>
    public override string ToString() =>
        Port.Length == 0 ? $"{Namespace}/{Name} ({Protocol})" : $"{Namespace}/{Name}:{Port} ({Protocol})";
}

/// <summary>
/// What the proxy must do for one port of one service. Immutable; equal content compares equal, so that a change of
/// a Service object that does not concern the proxy (a label, an annotation) causes no rule change.
/// </summary>
public sealed record ServiceRule
{
    /// <summary>Which service port this is.</summary>
    public required ServicePortKey Key { get; init; }

    /// <summary>The service's virtual addresses, IPv4 and IPv6, in the order of <c>spec.clusterIPs</c>.</summary>
    public ImmutableArray<IPAddress> ClusterIPs { get; init; } = [];

    /// <summary>The service's port, 1 to 65535.</summary>
    public required int Port { get; init; }

    /// <summary>The port on every local address of the node; 0 = none.</summary>
    public int NodePort { get; init; }

    /// <summary>Addresses routed to this node from outside: <c>spec.externalIPs</c> and the load balancer's, sorted.</summary>
    public ImmutableArray<IPAddress> ExternalIPs { get; init; } = [];

    /// <summary>How long a client address stays with its endpoint after its last connection; null = no affinity.</summary>
    public TimeSpan? Affinity { get; init; }

    /// <summary>Where traffic to a cluster IP goes, sorted by address and port. Empty = refuse connections.</summary>
    public ImmutableArray<IPEndPoint> Endpoints { get; init; } = [];

    /// <summary>Where traffic to the node port and external addresses goes; equals <see cref="Endpoints"/> unless a traffic policy is Local.</summary>
    public ImmutableArray<IPEndPoint> ExternalEndpoints { get; init; } = [];

    /// <summary>True under <c>externalTrafficPolicy: Local</c>: the client's address is kept, so answers are not masqueraded.</summary>
    public bool ExternalTrafficLocal { get; init; }

    /// <summary>Compares content, the lists by element.</summary>
    public bool Equals(ServiceRule? other) =>
        other is not null
        && Key == other.Key && Port == other.Port && NodePort == other.NodePort && Affinity == other.Affinity
        && ExternalTrafficLocal == other.ExternalTrafficLocal
        && ClusterIPs.SequenceEqual(other.ClusterIPs) && ExternalIPs.SequenceEqual(other.ExternalIPs)
        && Endpoints.SequenceEqual(other.Endpoints) && ExternalEndpoints.SequenceEqual(other.ExternalEndpoints);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Key, Port, NodePort, Endpoints.Length);
}
