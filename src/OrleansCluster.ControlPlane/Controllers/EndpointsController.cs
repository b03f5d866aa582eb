using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>Keeps the Endpoints object of every service with a selector: the pods' addresses, ready and not ready, per set of ports.</summary>
public sealed class EndpointsController(Storage.IResourceCaches caches) : IController
{
    /// <summary>Addresses in one Endpoints object; the rest is only in the slices, and an annotation says so (as in Kubernetes).</summary>
    private const int MaxAddresses = 1000;

    /// <inheritdoc/>
    public string Name => "endpoint-controller";

    /// <inheritdoc/>
    public string Resource => "services";

    /// <inheritdoc/>
    public TimeSpan MinInterval => TimeSpan.FromMilliseconds(100);

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources =>
    [
        new WakeSource("pods", wake => EndpointSet.ServicesOf(wake, caches)),
        // An Endpoints object deleted or changed by hand is put right again.
        new WakeSource("endpoints", wake => [new ObjectKey("services", wake.Object.Key.Namespace, wake.Object.Key.Name)]),
    ];

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        // Pod start, step 8 (docs/architecture.md).
        var service = (await context.Objects.GetAsync(key, context.CancellationToken))?.ToJson();
        var endpointsKey = new ObjectKey("endpoints", key.Namespace, key.Name);
        var existing = await context.Objects.GetAsync(endpointsKey, context.CancellationToken);
        if (service is null)
        {
            // Made by hand for a service without selector, Endpoints outlive the service only if we did not make them.
            if (existing is not null && existing.ToJson().Object("metadata", "annotations").ContainsKey(Annotations.LastChange))
                await context.Objects.DeleteAsync(endpointsKey, new DeleteOptions(PreconditionUid: existing.Uid), context.CancellationToken);
            return ReconcileResult.Done;
        }
        if (!EndpointSet.AppliesTo(service))
            return ReconcileResult.Done;

        var set = EndpointSet.Of(service, await context.Objects.ListAsync("pods", context.CancellationToken));
        var subsets = Subsets(set, service);
        var old = existing?.ToJson();
        var labels = Labels(service);
        if (old is not null && JsonNode.DeepEquals(old["subsets"] ?? new JsonArray(), subsets) && JsonNode.DeepEquals(old.Object("metadata", "labels"), labels))
            return ReconcileResult.Done;

        var annotations = new JsonObject { [Annotations.LastChange] = context.Time.Stamp() };
        if (set.Endpoints.Count > MaxAddresses)
            annotations["endpoints.kubernetes.io/over-capacity"] = "truncated";
        var endpoints = new JsonObject
        {
            ["kind"] = "Endpoints",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject
            {
                ["name"] = key.Name,
                ["namespace"] = key.Namespace,
                ["labels"] = labels,
                ["annotations"] = annotations,
            },
            ["subsets"] = subsets,
        };
        if (old is null)
        {
            await context.Objects.CreateAsync("endpoints", endpoints, context.CancellationToken);
            return ReconcileResult.Done;
        }
        endpoints.Object("metadata")["resourceVersion"] = old.Text("metadata", "resourceVersion");
        await context.Objects.UpdateAsync(endpointsKey, endpoints, context.CancellationToken);
        return ReconcileResult.Done;
    }

    private static JsonObject Labels(JsonObject service)
    {
        var labels = (JsonObject)service.Object("metadata", "labels").DeepClone();
        if (service.Text("spec", "clusterIP") == "None")
            labels["service.kubernetes.io/headless"] = "";
        return labels;
    }

    private static JsonArray Subsets(EndpointSet set, JsonObject service)
    {
        var subsets = new JsonArray();
        foreach (var group in set.Endpoints.Take(MaxAddresses).GroupBy(e => e.Ports, StringComparer.Ordinal).OrderBy(g => g.Key, StringComparer.Ordinal))
        {
            var subset = new JsonObject();
            AddAddresses(subset, "addresses", group.Where(e => e.Ready), service);
            AddAddresses(subset, "notReadyAddresses", group.Where(e => !e.Ready), service);
            var ports = new JsonArray();
            foreach (var port in set.PortSets[group.Key])
            {
                var item = new JsonObject();
                if (port.Name.Length > 0)
                    item["name"] = port.Name;
                item["port"] = port.Number;
                item["protocol"] = port.Protocol;
                ports.Add((JsonNode)item);
            }
            if (ports.Count > 0)
                subset["ports"] = ports;
            if (subset.ContainsKey("addresses") || subset.ContainsKey("notReadyAddresses"))
                subsets.Add((JsonNode)subset);
        }
        return subsets;
    }

    private static void AddAddresses(JsonObject subset, string member, IEnumerable<ServiceEndpoint> endpoints, JsonObject service)
    {
        var addresses = new JsonArray();
        foreach (var endpoint in endpoints)
        {
            var address = new JsonObject { ["ip"] = endpoint.Pod.PodIP };
            if (EndpointSet.HasHostname(endpoint, service))
                address["hostname"] = endpoint.Pod.Hostname;
            if (endpoint.Pod.NodeName.Length > 0)
                address["nodeName"] = endpoint.Pod.NodeName;
            address["targetRef"] = EndpointSet.TargetReference(endpoint);
            addresses.Add((JsonNode)address);
        }
        if (addresses.Count > 0)
            subset[member] = addresses;
    }
}

/// <summary>Annotations that controllers set.</summary>
internal static class Annotations
{
    public const string LastChange = "endpoints.kubernetes.io/last-change-trigger-time";
}
