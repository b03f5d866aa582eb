using System.Collections.Immutable;
using System.Net;

namespace OrleansCluster.Proxy.Rules;

/// <summary>
/// The pure function from one Service and its EndpointSlices to rules. Follows the API reference of Service and
/// EndpointSlice and KEP-1669 (terminating endpoints): ready endpoints, or, when there is none, those that still
/// serve while they terminate.
/// </summary>
public static class ServiceRules
{
    /// <summary>Computes the rules of one service from the objects' UTF-8 JSON.</summary>
    /// <param name="service">The Service object.</param>
    /// <param name="slices">Its EndpointSlices in any order; slices of other services are ignored.</param>
    /// <param name="localNodes">Names of the nodes on this host, whose endpoints are the local ones for traffic policy Local.</param>
    /// <returns>One rule per service port in the order of <c>spec.ports</c>; none for a service that is not proxied.</returns>
    /// <exception cref="System.Text.Json.JsonException">An object is malformed.</exception>
    public static ImmutableArray<ServiceRule> Compute(
        ReadOnlyMemory<byte> service, IEnumerable<ReadOnlyMemory<byte>> slices, IReadOnlySet<string> localNodes)
    {
        var view = ServiceView.Parse(service);
        return Compute(view, slices.Select(EndpointSliceView.Parse).Where(s => s.ServiceName == view.Name && s.Namespace == view.Namespace), localNodes);
    }

    internal static ImmutableArray<ServiceRule> Compute(
        ServiceView service, IEnumerable<EndpointSliceView> slices, IReadOnlySet<string> localNodes)
    {
        if (!service.IsProxied)
            return [];
        var all = slices as IReadOnlyCollection<EndpointSliceView> ?? [.. slices];
        var rules = ImmutableArray.CreateBuilder<ServiceRule>(service.Ports.Length);
        foreach (var port in service.Ports)
        {
            var candidates = Candidates(port, all);
            var anywhere = Usable(candidates.Values);
            var local = service.InternalTrafficLocal || service.ExternalTrafficLocal
                ? Usable(candidates.Values.Where(c => c.NodeName is { } node && localNodes.Contains(node)))
                : anywhere;
            rules.Add(new ServiceRule
            {
                Key = new ServicePortKey(service.Namespace, service.Name, port.Name, port.Protocol),
                ClusterIPs = service.ClusterIPs,
                Port = port.Port,
                NodePort = port.NodePort,
                ExternalIPs = service.ExternalIPs,
                Affinity = service.Affinity,
                Endpoints = service.InternalTrafficLocal ? local : anywhere,
                ExternalEndpoints = service.ExternalTrafficLocal ? local : anywhere,
                ExternalTrafficLocal = service.ExternalTrafficLocal,
            });
        }

        return rules.MoveToImmutable();
    }

    private readonly record struct Candidate(IPEndPoint EndPoint, bool Ready, bool ServingTerminating, string? NodeName);

    // While an endpoint moves between slices it may stand in two of them; the better state counts, so that it never
    // vanishes for a moment.
    private static Dictionary<IPEndPoint, Candidate> Candidates(ServicePortView port, IEnumerable<EndpointSliceView> slices)
    {
        var merged = new Dictionary<IPEndPoint, Candidate>();
        foreach (var slice in slices)
        {
            foreach (var slicePort in slice.Ports)
            {
                if (slicePort.Name != port.Name || slicePort.Protocol != port.Protocol)
                    continue;
                foreach (var endpoint in slice.Endpoints)
                {
                    var address = new IPEndPoint(endpoint.Address, slicePort.Port);
                    var known = merged.GetValueOrDefault(address);
                    merged[address] = new Candidate(
                        address,
                        known.Ready || endpoint.Ready,
                        known.ServingTerminating || (endpoint.Serving && endpoint.Terminating),
                        known.NodeName ?? endpoint.NodeName);
                }
            }
        }

        return merged;
    }

    private static ImmutableArray<IPEndPoint> Usable(IEnumerable<Candidate> candidates)
    {
        var pool = candidates as IReadOnlyCollection<Candidate> ?? [.. candidates];
        var chosen = pool.Any(static c => c.Ready) ? pool.Where(static c => c.Ready) : pool.Where(static c => c.ServingTerminating);
        return
        [
            .. chosen.Select(static c => c.EndPoint)
                .OrderBy(static e => e.Address, AddressOrder.Instance).ThenBy(static e => e.Port),
        ];
    }
}
