using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Keeps the EndpointSlices of every service with a selector: at most a hundred endpoints each. An endpoint stays in the slice it is in, so a change of
/// one pod rewrites one slice, whatever the size of the service.
/// </summary>
public sealed class EndpointSliceController(IResourceCaches caches) : IController
{
    private const int MaxEndpointsPerSlice = 100;
    private const string ServiceLabel = "kubernetes.io/service-name";
    private const string ManagedByLabel = "endpointslice.kubernetes.io/managed-by";
    private const string ManagedBy = "endpointslice-controller.k8s.io";
    private const string Slices = "endpointslices.discovery.k8s.io";

    /// <inheritdoc/>
    public string Name => "endpoint-slice-controller";

    /// <inheritdoc/>
    public string Resource => "services";

    /// <inheritdoc/>
    public TimeSpan MinInterval => TimeSpan.FromMilliseconds(100);

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources =>
    [
        new WakeSource("pods", wake => EndpointSet.ServicesOf(wake, caches)),
        new WakeSource(Slices, ServiceOf),
    ];

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        var service = (await context.Objects.GetAsync(key, context.CancellationToken))?.ToJson();
        var existing = (await context.Objects.ListAsync(Slices, context.CancellationToken))
            .Enumerate(key.Namespace)
            .Where(s => Label(s, ServiceLabel) == key.Name && Label(s, ManagedByLabel) == ManagedBy && !s.IsDeleting)
            .ToList();
        if (service is null || !EndpointSet.AppliesTo(service))
        {
            // The slices of a removed service go with it (owner reference); a service that became selectorless loses them here.
            foreach (var slice in existing)
                await context.Objects.DeleteAsync(slice.Key, new DeleteOptions(PreconditionUid: slice.Uid), context.CancellationToken);
            return ReconcileResult.Done;
        }

        var set = EndpointSet.Of(service, await context.Objects.ListAsync("pods", context.CancellationToken));
        var remaining = set.Endpoints.ToDictionary(e => e.Pod.Pod.Uid, StringComparer.Ordinal);
        var plans = existing.Select(s => new SlicePlan(s)).ToList();
        foreach (var plan in plans)
            plan.Keep(remaining, set);
        foreach (var group in remaining.Values.GroupBy(e => e.Ports, StringComparer.Ordinal))
            Place(group.Key, set, [.. group], plans);
        if (plans.Count == 0)
            plans.Add(new SlicePlan(null) { Ports = Json(set.PortSets.Count > 0 ? set.PortSets.Values.First() : []) });

