using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// JSON patch (RFC 6902) with the API's limits and error texts: at most <see cref="MaxOperations"/> operations; copies add up to at most
/// 3 MiB; no result deeper than what can be decoded. Operations work on one private copy, and any failure discards it.
/// </summary>
public static class JsonPatch
{
    /// <summary>Most operations in one patch.</summary>
    public const int MaxOperations = 10_000;

    /// <summary>Bytes that `copy` operations may add, counted as JSON.</summary>
    private const int MaxCopiedBytes = 3 * 1024 * 1024;

    /// <summary>Applies a patch given as UTF-8 JSON. The original is not changed.</summary>
    public static PatchResult Apply(JsonObject original, ReadOnlySpan<byte> patch)
    {
        try
        {
            var operations = Parse(patch);
            var document = new Document((JsonObject)original.DeepClone());
            foreach (var operation in operations)
                document.Run(operation);
            return document.Root is JsonObject root
                ? new PatchResult(root)
                : new PatchResult(StatusError.BadRequest("the patch leaves no object"));
        }
        catch (PatchException e)
        {
            return new PatchResult(e.Error);
        }
    }

    private static List<Operation> Parse(ReadOnlySpan<byte> patch)
    {
        JsonNode? node;
        try
        {
            var values = 0;
            node = ObjectDecoder.DecodeAny(patch, ref values);
        }
        catch (DecodeException e)
        {
            throw PatchException.BadRequest("error decoding patch: " + e.Message);
        }
        if (node is not JsonArray array)
            throw PatchException.BadRequest("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
        if (array.Count > MaxOperations)
            throw PatchException.TooLarge($"The allowed maximum operations in a JSON patch is {MaxOperations}, got {array.Count}");
        var operations = new List<Operation>(array.Count);
        foreach (var item in array)
        {
            if (item is not JsonObject operation)
                throw PatchException.BadRequest("error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Operation");
            operations.Add(new Operation(
                Text(operation, "op") ?? "unknown",
                Text(operation, "path") is { } path ? JsonPointer.Parse(path) : null,
                Text(operation, "from") is { } from ? JsonPointer.Parse(from) : null,
                operation.ContainsKey("value"),
                operation["value"]));
        }
        return operations;
    }

    private static string? Text(JsonObject operation, string member) =>
        operation[member] is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : null;

    /// <summary>One operation; a missing member is null.</summary>
    private sealed record Operation(string Name, JsonPointer? Path, JsonPointer? From, bool HasValue, JsonNode? Value);

    /// <summary>A JSON pointer (RFC 6901), taken apart once.</summary>
    private sealed record JsonPointer(string Text, string[] Tokens)
    {
        public static JsonPointer Parse(string text)
        {
            if (text.Length == 0)
                return new JsonPointer(text, []);
            if (text[0] != '/')
                throw PatchException.Invalid($"invalid JSON pointer \"{text}\"");
            var tokens = text[1..].Split('/');
            if (tokens.Length > ObjectDecoder.MaxDepth)
                throw PatchException.Invalid("the JSON pointer is too long");
            for (var i = 0; i < tokens.Length; i++)
                tokens[i] = tokens[i].Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            return new JsonPointer(text, tokens);
        }

        /// <summary>True where the other pointer leads into the value that this one names.</summary>
        public bool Contains(JsonPointer other) =>
            other.Tokens.Length > Tokens.Length && other.Tokens.AsSpan(0, Tokens.Length).SequenceEqual(Tokens);
    }

    private sealed class Document(JsonObject root)
    {
        private long _copied;

        public JsonNode? Root { get; private set; } = root;

        public void Run(Operation operation)
        {
            var path = operation.Path ?? throw PatchException.Invalid($"{operation.Name} operation has no valid path");
            switch (operation.Name)
            {
                case "add":
                    Add("add", path, Required(operation)?.DeepClone());
                    break;
                case "remove":
                    Take("remove", path);
                    break;
                case "replace":
                    Replace(path, Required(operation)?.DeepClone());
                    break;
                case "move":
                    Move(Source(operation), path);
                    break;
                case "copy":
                    Copy(Source(operation), path);
                    break;
                case "test":
                    Test(path, operation.Value);
                    break;
                default:
                    throw PatchException.Invalid($"Unexpected kind: {operation.Name}");
            }
        }

        private static JsonNode? Required(Operation operation) => operation.HasValue
            ? operation.Value
            : throw PatchException.Invalid($"{operation.Name} operation has no value");

        private static JsonPointer Source(Operation operation) =>
            operation.From ?? throw PatchException.Invalid($"{operation.Name} operation has no valid from");

        private void Move(JsonPointer from, JsonPointer path)
        {
            if (from.Contains(path))
                throw PatchException.Invalid($"move operation does not apply: \"{path.Text}\" is inside \"{from.Text}\"");
            if (from.Text == path.Text)
            {
                Find("move", from);
                return;
            }
            Add("move", path, Take("move", from));
        }

        private void Copy(JsonPointer from, JsonPointer path)
        {
            var value = Find("copy", from);
            _copied += value is null ? 4 : CanonicalJson.SerializeNode(value).Length;
            if (_copied > MaxCopiedBytes)
                throw PatchException.TooLarge($"the accumulated size of copy operations exceeds the limit of {MaxCopiedBytes} bytes");
            Add("copy", path, value?.DeepClone());
        }

        private void Test(JsonPointer path, JsonNode? expected)
        {
            // A test for null passes where the member is absent, as the API's patch library has it.
            if (!TryFind(path, out var actual) && expected is not null)
                throw PatchException.Invalid($"testing path {path.Text} failed: missing value");
            if (!JsonNode.DeepEquals(actual, expected))
                throw PatchException.Invalid($"testing value {path.Text} failed: test failed");
        }

        private void Add(string operation, JsonPointer path, JsonNode? value)
        {
            if (path.Tokens.Length + DepthOf(value) > ObjectDecoder.MaxDepth)
                throw PatchException.Invalid("exceeded max depth");
            if (path.Tokens.Length == 0)
            {
                Root = value;
                return;
            }
            var last = path.Tokens[^1];
            switch (Parent(path))
            {
                case JsonObject obj:
                    obj[last] = value;
                    break;
                case JsonArray array when last == "-":
                    array.Add(value);
                    break;
                case JsonArray array when TryIndex(last, out var index) && index <= array.Count:
                    array.Insert(index, value);
                    break;
                case JsonArray:
                    throw PatchException.Invalid($"{operation} operation does not apply: Unable to access invalid index: {last}: invalid index referenced");
                default:
                    throw PatchException.Invalid($"{operation} operation does not apply: doc is missing path: \"{path.Text}\": missing value");
            }
        }

        private void Replace(JsonPointer path, JsonNode? value)
        {
            if (path.Tokens.Length + DepthOf(value) > ObjectDecoder.MaxDepth)
                throw PatchException.Invalid("exceeded max depth");
            if (path.Tokens.Length == 0)
            {
                Root = value;
                return;
            }
            var last = path.Tokens[^1];
            switch (Parent(path))
            {
                case JsonObject obj when obj.ContainsKey(last):
                    obj[last] = value;
                    break;
                case JsonArray array when TryIndex(last, out var index) && index < array.Count:
                    array[index] = value;
                    break;
                case JsonObject or JsonArray:
                    throw PatchException.Invalid($"replace operation does not apply: doc is missing key: {path.Text}: missing value");
                default:
                    throw PatchException.Invalid($"replace operation does not apply: doc is missing path: {path.Text}: missing value");
            }
        }

        /// <summary>Removes a value and returns it.</summary>
        private JsonNode? Take(string operation, JsonPointer path)
        {
            if (path.Tokens.Length == 0)
                throw PatchException.Invalid($"{operation} operation does not apply: the whole document cannot be removed");
            var last = path.Tokens[^1];
            JsonNode? value;
            switch (Parent(path))
            {
                case JsonObject obj when obj.TryGetPropertyValue(last, out value):
                    obj.Remove(last);
                    return value;
                case JsonArray array when TryIndex(last, out var index) && index < array.Count:
                    value = array[index];
                    array.RemoveAt(index);
                    return value;
                case JsonObject or JsonArray:
                    throw PatchException.Invalid($"error in {operation} for path: '{path.Text}': Unable to remove nonexistent key: {last}: missing value");
                default:
                    throw PatchException.Invalid($"{operation} operation does not apply: doc is missing path: \"{path.Text}\": missing value");
            }
        }

        private JsonNode? Find(string operation, JsonPointer path) => TryFind(path, out var value)
            ? value
            : throw PatchException.Invalid($"{operation} operation does not apply: doc is missing from path: \"{path.Text}\": missing value");

        private JsonNode? Parent(JsonPointer path) => TryWalk(path.Tokens.AsSpan(0, path.Tokens.Length - 1), out var parent) ? parent : null;

        private bool TryFind(JsonPointer path, out JsonNode? value) => TryWalk(path.Tokens, out value);

        private bool TryWalk(ReadOnlySpan<string> tokens, out JsonNode? value)
        {
            value = Root;
            foreach (var token in tokens)
            {
                if (value is JsonObject obj && obj.TryGetPropertyValue(token, out value))
                    continue;
                if (value is not JsonArray array || !TryIndex(token, out var index) || index >= array.Count)
                {
                    value = null;
                    return false;
                }
                value = array[index];
            }
            return true;
        }

        /// <summary>An array index as RFC 6901 has it: digits without a leading zero.</summary>
        private static bool TryIndex(string token, out int index) =>
            int.TryParse(token, NumberStyles.None, CultureInfo.InvariantCulture, out index) && (token.Length == 1 || token[0] != '0');

        private static int DepthOf(JsonNode? node)
        {
            var deepest = 0;
            if (node is JsonObject obj)
            {
                foreach (var (_, value) in obj)
                    deepest = Math.Max(deepest, DepthOf(value));
                return deepest + 1;
            }
            if (node is JsonArray array)
            {
                foreach (var value in array)
                    deepest = Math.Max(deepest, DepthOf(value));
                return deepest + 1;
            }
            return 0;
        }
    }
}
