using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Collects the types that a document refers to and writes them, with everything that they reach.</summary>
internal sealed class OpenApiSchemas(Utf8JsonWriter writer)
{
    private const string Root = "#/components/schemas/";
    private const string Meta = "io.k8s.apimachinery.pkg.apis.meta.v1.";
    private const string Extensions = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
    private const string Quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
    private const string IntOrString = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
    private const string RawExtension = "io.k8s.apimachinery.pkg.runtime.RawExtension";

    private readonly SortedSet<string> _pending = new(StringComparer.Ordinal);
    private readonly HashSet<string> _written = new(StringComparer.Ordinal);
    private readonly Dictionary<string, CustomType> _custom = new(StringComparer.Ordinal);

    /// <summary>Name of a kind's schema; null if the API has no such kind (a connect subresource whose body is a stream).</summary>
    public string? NameOf(string group, string version, string kind, JsonObject? customSchema)
    {
        if (customSchema is null)
            return SchemaCatalog.Find(group, version, kind)?.Name;
        var name = CustomName(group, version, kind);
        _custom.TryAdd(name, new CustomType(group, version, kind, customSchema));
        return name;
    }

    /// <summary>Name of the schema of a kind's lists; null if there are none.</summary>
    public string? ListNameOf(string group, string version, string kind, JsonObject? customSchema)
    {
        if (customSchema is null)
            return SchemaCatalog.Find(group, version, kind + "List")?.Name;
        var name = CustomName(group, version, kind + "List");
        _custom.TryAdd(name, new CustomType(group, version, kind + "List", null) { ItemName = CustomName(group, version, kind) });
        return name;
    }

    /// <summary>Writes the member `$ref` and remembers the type.</summary>
    public void WriteReference(string name)
    {
        writer.WriteString("$ref"u8, Root + name);
        Include(name);
    }

    /// <summary>Remembers a type that the document has to contain.</summary>
    public void Include(string name)
    {
        if (!_written.Contains(name))
            _pending.Add(name);
    }