        var kept = 0;
        foreach (var plan in plans.OrderByDescending(p => p.Endpoints.Count))
        {
            if (plan.Endpoints.Count == 0 && plan.Slice is { } empty && kept > 0)
                await context.Objects.DeleteAsync(empty.Key, new DeleteOptions(PreconditionUid: empty.Uid), context.CancellationToken);
            else
                await WriteAsync(plan, service, context);
            kept++;
        }
        return ReconcileResult.Done;
    }

    private static void Place(string ports, EndpointSet set, List<ServiceEndpoint> endpoints, List<SlicePlan> plans)
    {
        var wanted = Json(set.PortSets[ports]);
        var next = 0;
        foreach (var plan in plans.Where(p => JsonNode.DeepEquals(p.Ports, wanted) || p.Endpoints.Count == 0).ToList())
        {
            plan.Ports = (JsonArray)wanted.DeepClone();
            while (next < endpoints.Count && plan.Endpoints.Count < MaxEndpointsPerSlice)
                plan.Endpoints.Add(endpoints[next++]);
        }
        while (next < endpoints.Count)
        {
            var plan = new SlicePlan(null) { Ports = (JsonArray)wanted.DeepClone() };
            while (next < endpoints.Count && plan.Endpoints.Count < MaxEndpointsPerSlice)
                plan.Endpoints.Add(endpoints[next++]);
            plans.Add(plan);
        }
    }

    private static async Task WriteAsync(SlicePlan plan, JsonObject service, ReconcileContext context)
    {
        var labels = (JsonObject)service.Object("metadata", "labels").DeepClone();
        labels[ServiceLabel] = service.Text("metadata", "name");
        labels[ManagedByLabel] = ManagedBy;
        if (service.Text("spec", "clusterIP") == "None")
            labels["service.kubernetes.io/headless"] = "";
        var endpoints = new JsonArray([.. plan.Endpoints.Select(e => Json(e, service))]);
        var old = plan.Slice?.ToJson();
        if (old is not null && JsonNode.DeepEquals(old["endpoints"] ?? new JsonArray(), endpoints)
            && JsonNode.DeepEquals(old["ports"] ?? new JsonArray(), plan.Ports) && JsonNode.DeepEquals(old.Object("metadata", "labels"), labels))
        {
            return;
        }

        var slice = new JsonObject
        {
            ["kind"] = "EndpointSlice",
            ["apiVersion"] = "discovery.k8s.io/v1",
            ["metadata"] = new JsonObject
            {
                ["namespace"] = service.Text("metadata", "namespace"),
                ["labels"] = labels,
                ["annotations"] = new JsonObject { [Annotations.LastChange] = context.Time.Stamp() },
                ["ownerReferences"] = new JsonArray(PodClaims.ControllerReference(service)),
            },
            ["addressType"] = "IPv4",
            ["endpoints"] = endpoints,
            ["ports"] = plan.Ports.DeepClone(),
        };
        if (old is null)
        {
            slice.Object("metadata")["generateName"] = service.Text("metadata", "name") + "-";
            await context.Objects.CreateAsync(Slices, slice, context.CancellationToken);
            return;
        }
        slice.Object("metadata")["name"] = plan.Slice!.Key.Name;
        slice.Object("metadata")["generateName"] = old.Text("metadata", "generateName");
        slice.Object("metadata")["resourceVersion"] = old.Text("metadata", "resourceVersion");
        await context.Objects.UpdateAsync(plan.Slice.Key, slice, context.CancellationToken);
    }

    private static JsonObject Json(ServiceEndpoint endpoint, JsonObject service)
    {
        var json = new JsonObject
        {
            ["addresses"] = new JsonArray(endpoint.Pod.PodIP),
            ["conditions"] = new JsonObject
            {
                ["ready"] = endpoint.Ready,
                ["serving"] = endpoint.Serving,
                ["terminating"] = endpoint.Terminating,
            },
            ["targetRef"] = EndpointSet.TargetReference(endpoint),
        };
        if (endpoint.Pod.NodeName.Length > 0)
            json["nodeName"] = endpoint.Pod.NodeName;
        if (EndpointSet.HasHostname(endpoint, service))
            json["hostname"] = endpoint.Pod.Hostname;
        return json;
    }

    private static JsonArray Json(EndpointPort[] ports) =>
        new([.. ports.Select(p => new JsonObject { ["name"] = p.Name, ["port"] = p.Number, ["protocol"] = p.Protocol })]);

    private static IEnumerable<ObjectKey> ServiceOf(WakeEvent wake) =>
        Label(wake.Object, ManagedByLabel) == ManagedBy && Label(wake.Object, ServiceLabel) is { Length: > 0 } service
            ? [new ObjectKey("services", wake.Object.Key.Namespace, service)]
            : [];

    private static string Label(ICachedObject obj, string name) => obj.Labels.FirstOrDefault(l => l.Key == name).Value ?? "";

    /// <summary>A slice that exists or is to be made, with the endpoints it shall have.</summary>
    private sealed class SlicePlan(ICachedObject? slice)
    {
        public ICachedObject? Slice { get; } = slice;

        public List<ServiceEndpoint> Endpoints { get; } = [];

        public JsonArray Ports { get; set; } = slice?.ToJson()["ports"]?.DeepClone() as JsonArray ?? [];

        /// <summary>Takes the endpoints that are in this slice already and still serve its ports.</summary>
        public void Keep(Dictionary<string, ServiceEndpoint> remaining, EndpointSet set)
        {
            foreach (var endpoint in Slice!.ToJson().Items("endpoints"))
            {
                var uid = endpoint.Text("targetRef", "uid");
                if (remaining.TryGetValue(uid, out var found) && JsonNode.DeepEquals(Json(set.PortSets[found.Ports]), Ports))
                {
                    Endpoints.Add(found);
                    remaining.Remove(uid);
                }
            }
        }
    }
}
