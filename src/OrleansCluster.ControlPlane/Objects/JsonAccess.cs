using System.Text.Json;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane;

/// <summary>Reads members of JSON objects without ceremony; absent and of another type both read as nothing.</summary>
internal static class JsonAccess
{
    /// <summary>The object's JSON tree; a private copy.</summary>
    public static JsonObject ToJson(this ICachedObject obj) => CanonicalJson.Parse(obj.Bytes.Span);

    public static string Text(this JsonNode? node, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";

    public static long Number(this JsonNode? node, long absent, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonValue value && value.TryGetValue<long>(out var number) ? number : absent;

    public static JsonObject Object(this JsonNode? node, params ReadOnlySpan<string> path) => node.At(path) as JsonObject ?? [];

    public static IEnumerable<JsonObject> Items(this JsonNode? node, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonArray array ? array.OfType<JsonObject>() : [];

    private static JsonNode? At(this JsonNode? node, ReadOnlySpan<string> path)
    {
        foreach (var member in path)
            node = (node as JsonObject)?[member];
        return node;
    }

    public static string Text(this JsonElement element, string member) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(member, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()! : "";

    public static bool TryObject(this JsonElement element, string member, out JsonElement value) =>
        element.TryGetProperty(member, out value) && value.ValueKind == JsonValueKind.Object;

    public static JsonElement.ArrayEnumerator Array(this JsonElement element, string member) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(member, out var value) && value.ValueKind == JsonValueKind.Array
            ? value.EnumerateArray() : default;

    /// <summary>A time that an object says, or another where it says none: an empty text is no time, and the whole object would be refused for it.</summary>
    public static string TextOr(this JsonNode? node, string otherwise, string member) => node.Text(member) is { Length: > 0 } text ? text : otherwise;

    /// <summary>RFC 3339 time as objects carry it, to the second.</summary>
    public static string Stamp(this TimeProvider time) => time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'");
}
