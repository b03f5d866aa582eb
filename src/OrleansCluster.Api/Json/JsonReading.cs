using System.Collections;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Reads members of JSON objects without ever throwing on a missing member or one of another type: such a member reads as absent. Decoding
/// has checked the types of known fields; what is left over must not turn into a server error.
/// </summary>
public static class JsonReading
{
    /// <summary>True if the member is there and not null.</summary>
    public static bool Has(this JsonObject? obj, string name) => obj is not null && obj.TryGetPropertyValue(name, out var value) && value is not null;

    /// <summary>The member as an object, or null.</summary>
    public static JsonObject? GetObject(this JsonObject? obj, string name) =>
        obj is not null && obj.TryGetPropertyValue(name, out var value) ? value as JsonObject : null;

    /// <summary>The member as an array, or null.</summary>
    public static JsonArray? GetArray(this JsonObject? obj, string name) =>
        obj is not null && obj.TryGetPropertyValue(name, out var value) ? value as JsonArray : null;

    /// <summary>The member as text, or null.</summary>
    public static string? GetString(this JsonObject? obj, string name) =>
        obj is not null && obj.TryGetPropertyValue(name, out var value) ? AsString(value) : null;

    /// <summary>The member as a whole number, or null.</summary>
    public static long? GetLong(this JsonObject? obj, string name) =>
        obj is not null && obj.TryGetPropertyValue(name, out var value) ? AsLong(value) : null;

    /// <summary>The member as a truth value, or null.</summary>
    public static bool? GetBool(this JsonObject? obj, string name) =>
        obj is not null && obj.TryGetPropertyValue(name, out var node) && node is JsonValue value && value.TryGetValue(out bool flag) ? flag : null;

    /// <summary>The items of the member that are objects, each with its index; nothing if the member is no array.</summary>
    public static JsonItems Items(this JsonObject? obj, string name) => new(obj.GetArray(name));

    /// <summary>The items of the member that are texts; nothing if the member is no array.</summary>
    public static IEnumerable<string> Strings(this JsonObject? obj, string name)
    {
        if (obj.GetArray(name) is not { } array)
            yield break;
        foreach (var item in array)
        {
            if (AsString(item) is { } text)
                yield return text;
        }
    }

    /// <summary>The member as an object; it is made if absent.</summary>
    public static JsonObject EnsureObject(this JsonObject obj, string name)
    {
        if (obj.GetObject(name) is { } existing)
            return existing;
        var made = new JsonObject();
        obj[name] = made;
        return made;
    }

    /// <summary>Sets a text member where it is absent, null or empty.</summary>
    public static void SetDefault(this JsonObject obj, string name, string value)
    {
        if (!obj.TryGetPropertyValue(name, out var node) || node is null || AsString(node) is "")
            obj[name] = value;
    }

    /// <summary>Sets a number member where it is absent or null.</summary>
    public static void SetDefault(this JsonObject obj, string name, long value)
    {
        if (!obj.Has(name))
            obj[name] = value;
    }

    /// <summary>Sets a truth member where it is absent or null.</summary>
    public static void SetDefault(this JsonObject obj, string name, bool value)
    {
        if (!obj.Has(name))
            obj[name] = value;
    }

    /// <summary>A text node's text, or null.</summary>
    public static string? AsString(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    /// <summary>A number node's whole number, or null.</summary>
    public static long? AsLong(JsonNode? node)
    {
        if (node is not JsonValue value)
            return null;
        if (value.TryGetValue(out long number))
            return number;
        if (value.TryGetValue(out int small))
            return small;
        if (value.GetValueKind() != JsonValueKind.Number)
            return null;
        return decimal.TryParse(value.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var exact)
            && exact == decimal.Truncate(exact) && exact is >= long.MinValue and <= long.MaxValue
            ? (long)exact
            : null;
    }

    /// <summary>Sets a member to a private copy of another object's member, or removes it if the other has none.</summary>
    internal static void CopyMember(this JsonObject target, string name, JsonObject? source)
    {
        if (source is not null && source.TryGetPropertyValue(name, out var value) && value is not null)
        {
            if (target.TryGetPropertyValue(name, out var present) && JsonNode.DeepEquals(present, value))
                return;
            target[name] = value.DeepClone();
        }
        else
        {
            target.Remove(name);
        }
    }

    /// <summary>The member of an element, or null where there is none.</summary>
    internal static JsonElement? Get(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>The element at a path of two members, or null.</summary>
    internal static JsonElement? Get(this JsonElement element, string first, string second) => element.Get(first)?.Get(second);

    /// <summary>The text at a member, or null.</summary>
    internal static string? Text(this JsonElement element, string name) =>
        element.Get(name) is { ValueKind: JsonValueKind.String } value ? value.GetString() : null;

    /// <summary>The text at a path of two members, or null.</summary>
    internal static string? Text(this JsonElement element, string first, string second) => element.Get(first)?.Text(second);

    /// <summary>The whole number at a member, or 0.</summary>
    internal static long Number(this JsonElement element, string name) =>
        element.Get(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt64(out var number) ? number : 0;

    /// <summary>The items of a list member; nothing if it is absent.</summary>
    internal static IEnumerable<JsonElement> Items(this JsonElement element, string name)
    {
        if (element.Get(name) is not { ValueKind: JsonValueKind.Array } array)
            yield break;
        foreach (var item in array.EnumerateArray())
            yield return item;
    }

    /// <summary>The number of members or items at a member, or 0.</summary>
    internal static int Count(this JsonElement element, string name) => element.Get(name) switch
    {
        { ValueKind: JsonValueKind.Array } array => array.GetArrayLength(),
        { ValueKind: JsonValueKind.Object } map => map.GetPropertyCount(),
        _ => 0,
    };
}

/// <summary>The objects in an array, each with its index. A struct: loops over it allocate nothing.</summary>
public readonly struct JsonItems : IEnumerable<(int Index, JsonObject Item)>
{
    private readonly JsonArray? _array;

    internal JsonItems(JsonArray? array) => _array = array;

    /// <summary>Starts a walk.</summary>
    public Enumerator GetEnumerator() => new(_array);

    /// <inheritdoc/>
    IEnumerator<(int Index, JsonObject Item)> IEnumerable<(int Index, JsonObject Item)>.GetEnumerator() => GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>A walk over the objects.</summary>
    public struct Enumerator : IEnumerator<(int Index, JsonObject Item)>
    {
        private readonly JsonArray? _array;
        private readonly int _count;
        private int _index;
        private JsonObject? _item;

        internal Enumerator(JsonArray? array)
        {
            _array = array;
            _count = array?.Count ?? 0;
            _index = -1;
        }

        /// <inheritdoc/>
        public readonly (int Index, JsonObject Item) Current => (_index, _item!);

        /// <inheritdoc/>
        readonly object IEnumerator.Current => Current;

        /// <inheritdoc/>
        public bool MoveNext()
        {
            while (++_index < _count)
            {
                if (_array![_index] is JsonObject item)
                {
                    _item = item;
                    return true;
                }
            }
            return false;
        }

        /// <inheritdoc/>
        public void Reset() => _index = -1;

        /// <inheritdoc/>
        public readonly void Dispose()
        {
        }
    }
}
