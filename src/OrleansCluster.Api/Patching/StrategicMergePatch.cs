using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Strategic merge patch (wire contract, section 9): a merge patch that knows from the schema which lists are merged and by which key.
/// <para>
/// Maps merge recursively, null removes. A list without a merge strategy is replaced. A list with a merge key: matched items are merged,
/// new ones appended; a merged list of scalars is a set union. Directives: `$patch: delete|replace|merge`, `$retainKeys`,
/// `$setElementOrder/x`, `$deleteFromPrimitiveList/x`.
/// </para>
/// <para>
/// Order of a merged list: items that the patch names come in the patch's order (or in that of `$setElementOrder`); the others keep their
/// relative order and their place relative to their old neighbours where that does not contradict it.
/// </para>
/// </summary>
public static class StrategicMergePatch
{
    private const string PatchDirective = "$patch";
    private const string RetainKeysDirective = "$retainKeys";
    private const string OrderPrefix = "$setElementOrder/";
    private const string DeletePrefix = "$deleteFromPrimitiveList/";

    /// <summary>Applies a patch given as UTF-8 JSON. The original is not changed.</summary>
    /// <param name="original">Current object.</param>
    /// <param name="patch">Patch.</param>
    /// <param name="type">Type of the object.</param>
    public static PatchResult Apply(JsonObject original, ReadOnlySpan<byte> patch, TypeSchema type)
    {
        var decoded = ObjectDecoder.DecodeUntyped(patch);
        if (!decoded.Succeeded)
            return new PatchResult(StatusError.BadRequest("error decoding patch: " + decoded.Error.Message));
        try
        {
            return new PatchResult(Apply(original, decoded.Object, type), decoded.StrictErrors);
        }
        catch (PatchException e)
        {
            return new PatchResult(e.Error);
        }
    }

    private static JsonObject Apply(JsonObject original, JsonObject patch, TypeSchema type)
    {
        // Both sides are private copies from here on, so nodes may be moved from one to the other.
        var result = (JsonObject)original.DeepClone();
        return MergeMap(result, (JsonObject)patch.DeepClone(), type);
    }

    /// <summary>Merges a patch into a map and returns the result, which may be either argument.</summary>
    private static JsonObject MergeMap(JsonObject target, JsonObject patch, TypeSchema? type)
    {
        // 1. A directive for the map itself.
        if (TryTake(patch, PatchDirective, out var directive))
        {
            switch (TextOf(directive))
            {
                case "replace":
                    return Cleaned(patch, type);
                case "delete":
                    return new JsonObject();
                case "merge":
                    break;
                default:
                    throw PatchException.BadRequest($"Unknown patch type found: {directive?.ToJsonString() ?? "null"}");
            }
        }

        // 2. Members that the patch does not keep.
        if (TryTake(patch, RetainKeysDirective, out var retained))
            RetainKeys(target, patch, retained);

        // 3. Orders of lists, and scalars to take out of lists, before the members themselves.
        Dictionary<string, JsonArray>? orders = null;
        foreach (var name in patch.Select(static m => m.Key).Where(static k => k.StartsWith('$')).ToArray())
        {
            if (name.StartsWith(OrderPrefix, StringComparison.Ordinal))
            {
                (orders ??= new(StringComparer.Ordinal))[name[OrderPrefix.Length..]] = ListOf(name, patch[name]);
                patch.Remove(name);
            }
            else if (name.StartsWith(DeletePrefix, StringComparison.Ordinal))
            {
                DeleteScalars(target, name[DeletePrefix.Length..], ListOf(name, patch[name]));
                patch.Remove(name);
            }
        }

        // 4. The members.
        foreach (var (name, value) in patch.ToArray())
        {
            patch.Remove(name);
            var order = orders is not null && orders.Remove(name, out var wished) ? wished : null;
            MergeMember(target, name, value, type, order);
        }

        // 5. Lists that are only put in order.
        foreach (var (name, order) in orders ?? [])
        {
            if (target[name] is JsonArray list)
                target[name] = MergeList(Detach(list, target, name), [], type?.Field(name), order);
        }
        return target;
    }

