using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Harness;

/// <summary>Objects as a cache hands them out, without a cache.</summary>
internal static class Cached
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    public static ICachedObject Object(string resource, string json, long revision = 1)
    {
        var definition = Registry.Get(resource);
        var obj = (JsonObject)JsonNode.Parse(json)!;
        obj["kind"] = definition.Kind;
        obj["apiVersion"] = definition.ApiVersion;
        var metadata = (JsonObject)obj["metadata"]!;
        metadata["uid"] ??= Guid.NewGuid().ToString();
        var key = definition.Namespaced ? $"{metadata["namespace"]}/{metadata["name"]}" : (string)metadata["name"]!;
        return CachedObjects.Create(definition, new StoredChange(revision, key, CommitKind.Put, CanonicalJson.Serialize(obj)));
    }
}
