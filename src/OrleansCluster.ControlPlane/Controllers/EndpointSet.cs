using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>One port an endpoint serves.</summary>
internal readonly record struct EndpointPort(string Name, string Protocol, int Number);

/// <summary>One pod behind a service.</summary>
internal sealed record ServiceEndpoint(PodFacts Pod, bool Ready, bool Serving, bool Terminating, string Ports);

/// <summary>
/// The pods behind a service, grouped by what they serve (a named target port may be another number on every pod). The one computation behind
/// Endpoints and EndpointSlices.
/// </summary>
internal sealed class EndpointSet
{
    private EndpointSet(List<ServiceEndpoint> endpoints, Dictionary<string, EndpointPort[]> portSets)
    {
        Endpoints = endpoints;
        PortSets = portSets;
    }

    /// <summary>Endpoints ordered by pod address.</summary>
    public IReadOnlyList<ServiceEndpoint> Endpoints { get; }

    /// <summary>The port sets by the id that endpoints carry.</summary>
    public IReadOnlyDictionary<string, EndpointPort[]> PortSets { get; }

    /// <summary>True for services whose endpoints the cluster computes.</summary>
    public static bool AppliesTo(JsonObject service) =>
        service.Object("spec", "selector").Count > 0 && service.Text("spec", "type") != "ExternalName";

    public static EndpointSet Of(JsonObject service, ICacheSnapshot pods)
    {
        var selector = LabelSet.FromMap(service.Object("spec", "selector"));
        var publishNotReady = service["spec"]?["publishNotReadyAddresses"]?.GetValue<bool>() ?? false;
        var endpoints = new List<ServiceEndpoint>();
        var portSets = new Dictionary<string, EndpointPort[]>(StringComparer.Ordinal);
        foreach (var pod in pods.Enumerate(service.Text("metadata", "namespace")))
        {
            if (!selector.Selects(pod.Labels))
                continue;
            var facts = PodFacts.Of(pod);
            if (facts.IsFinished || facts.PodIP.Length == 0)
                continue;
            var ports = Ports(service, facts);
            var id = string.Join(',', ports.Select(p => $"{p.Name}:{p.Protocol}:{p.Number}"));
            portSets.TryAdd(id, ports);
            var terminating = pod.IsDeleting;
            endpoints.Add(new ServiceEndpoint(facts, publishNotReady || (facts.IsReady && !terminating), facts.IsReady, terminating, id));
        }
        endpoints.Sort((a, b) => string.CompareOrdinal(a.Pod.PodIP, b.Pod.PodIP));
        return new EndpointSet(endpoints, portSets);
    }

    public static JsonObject TargetReference(ServiceEndpoint endpoint) => new()
    {
        ["kind"] = "Pod",
        ["namespace"] = endpoint.Pod.Pod.Key.Namespace,
        ["name"] = endpoint.Pod.Pod.Key.Name,
        ["uid"] = endpoint.Pod.Pod.Uid,
    };

    /// <summary>True where a pod's hostname is served in the service's domain.</summary>
    public static bool HasHostname(ServiceEndpoint endpoint, JsonObject service) =>
        endpoint.Pod.Hostname.Length > 0 && endpoint.Pod.Subdomain == service.Text("metadata", "name");

    /// <summary>Services whose endpoints a change of a pod may touch.</summary>
    public static IEnumerable<ObjectKey> ServicesOf(WakeEvent wake, IResourceCaches caches)
    {
        if (caches.Get("services").Current is not { } services || (!wake.Removed && wake.Previous is not null && LooksTheSame(wake.Object, wake.Previous)))
            yield break;
        foreach (var service in services.Enumerate(wake.Object.Key.Namespace))
        {
            var selector = SelectorFacts.Of(service).Selector;
            if (selector.Selects(wake.Object.Labels) || (wake.Previous is { } previous && selector.Selects(previous.Labels)))
                yield return service.Key;
        }
    }

    // Most changes of a pod (its conditions' other members, restarts) mean nothing to its services.
    private static bool LooksTheSame(ICachedObject pod, ICachedObject previous)
    {
        var now = PodFacts.Of(pod);
        var before = PodFacts.Of(previous);
        return now.IsReady == before.IsReady && now.PodIP == before.PodIP && now.IsFinished == before.IsFinished
            && pod.IsDeleting == previous.IsDeleting && now.NodeName == before.NodeName && pod.Labels.SequenceEqual(previous.Labels);
    }

    private static EndpointPort[] Ports(JsonObject service, PodFacts pod)
    {
        var ports = new List<EndpointPort>();
        foreach (var port in service.Items("spec", "ports"))
        {
            var protocol = port.Text("protocol") is { Length: > 0 } named ? named : "TCP";
            var target = port["targetPort"];
            var number = (int)port.Number(0, "port");
            if (target is JsonValue value && value.TryGetValue<int>(out var direct) && direct > 0)
                number = direct;
            else if (target.Text() is { Length: > 0 } name)
                number = pod.Ports.FirstOrDefault(p => p.Name == name && p.Protocol == protocol).Number;
            if (number > 0)
                ports.Add(new EndpointPort(port.Text("name"), protocol, number));
        }
        return [.. ports];
    }
}