    private static void MergeMember(JsonObject target, string name, JsonNode? value, TypeSchema? type, JsonArray? order)
    {
        if (value is null)
        {
            target.Remove(name);
            return;
        }
        var field = type?.Field(name);
        switch (value)
        {
            case JsonObject patch when field is null or { PatchReplaces: false }:
                var existing = target[name] as JsonObject ?? new JsonObject();
                target.Remove(name);
                target[name] = MergeMap(existing, patch, field?.Type.Schema);
                break;
            case JsonObject patch:
                target[name] = Cleaned(patch, field.Type.Schema);
                break;
            case JsonArray patch when field is { PatchMerges: true }:
                var list = target[name] as JsonArray ?? [];
                target.Remove(name);
                target[name] = MergeList(list, patch, field, order);
                break;
            case JsonArray patch:
                target[name] = Cleaned(patch, field?.Type.Element?.Schema);
                break;
            default:
                target[name] = value;
                break;
        }
    }

    /// <summary>Merges a patch into a list whose field has the merge strategy (or that is only to be ordered).</summary>
    private static JsonArray MergeList(JsonArray original, JsonArray patch, FieldSchema? field, JsonArray? order)
    {
        var key = field?.PatchMergeKey;
        var itemType = field?.Type.Element?.Schema;
        var merged = new Dictionary<string, JsonNode>(StringComparer.Ordinal);
        var live = new List<string>(original.Count);
        foreach (var item in Drain(original))
        {
            var id = IdOf(item, key);
            if (merged.TryAdd(id, item))
                live.Add(id);
        }

        // 1. Directives of the list: replace drops what is there, delete drops one item.
        var items = Drain(patch);
        foreach (var item in items)
        {
            if (item is not JsonObject map || !map.TryGetPropertyValue(PatchDirective, out var directive))
                continue;
            switch (TextOf(directive))
            {
                case "replace":
                    merged.Clear();
                    live.Clear();
                    break;
                case "delete":
                    if (key is null)
                        throw PatchException.BadRequest("delete patch type with no merge key defined");
                    var id = IdOf(map, key);
                    merged.Remove(id);
                    break;
                case "merge":
                    throw PatchException.BadRequest("merging lists cannot yet be specified in the patch");
                default:
                    throw PatchException.BadRequest($"Unknown patch type found: {directive?.ToJsonString() ?? "null"}");
            }
        }
        live.RemoveAll(id => !merged.ContainsKey(id));
        var wasLive = live.ToHashSet(StringComparer.Ordinal);

        // 2. The items.
        var named = new List<string>(items.Count);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var item in items)
        {
            if (item is JsonObject marked && marked.ContainsKey(PatchDirective))
                continue;
            var id = IdOf(item, key);
            if (item is JsonObject map)
                merged[id] = MergeMap(merged.GetValueOrDefault(id) as JsonObject ?? new JsonObject(), map, itemType);
            else
                merged.TryAdd(id, item);
            if (seen.Add(id))
                named.Add(id);
        }

