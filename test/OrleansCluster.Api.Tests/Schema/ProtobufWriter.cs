using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.Schema;

/// <summary>Encodes objects as Go clients do, from the same table as the decoder, so that the tests can send any kind.</summary>
internal static class ProtobufWriter
{
    public static byte[] Envelope(JsonObject obj, TypeSchema type)
    {
        var meta = new List<byte>();
        Bytes(meta, 1, Encoding.UTF8.GetBytes((string)obj["apiVersion"]!));
        Bytes(meta, 2, Encoding.UTF8.GetBytes((string)obj["kind"]!));
        var body = new List<byte>("k8s\0"u8.ToArray());
        Bytes(body, 1, [.. meta]);
        Bytes(body, 2, [.. Message(obj, type)]);
        Bytes(body, 3, []);
        Bytes(body, 4, []);
        return [.. body];
    }

    public static List<byte> Message(JsonObject obj, TypeSchema type)
    {
        var output = new List<byte>();
        for (var number = 1; number < 64; number++)
        {
            if (!type.TryGetProto(number, out var field, out var inlined))
                continue;
            if (inlined is not null)
            {
                Bytes(output, number, [.. Message(obj, inlined.Type)]);
                continue;
            }
            // Values that are not pointers are always sent, even zero.
            var value = obj[field!.JsonName] ?? (field.IsPointer ? null : Zero(field.Type));
            if (value is not null)
                Field(output, number, value, field.Type);
        }
        return output;
    }

    private static JsonNode? Zero(ValueType type) => type.Kind switch
    {
        ValueKind.String or ValueKind.Bytes => "",
        ValueKind.Int32 or ValueKind.Int64 or ValueKind.Double or ValueKind.IntOrString => 0,
        ValueKind.Bool => false,
        ValueKind.Object => new JsonObject(),
        ValueKind.Time or ValueKind.MicroTime => "",
        _ => null,
    };

    private static void Field(List<byte> output, int number, JsonNode value, ValueType type)
    {
        switch (type.Kind)
        {
            case ValueKind.List:
                foreach (var item in (JsonArray)value)
                    Field(output, number, item!, type.Element!);
                break;
            case ValueKind.Map:
                foreach (var (key, item) in (JsonObject)value)
                {
                    var entry = new List<byte>();
                    Bytes(entry, 1, Encoding.UTF8.GetBytes(key));
                    if (type.Element!.Kind == ValueKind.List)
                        Bytes(entry, 2, [.. Texts((JsonArray)item!)]);
                    else
                        Field(entry, 2, item!, type.Element);
                    Bytes(output, number, [.. entry]);
                }
                break;
            case ValueKind.String:
                Bytes(output, number, Encoding.UTF8.GetBytes((string)value!));
                break;
            case ValueKind.Bytes:
                Bytes(output, number, Convert.FromBase64String((string)value!));
                break;
            case ValueKind.Int32 or ValueKind.Int64:
                Varint(output, number, long.Parse(value.ToJsonString(), CultureInfo.InvariantCulture));
                break;
            case ValueKind.Bool:
                Varint(output, number, (bool)value ? 1 : 0);
                break;
            case ValueKind.Double:
                Tag(output, number, 1);
                var fixedBytes = new byte[8];
                BinaryPrimitives.WriteDoubleLittleEndian(fixedBytes, double.Parse(value.ToJsonString(), CultureInfo.InvariantCulture));
                output.AddRange(fixedBytes);
                break;
            case ValueKind.Object:
                Bytes(output, number, [.. Message((JsonObject)value, type.Schema!)]);
                break;
            default:
                Bytes(output, number, [.. Special(value, type)]);
                break;
        }
    }

    private static List<byte> Special(JsonNode value, ValueType type)
    {
        var output = new List<byte>();
        switch (type.Kind)
        {
            case ValueKind.Quantity:
                Bytes(output, 1, Encoding.UTF8.GetBytes((string)value!));
                break;
            case ValueKind.Time or ValueKind.MicroTime when (string)value! is { Length: > 0 } text:
                var time = DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);
                Varint(output, 1, time.ToUnixTimeSeconds());
                Varint(output, 2, time.Ticks % TimeSpan.TicksPerSecond * 100);
                break;
            case ValueKind.IntOrString:
                var isText = value.GetValueKind() == System.Text.Json.JsonValueKind.String;
                Varint(output, 1, isText ? 1 : 0);
                Varint(output, 2, isText ? 0 : int.Parse(value.ToJsonString(), CultureInfo.InvariantCulture));
                Bytes(output, 3, Encoding.UTF8.GetBytes(isText ? (string)value! : ""));
                break;
            case ValueKind.RawObject or ValueKind.FieldSet or ValueKind.AnyJson:
                Bytes(output, 1, CanonicalJson.SerializeNode(value));
                break;
            case ValueKind.SchemaOrBool when value is JsonValue:
                Varint(output, 1, (bool)value ? 1 : 0);
                break;
            case ValueKind.SchemaOrBool:
                Bytes(output, 2, [.. Message((JsonObject)value, SchemaProps)]);
                break;
            case ValueKind.SchemaOrArray or ValueKind.SchemaOrStrings when value is JsonObject schema:
                Bytes(output, 1, [.. Message(schema, SchemaProps)]);
                break;
            case ValueKind.SchemaOrArray:
                foreach (var item in (JsonArray)value)
                    Bytes(output, 2, [.. Message((JsonObject)item!, SchemaProps)]);
                break;
            case ValueKind.SchemaOrStrings:
                foreach (var item in (JsonArray)value)
                    Bytes(output, 2, Encoding.UTF8.GetBytes((string)item!));
                break;
        }
        return output;
    }

    private static TypeSchema SchemaProps => SchemaCatalog.Type("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")!;

    private static List<byte> Texts(JsonArray items)
    {
        var output = new List<byte>();
        foreach (var item in items)
            Bytes(output, 1, Encoding.UTF8.GetBytes((string)item!));
        return output;
    }

    private static void Bytes(List<byte> output, int number, byte[] value)
    {
        Tag(output, number, 2);
        Raw(output, (ulong)value.Length);
        output.AddRange(value);
    }

    private static void Varint(List<byte> output, int number, long value)
    {
        Tag(output, number, 0);
        Raw(output, (ulong)value);
    }

    private static void Tag(List<byte> output, int number, int wire) => Raw(output, (ulong)((number << 3) | wire));

    private static void Raw(List<byte> output, ulong value)
    {
        for (; value >= 0x80; value >>= 7)
            output.Add((byte)(value | 0x80));
        output.Add((byte)value);
    }
}
