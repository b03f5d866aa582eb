using System.Text;
using OrleansCluster.Api;

namespace OrleansCluster.Storage.Tests;

/// <summary>Objects and commits for tests.</summary>
internal static class TestObjects
{
    public static ResourceDefinition Pods { get; } = Define("Pod", "pods", namespaced: true);

    public static ResourceDefinition Nodes { get; } = Define("Node", "nodes", namespaced: false);

    public static ResourceDefinition Events { get; } = Define("Event", "events", namespaced: true) with { TimeToLive = TimeSpan.FromHours(1) };

    public static ResourceRegistry Registry { get; } = new([Pods, Nodes, Events]);

    public static byte[] Json(string storageKey, string extra = "")
    {
        var key = ObjectKey.FromStorageKey("pods", storageKey);
        var ns = key.Namespace.Length == 0 ? "" : $",\"namespace\":\"{key.Namespace}\"";
        return Encoding.UTF8.GetBytes(
            $"{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{key.Name}\"{ns},\"uid\":\"{new Guid(storageKey.Length, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0)}\"}}{extra}}}");
    }

    public static Commit Put(string key, long expected, byte[]? value = null, string resource = "pods") =>
        new() { Resource = resource, Key = key, Value = value ?? Json(key), ExpectedRevision = expected };

    public static Commit Delete(string key, long expected, byte[]? value = null, string resource = "pods") =>
        new() { Resource = resource, Key = key, Value = value ?? Json(key), ExpectedRevision = expected, Kind = CommitKind.Delete };

    private static ResourceDefinition Define(string kind, string plural, bool namespaced) => new()
    {
        Group = "",
        Version = "v1",
        Kind = kind,
        Plural = plural,
        Singular = kind.ToLowerInvariant(),
        Namespaced = namespaced,
        Strategy = new TestStrategy(),
    };

    private sealed class TestStrategy : ResourceStrategy
    {
        public override IReadOnlyList<SelectableField> SelectableFields =>
            [new("spec.nodeName"), new("status.phase"), new("source", "source.component", "reportingComponent")];
    }
}
