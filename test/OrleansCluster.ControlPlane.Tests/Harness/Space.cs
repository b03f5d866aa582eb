using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Tests.Harness;

/// <summary>A namespace of its own inside a shared cluster: tests of one class run in one cluster without meeting each other.</summary>
internal sealed class Space(TestCluster cluster, string name)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public string Name { get; } = name;

    public TestCluster Cluster { get; } = cluster;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public ObjectKey Key(string resource, string name) => Cluster.Key(resource, name, Name);

    public Task<JsonObject> CreateAsync(string resource, string json)
    {
        var obj = (JsonObject)JsonNode.Parse(json)!;
        obj["metadata"]!["namespace"] = Name;
        return Cluster.CreateAsync(resource, obj);
    }

    public Task<JsonObject?> GetAsync(string resource, string name) => Cluster.GetAsync(resource, name, Name);

    public async Task<List<JsonObject>> ListAsync(string resource) =>
        [.. (await Cluster.ListAsync(resource)).Where(o => o.At("metadata", "namespace") == Name)];

    public Task PatchAsync(string resource, string name, string mergePatch, string subresource = "") =>
        Cluster.Client.PatchAsync(Key(resource, name), (JsonObject)JsonNode.Parse(mergePatch)!, Cancellation, subresource);

    public Task<bool> DeleteAsync(string resource, string name, DeleteOptions? options = null) =>
        Cluster.Client.DeleteAsync(Key(resource, name), options ?? new DeleteOptions(), Cancellation);

    /// <summary>Waits until the objects of a resource are as wanted; a time-out shows the last ones.</summary>
    public Task<List<JsonObject>> UntilAsync(string resource, string what, Func<List<JsonObject>, bool> holds) =>
        Cluster.UntilAsync(what, () => ListAsync(resource), holds, patience: Patience);

    /// <summary>Waits until one object (null: gone) is as wanted.</summary>
    public Task<JsonObject?> UntilAsync(string resource, string name, string what, Func<JsonObject?, bool> holds) =>
        Cluster.UntilAsync(what, () => GetAsync(resource, name), holds, patience: Patience);

    /// <summary>Creates a pod and, if an address is given, says that it runs there and whether it is ready.</summary>
    public async Task<JsonObject> PodAsync(string name, string ip = "", bool ready = true, string node = "", string metadata = ",\"labels\":{\"app\":\"web\"}", string container = "", string spec = "")
    {
        var pod = await CreateAsync("pods", Manifests.Pod(name, metadata: metadata, container: container, spec: node.Length == 0 ? spec : $",\"nodeName\":\"{node}\"{spec}"));
        if (ip.Length > 0)
            await PatchAsync("pods", name, Manifests.Running(ip, ready), "status");
        return pod;
    }
}

/// <summary>What tests read of objects.</summary>
internal static class ObjectReading
{
    public static IEnumerable<string> Of(this IEnumerable<JsonObject> objects) => objects.Select(o => o.At("metadata", "name")!);

    public static string? Owner(this JsonObject obj) => obj["metadata"]?["ownerReferences"] is JsonArray { Count: > 0 } owners ? owners[0].At("uid") : null;

    public static string Uid(this JsonObject obj) => obj.At("metadata", "uid")!;

    public static bool IsDeleting(this JsonObject? obj) => obj.At("metadata", "deletionTimestamp") is not null;

    public static JsonObject? Condition(this JsonObject? obj, string type) =>
        (obj?["status"]?["conditions"] as JsonArray)?.OfType<JsonObject>().FirstOrDefault(c => c.At("type") == type);
}