        // 3. The order.
        if (order is not null)
        {
            var wished = new List<string>(order.Count);
            var present = new HashSet<string>(StringComparer.Ordinal);
            foreach (var item in Drain(order))
            {
                var id = IdOf(item, key);
                if (merged.ContainsKey(id) && present.Add(id))
                    wished.Add(id);
            }
            // Items that the patch brings and that the order forgets stay behind those it names.
            foreach (var id in named)
            {
                if (present.Add(id) && !wasLive.Contains(id))
                    wished.Add(id);
            }
            named = wished;
        }
        var result = new JsonArray();
        foreach (var id in Interleave(live, named))
            result.Add(merged[id]);
        return result;
    }

    /// <summary>
    /// Puts the items that nobody named among those that were, each before the first named one that stood behind it, as long as both keep
    /// their own order.
    /// </summary>
    private static IEnumerable<string> Interleave(List<string> live, List<string> named)
    {
        var place = new Dictionary<string, int>(live.Count, StringComparer.Ordinal);
        for (var i = 0; i < live.Count; i++)
            place[live[i]] = i;
        var isNamed = named.ToHashSet(StringComparer.Ordinal);
        var others = live.Where(id => !isNamed.Contains(id)).ToList();
        var next = 0;
        foreach (var id in named)
        {
            while (next < others.Count && place.TryGetValue(id, out var at) && place[others[next]] < at)
                yield return others[next++];
            yield return id;
        }
        for (; next < others.Count; next++)
            yield return others[next];
    }

    private static void RetainKeys(JsonObject target, JsonObject patch, JsonNode? retained)
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        foreach (var key in ListOf(RetainKeysDirective, retained))
            keys.Add(TextOf(key) ?? throw PatchException.BadRequest($"invalid {RetainKeysDirective}: its items must be strings"));
        foreach (var (name, value) in patch)
        {
            if (value is not null && !name.StartsWith('$') && !keys.Contains(name))
                throw PatchException.BadRequest("The list in the $retainKeys directive must be a superset of the fields in the patch.");
        }
        foreach (var name in target.Select(static m => m.Key).ToArray())
        {
            if (!keys.Contains(name))
                target.Remove(name);
        }
    }

    private static void DeleteScalars(JsonObject target, string name, JsonArray values)
    {
        if (target[name] is not JsonArray list)
            return;
        var doomed = values.Select(static v => v?.ToJsonString() ?? "null").ToHashSet(StringComparer.Ordinal);
        target[name] = new JsonArray([.. Drain(Detach(list, target, name)).Where(item => !doomed.Contains(item.ToJsonString()))]);
    }

    /// <summary>Takes nulls and directives out of a value that is set as it is.</summary>
    private static JsonObject Cleaned(JsonObject patch, TypeSchema? type) => MergeMap(new JsonObject(), patch, type);

    private static JsonArray Cleaned(JsonArray patch, TypeSchema? itemType)
    {
        var result = new JsonArray();
        foreach (var item in Drain(patch))
        {
            if (item is not JsonObject map)
                result.Add(item is JsonArray inner ? Cleaned(inner, null) : item);
            else if (!map.ContainsKey(PatchDirective))
                result.Add((JsonNode)Cleaned(map, itemType));
        }
        return result;
    }

    /// <summary>What identifies a list item: the JSON of its merge key, or of itself in a list of scalars.</summary>
    private static string IdOf(JsonNode item, string? key)
    {
        if (key is null)
            return item.ToJsonString();
        if (item is not JsonObject map)
            throw PatchException.BadRequest("cannot merge a list of maps with a value that is not a map");
        return map[key]?.ToJsonString()
            ?? throw PatchException.BadRequest($"map: {GoMap(map)} does not contain declared merge key: {key}");
    }

    /// <summary>Prints a map as the API's error texts do: `map[a:1 b:x]`, cut where it is long.</summary>
    private static string GoMap(JsonObject map)
    {
        var text = "map[" + string.Join(' ', map.Select(static m => $"{m.Key}:{(m.Value is JsonValue v ? v.ToString() : m.Value?.ToJsonString() ?? "<nil>")}")) + "]";
        return text.Length <= 256 ? text : text[..256] + "...";
    }

    private static bool TryTake(JsonObject map, string name, out JsonNode? value)
    {
        if (!map.TryGetPropertyValue(name, out value))
            return false;
        map.Remove(name);
        return true;
    }

    private static JsonArray ListOf(string directive, JsonNode? value) =>
        value as JsonArray ?? throw PatchException.BadRequest($"invalid {directive}: it must be a list");

    private static string? TextOf(JsonNode? node) =>
        node is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : null;

    private static JsonArray Detach(JsonArray list, JsonObject owner, string name)
    {
        owner.Remove(name);
        return list;
    }

    /// <summary>Takes the items out of a list so that they can be put into another; nulls are dropped.</summary>
    private static List<JsonNode> Drain(JsonArray list)
    {
        var items = new List<JsonNode>(list.Count);
        foreach (var item in list)
        {
            if (item is not null)
                items.Add(item);
        }
        list.Clear();
        return items;
    }
}