    /// <summary>Writes the member `schemas` with every type that was referred to.</summary>
    public void Write()
    {
        writer.WriteStartObject("schemas"u8);
        while (_pending.Min is { } name)
        {
            _pending.Remove(name);
            _written.Add(name);
            writer.WriteStartObject(name);
            if (_custom.TryGetValue(name, out var custom))
                WriteCustom(custom);
            else if (SchemaCatalog.Type(name) is { } type && name != Meta + "Patch")
                WriteType(type);
            else
                WriteScalar(name);
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
    }

    public static void WriteKind(Utf8JsonWriter writer, string group, string version, string kind)
    {
        writer.WriteStartObject();
        writer.WriteString("group"u8, group);
        writer.WriteString("version"u8, version);
        writer.WriteString("kind"u8, kind);
        writer.WriteEndObject();
    }

    private void WriteType(TypeSchema type)
    {
        writer.WriteString("type"u8, "object"u8);
        if (type.FieldCount > 0)
        {
            writer.WriteStartObject("properties"u8);
            foreach (var field in type.Fields)
            {
                writer.WriteStartObject(field.JsonName);
                WriteField(field);
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        if (type.Fields.Any(static f => f.IsRequired))
        {
            writer.WriteStartArray("required"u8);
            foreach (var field in type.Fields)
            {
                if (field.IsRequired)
                    writer.WriteStringValue(field.JsonName);
            }
            writer.WriteEndArray();
        }
        if (type.IsAtomic)
            writer.WriteString("x-kubernetes-map-type"u8, "atomic"u8);
        if (type.IsKind)
            WriteKinds(type);
    }

    private void WriteKinds(TypeSchema type)
    {
        writer.WriteStartArray("x-kubernetes-group-version-kind"u8);
        if (type.Name is Meta + "DeleteOptions" or Meta + "WatchEvent")
        {
            // Every group version takes and gives these.
            foreach (var (group, version) in SchemaCatalog.Kinds.Select(static k => (k.Group, k.Version)).Distinct().OrderBy(static k => k.Group, StringComparer.Ordinal).ThenBy(static k => k.Version, StringComparer.Ordinal))
            {
                if (group != "meta.k8s.io")
                    WriteKind(writer, group, version, type.ShortName);
            }
        }
        else if (type.Name.StartsWith(Meta, StringComparison.Ordinal))
        {
            WriteKind(writer, "", "v1", type.ShortName);
        }
        else
        {
            WriteKind(writer, type.Group, type.Version, type.ShortName);
        }
        writer.WriteEndArray();
    }

    private void WriteField(FieldSchema field)
    {
        WriteValue(field.Type, WithDefault(field));
        if (field.DocumentedDefault is { } value)
        {
            writer.WritePropertyName("default"u8);
            writer.WriteRawValue(value);
        }
        if (field.PatchMerges || field.PatchReplaces || field.PatchRetainsKeys)
        {
            var strategy = (field.PatchMerges, field.PatchRetainsKeys) switch
            {
                (true, true) => "merge,retainKeys",
                (true, false) => "merge",
                (false, true) => "retainKeys",
                _ => "replace",
            };
            writer.WriteString("x-kubernetes-patch-strategy"u8, strategy);
        }
        if (field.PatchMergeKey is { } key)
            writer.WriteString("x-kubernetes-patch-merge-key"u8, key);
        if (field.ListType != ListType.None)
            writer.WriteString("x-kubernetes-list-type"u8, field.ListType switch { ListType.Set => "set"u8, ListType.Map => "map"u8, _ => "atomic"u8 });
        if (field.ListMapKeys.Count > 0)
        {
            writer.WriteStartArray("x-kubernetes-list-map-keys"u8);
            foreach (var listKey in field.ListMapKeys)
                writer.WriteStringValue(listKey);
            writer.WriteEndArray();
        }
        if (field.MapType is { } mapType)
            writer.WriteString("x-kubernetes-map-type"u8, mapType);
    }

    /// <summary>Whether the API documents the zero value as the default: an object by value, and a scalar that is always written.</summary>
    private static bool WithDefault(FieldSchema field) => field.DocumentedDefault is null && !field.IsPointer
        && (field.Type.Kind == ValueKind.Object || (!field.OmitsZero && field.ProtoNumber > 0));

    private void WriteValue(ValueType type, bool withDefault)
    {
        switch (type.Kind)
        {
            case ValueKind.String or ValueKind.Duration:
                Simple("string", null, withDefault ? "\"\"" : null);
                break;
            case ValueKind.Int32:
                Simple("integer", "int32", withDefault ? "0" : null);
                break;
            case ValueKind.Int64:
                Simple("integer", "int64", withDefault ? "0" : null);
                break;
            case ValueKind.Double:
                Simple("number", "double", withDefault ? "0" : null);
                break;
            case ValueKind.Bool:
                Simple("boolean", null, withDefault ? "false" : null);
                break;
            case ValueKind.Bytes:
                Simple("string", "byte", null);
                break;
            case ValueKind.List:
                writer.WriteString("type"u8, "array"u8);
                writer.WriteStartObject("items"u8);
                WriteValue(type.Element!, withDefault: true);
                writer.WriteEndObject();
                break;
            case ValueKind.Map:
                writer.WriteString("type"u8, "object"u8);
                writer.WriteStartObject("additionalProperties"u8);
                WriteValue(type.Element!, withDefault: true);
                writer.WriteEndObject();
                break;
            default:
                WriteObjectReference(type, withDefault && type.Kind == ValueKind.Object);
                break;
        }
    }

    private void WriteObjectReference(ValueType type, bool withDefault)
    {
        // A $ref stands alone; what is said beside it needs an allOf around it.
        writer.WriteStartArray("allOf"u8);
        writer.WriteStartObject();
        WriteReference(type.Kind switch
        {
            ValueKind.Quantity => Quantity,
            ValueKind.IntOrString => IntOrString,
            ValueKind.Time => Meta + "Time",
            ValueKind.MicroTime => Meta + "MicroTime",
            ValueKind.RawObject => RawExtension,
            ValueKind.FieldSet => Meta + "FieldsV1",
            ValueKind.AnyJson => Extensions + "JSON",
            ValueKind.SchemaOrArray => Extensions + "JSONSchemaPropsOrArray",
            ValueKind.SchemaOrBool => Extensions + "JSONSchemaPropsOrBool",
            ValueKind.SchemaOrStrings => Extensions + "JSONSchemaPropsOrStringArray",
            _ => type.TypeName!,
        });
        writer.WriteEndObject();
        writer.WriteEndArray();
        if (withDefault)
        {
            writer.WriteStartObject("default"u8);
            writer.WriteEndObject();
        }
    }

    private void Simple(string type, string? format, string? defaultJson)
    {
        writer.WriteString("type"u8, type);
        if (format is not null)
            writer.WriteString("format"u8, format);
        if (defaultJson is null)
            return;
        writer.WritePropertyName("default"u8);
        writer.WriteRawValue(defaultJson);
    }

    /// <summary>Types that are not objects in JSON, or any object at all.</summary>
    private void WriteScalar(string name)
    {
        switch (name)
        {
            case Quantity:
                OneOf("string", "number");
                break;
            case IntOrString:
                writer.WriteString("format"u8, "int-or-string"u8);
                OneOf("integer", "string");
                break;
            case Meta + "Time" or Meta + "MicroTime":
                Simple("string", "date-time", null);
                break;
            case RawExtension or Meta + "FieldsV1" or Meta + "Patch":
                writer.WriteString("type"u8, "object"u8);
                break;
        }
    }

    private void OneOf(string first, string second)
    {
        writer.WriteStartArray("oneOf"u8);
        foreach (var type in new[] { first, second })
        {
            writer.WriteStartObject();
            writer.WriteString("type"u8, type);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }

    /// <summary>A custom resource: its own schema, with the members that every object has.</summary>
    private void WriteCustom(CustomType type)
    {
        foreach (var (name, value) in type.Schema ?? [])
        {
            if (name is "properties" or "type" or "x-kubernetes-group-version-kind")
                continue;
            writer.WritePropertyName(name);
            WriteNode(value);
        }
        writer.WriteString("type"u8, "object"u8);
        writer.WriteStartObject("properties"u8);
        foreach (var (name, value) in type.Schema?["properties"] as JsonObject ?? [])
        {
            if (name is "kind" or "apiVersion" or "metadata")
                continue;
            writer.WritePropertyName(name);
            WriteNode(value);
        }
        foreach (var name in new[] { "apiVersion", "kind" })
        {
            writer.WriteStartObject(name);
            Simple("string", null, null);
            writer.WriteEndObject();
        }
        writer.WriteStartObject("metadata"u8);
        writer.WriteStartArray("allOf"u8);
        writer.WriteStartObject();
        WriteReference(Meta + (type.ItemName is null ? "ObjectMeta" : "ListMeta"));
        writer.WriteEndObject();
        writer.WriteEndArray();
        writer.WriteEndObject();
        if (type.ItemName is not null)
        {
            writer.WriteStartObject("items"u8);
            writer.WriteString("type"u8, "array"u8);
            writer.WriteStartObject("items"u8);
            WriteReference(type.ItemName);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
        writer.WriteStartArray("x-kubernetes-group-version-kind"u8);
        WriteKind(writer, type.Group, type.Version, type.Kind);
        writer.WriteEndArray();
    }

    private void WriteNode(JsonNode? node)
    {
        if (node is null)
            writer.WriteNullValue();
        else
            node.WriteTo(writer);
    }

    private static string CustomName(string group, string version, string kind) =>
        $"{string.Join('.', group.Split('.').Reverse())}.{version}.{kind}";

    private sealed record CustomType(string Group, string Version, string Kind, JsonObject? Schema)
    {
        public string? ItemName { get; init; }
    }
}
