using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>What ConfigMaps and Secrets have in common: keys that become file names, a limit of size, and the wish to be immutable.</summary>
internal static class KeyedData
{
    /// <summary>Most bytes of all values together: 1 MiB.</summary>
    public const int MaxBytes = 1024 * 1024;

    public static void ValidateKeys(JsonObject? data, FieldPath path, FieldErrors errors)
    {
        foreach (var (key, _) in data ?? [])
            errors.InvalidIf(NameSyntax.ConfigKey(key), path.Key(key), key);
    }

    public static long TextSize(JsonObject? data)
    {
        long size = 0;
        foreach (var (_, value) in data ?? [])
            size += Encoding.UTF8.GetByteCount(JsonReading.AsString(value) ?? "");
        return size;
    }

    public static long Base64Size(JsonObject? data)
    {
        long size = 0;
        foreach (var (_, value) in data ?? [])
        {
            var text = JsonReading.AsString(value) ?? "";
            size += (text.Length / 4 * 3) - (text.EndsWith("==", StringComparison.Ordinal) ? 2 : text.EndsWith('=') ? 1 : 0);
        }
        return size;
    }

    /// <summary>Once `immutable` is true, neither it nor the data can change: only deletion undoes it.</summary>
    public static void ValidateImmutable(JsonObject obj, JsonObject old, FieldErrors errors, params ReadOnlySpan<string> members)
    {
        if (old.GetBool("immutable") != true)
            return;
        const string Text = "field is immutable when `immutable` is set";
        if (obj.GetBool("immutable") != true)
            errors.Forbidden(FieldPath.Root("immutable"), Text);
        foreach (var member in members)
        {
            if (!JsonNode.DeepEquals(OrEmpty(obj, member), OrEmpty(old, member)))
                errors.Forbidden(FieldPath.Root(member), Text);
        }

        static JsonNode OrEmpty(JsonObject from, string member) => from[member] ?? new JsonObject();
    }
}
