using System.Collections.Concurrent;
using System.Reflection;
using System.Text.Json.Nodes;
using k8s;
using k8s.Models;
using OrleansCluster.Api;

namespace OrleansCluster.Client;

/// <summary>Where objects of a model type live.</summary>
/// <param name="Resource">Resource, e.g. `pods` or `replicasets.apps`.</param>
/// <param name="ApiVersion">`v1` or `group/version`.</param>
/// <param name="Kind">Kind.</param>
internal sealed record ResourceType(string Resource, string ApiVersion, string Kind)
{
    private static readonly ConcurrentDictionary<Type, ResourceType> Known = new();

    /// <summary>Reads the <see cref="KubernetesEntityAttribute"/> of a model type.</summary>
    /// <exception cref="ArgumentException">The type has none.</exception>
    public static ResourceType Of<T>() => Known.GetOrAdd(typeof(T), static type =>
    {
        var entity = type.GetCustomAttribute<KubernetesEntityAttribute>()
            ?? throw new ArgumentException($"{type.Name} is no API object: it has no [KubernetesEntity] that names its group, version, kind and plural.");
        return new ResourceType(
            entity.Group.Length == 0 ? entity.PluralName : $"{entity.PluralName}.{entity.Group}",
            entity.Group.Length == 0 ? entity.ApiVersion : $"{entity.Group}/{entity.ApiVersion}",
            entity.Kind);
    });

    /// <summary>Key of an object of this type.</summary>
    public ObjectKey Key(string @namespace, string name) => new(Resource, @namespace, name);
}

/// <summary>Between the models of the official C# client and the bytes that grains pass.</summary>
internal static class KubernetesModel
{
    /// <summary>Reads a model.</summary>
    public static T Read<T>(ReadOnlySpan<byte> bytes) => KubernetesJson.Deserialize<T>(System.Text.Encoding.UTF8.GetString(bytes));

    /// <summary>A model as JSON, with `kind` and `apiVersion` filled in where the caller left them out.</summary>
    public static JsonObject Write<T>(T obj)
        where T : IKubernetesObject<V1ObjectMeta>
    {
        var type = ResourceType.Of<T>();
        var json = CanonicalJson.Parse(System.Text.Encoding.UTF8.GetBytes(KubernetesJson.Serialize(obj)));
        json["kind"] ??= type.Kind;
        json["apiVersion"] ??= type.ApiVersion;
        return json;
    }
}
