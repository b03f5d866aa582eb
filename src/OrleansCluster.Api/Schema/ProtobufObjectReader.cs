using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// The protobuf half of <see cref="ObjectDecoder"/>, driven by the field numbers in the schema table. Rules (wire contract, section 6):
/// scalars that are not pointers are always sent and their zeros mean nothing, so they are dropped; pointers keep them; inlined messages
/// become members of the outer object; unknown field numbers are skipped.
/// </summary>
internal struct ProtobufObjectReader
{
    // A real object nests about 20 messages deep, a CRD's schema about three per level.
    private const int MaxDepth = 128;

    private int _values;

    /// <summary>Reads `k8s\0` and the envelope {1: {1: apiVersion, 2: kind}, 2: object}.</summary>
    public JsonObject ReadEnvelope(ReadOnlySpan<byte> body, TypeSchema? fallback)
    {
        if (!body.StartsWith("k8s\0"u8))
            throw Bad("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
        ReadOnlySpan<byte> raw = default;
        string apiVersion = "", kind = "";
        for (var wire = new Wire(body[4..]); wire.Next();)
        {
            if (wire.Number == 1)
            {
                for (var meta = new Wire(wire.Bytes()); meta.Next();)
                {
                    if (meta.Number == 1)
                        apiVersion = Text(meta.Bytes());
                    else if (meta.Number == 2)
                        kind = Text(meta.Bytes());
                    else
                        meta.Skip();
                }
            }
            else if (wire.Number == 2)
            {
                raw = wire.Bytes();
            }
            else
            {
                wire.Skip();
            }
        }
        var slash = apiVersion.IndexOf('/', StringComparison.Ordinal);
        var type = kind.Length == 0 ? fallback : SchemaCatalog.Find(slash < 0 ? "" : apiVersion[..slash], apiVersion[(slash + 1)..], kind);
        if (type is null)
            throw new DecodeException(DecodeErrorKind.UnknownKind, $"no kind \"{kind}\" is registered for version \"{apiVersion}\"");
        var obj = ReadMessage(raw, type, 0);
        var result = new JsonObject();
        if (type.IsKind)
        {
            if (kind.Length > 0)
                result.Add("kind", kind);
            if (apiVersion.Length > 0)
                result.Add("apiVersion", apiVersion);
            if (type.Field("metadata"u8) is not null && !obj.ContainsKey("metadata"))
                result.Add("metadata", new JsonObject());
        }
        foreach (var (name, value) in obj.ToArray())
        {
            obj.Remove(name);
            result[name] = value;
        }
        return result;
    }

    private JsonObject ReadMessage(ReadOnlySpan<byte> bytes, TypeSchema type, int depth)
    {
        var slots = new JsonNode?[type.FieldCount];
        ReadInto(bytes, type, slots, depth);
        var result = new JsonObject();
        for (var i = 0; i < slots.Length; i++)
        {
            if (slots[i] is { } value)
                result.Add(type.FieldAt(i).JsonName, type.FieldAt(i).Type.Kind == ValueKind.Map ? JsonObjectReader.Sort((JsonObject)value) : value);
        }
        return result;
    }

    private void ReadInto(ReadOnlySpan<byte> bytes, TypeSchema type, Span<JsonNode?> slots, int depth)
    {
        if (depth > MaxDepth)
            throw Bad("exceeded max depth");
        for (var wire = new Wire(bytes); wire.Next();)
        {
            if (!type.TryGetProto(wire.Number, out var field, out var inlined))
                wire.Skip();
            else if (inlined is not null)
                ReadInto(wire.Bytes(), inlined.Type, slots.Slice(inlined.Offset, inlined.Type.FieldCount), depth + 1);
            else
                ReadField(ref wire, field!, ref slots[field!.Ordinal], depth);
        }
    }

    private void ReadField(ref Wire wire, FieldSchema field, ref JsonNode? slot, int depth)
    {
        CountValue();
        switch (field.Type.Kind)
        {
            case ValueKind.List:
                var list = (JsonArray)(slot ??= new JsonArray());
                var element = field.Type.Element!;
                if (IsVarint(element.Kind) && wire.Type == 2)
                {
                    for (var packed = new Wire(wire.Bytes()); !packed.AtEnd;)
                    {
                        CountValue();
                        list.Add(Scalar(element.Kind, packed.Varint()));
                    }
                }
                else
                {
                    list.Add(ReadValue(ref wire, element, keepsZero: true, depth) ?? JsonObjectReader.ZeroOf(element));
                }
                break;
            case ValueKind.Map:
                var key = "";
                JsonNode? value = null;
                for (var entry = new Wire(wire.Bytes()); entry.Next();)
                {
                    if (entry.Number == 1)
                        key = Text(entry.Bytes());
                    else if (entry.Number == 2)
                        value = ReadMapValue(ref entry, field.Type.Element!, depth);
                    else
                        entry.Skip();
                }
                ((JsonObject)(slot ??= new JsonObject()))[key] = value ?? JsonObjectReader.ZeroOf(field.Type.Element!);
                break;
            default:
                slot = ReadValue(ref wire, field.Type, field.IsPointer, depth);
                break;
        }
    }

    private JsonNode? ReadMapValue(ref Wire wire, ValueType type, int depth)
    {
        if (type.Kind != ValueKind.List)
            return ReadValue(ref wire, type, keepsZero: true, depth);
        // Lists as map values are messages of one repeated text (ExtraValue).
        var list = new JsonArray();
        for (var items = new Wire(wire.Bytes()); items.Next();)
        {
            CountValue();
            if (items.Number == 1)
                list.Add((JsonNode)JsonValue.Create(Text(items.Bytes())));
            else
                items.Skip();
        }
        return list;
    }

    private JsonNode? ReadValue(ref Wire wire, ValueType type, bool keepsZero, int depth)
    {
        switch (type.Kind)
        {
            case ValueKind.String:
                var text = Text(wire.Bytes());
                return keepsZero || text.Length > 0 ? JsonValue.Create(text) : null;
            case ValueKind.Bytes:
                var bytes = wire.Bytes();
                return keepsZero || bytes.Length > 0 ? JsonValue.Create(Convert.ToBase64String(bytes)) : null;
            case ValueKind.Int32 or ValueKind.Int64 or ValueKind.Bool:
                var number = wire.Varint();
                return keepsZero || number != 0 ? Scalar(type.Kind, number) : null;
            case ValueKind.Double:
                var real = BitConverter.Int64BitsToDouble((long)wire.Fixed64());
                if (!double.IsFinite(real))
                    throw Bad("a number is not finite");
                return keepsZero || real != 0 ? JsonNumber.Create(real) : null;
            case ValueKind.Object:
                return ReadMessage(wire.Bytes(), type.Schema!, depth + 1);
            case ValueKind.Quantity:
                var amount = "";
                for (var q = new Wire(wire.Bytes()); q.Next();)
                {
                    if (q.Number == 1)
                        amount = Text(q.Bytes());
                    else
                        q.Skip();
                }
                // An unset quantity is sent as "0" or as nothing; both mean zero.
                return Quantity.TryParse(amount.Length == 0 ? "0" : amount, out var quantity, out var error)
                    ? JsonValue.Create(quantity.ToString())
                    : throw new DecodeException(DecodeErrorKind.Type, error);
            case ValueKind.Time or ValueKind.MicroTime:
                return ReadTime(wire.Bytes(), type.Kind);
            case ValueKind.Duration:
                var (nanoseconds, _, _) = ReadNumbers(wire.Bytes());
                return keepsZero || nanoseconds != 0 ? JsonValue.Create(KubernetesTime.FormatDuration(nanoseconds)) : null;
            case ValueKind.IntOrString:
                var (isText, port, name) = ReadNumbers(wire.Bytes());
                if (isText != 0)
                    return keepsZero || name.Length > 0 ? JsonValue.Create(name) : null;
                return keepsZero || port != 0 ? JsonNumber.Create((int)port) : null;
            case ValueKind.List:
                throw Bad("a list inside a list");
            case ValueKind.SchemaOrArray or ValueKind.SchemaOrBool or ValueKind.SchemaOrStrings:
                return ReadSchemaUnion(wire.Bytes(), type.Kind, depth);
            default:
                return ReadEmbeddedJson(wire.Bytes());
        }
    }

    /// <summary>Time {1: seconds, 2: nanoseconds}; the empty message is no time.</summary>
    private static JsonValue? ReadTime(ReadOnlySpan<byte> message, ValueKind kind)
    {
        var (seconds, nanoseconds, _) = ReadNumbers(message);
        if (message.Length == 0 || (seconds == 0 && nanoseconds == 0))
            return null;
        // The years 1 to 9999, which is what the text form can hold.
        if (seconds is < -62_135_596_800 or > 253_402_300_799 || nanoseconds is < 0 or > 999_999_999)
            throw new DecodeException(DecodeErrorKind.Type, "a time is out of range");
        var time = DateTimeOffset.FromUnixTimeSeconds(seconds).AddTicks(nanoseconds / 100);
        return JsonValue.Create(kind == ValueKind.Time ? KubernetesTime.Format(time) : KubernetesTime.FormatMicro(time));
    }

    /// <summary>Reads a message whose fields 1 and 2 are integers and whose field 3 is text; what is absent is zero.</summary>
    private static (long First, long Second, string Third) ReadNumbers(ReadOnlySpan<byte> message)
    {
        long first = 0, second = 0;
        var third = "";
        for (var wire = new Wire(message); wire.Next();)
        {
            if (wire.Number == 1)
                first = wire.Varint();
            else if (wire.Number == 2)
                second = wire.Varint();
            else if (wire.Number == 3)
                third = Text(wire.Bytes());
            else
                wire.Skip();
        }
        return (first, second, third);
    }

    private JsonNode ReadSchemaUnion(ReadOnlySpan<byte> message, ValueKind kind, int depth)
    {
        // SchemaOrBool {1: bool, 2: schema}; the others {1: schema, 2: repeated schema or text}.
        JsonNode? schema = null;
        JsonArray? list = null;
        var allowed = false;
        for (var wire = new Wire(message); wire.Next();)
        {
            CountValue();
            if (wire.Number == (kind == ValueKind.SchemaOrBool ? 2 : 1))
                schema = ReadMessage(wire.Bytes(), SchemaProps, depth + 1);
            else if (kind == ValueKind.SchemaOrBool && wire.Number == 1)
                allowed = wire.Varint() != 0;
            else if (kind == ValueKind.SchemaOrArray && wire.Number == 2)
                (list ??= []).Add((JsonNode)ReadMessage(wire.Bytes(), SchemaProps, depth + 1));
            else if (kind == ValueKind.SchemaOrStrings && wire.Number == 2)
                (list ??= []).Add((JsonNode)JsonValue.Create(Text(wire.Bytes())));
            else
                wire.Skip();
        }
        return schema ?? (kind == ValueKind.SchemaOrBool ? JsonValue.Create(allowed) : list ?? new JsonArray());
    }

    /// <summary>RawExtension, FieldsV1 and JSON are messages {1: bytes of JSON}.</summary>
    private JsonNode? ReadEmbeddedJson(ReadOnlySpan<byte> message)
    {
        ReadOnlySpan<byte> json = default;
        for (var wire = new Wire(message); wire.Next();)
        {
            if (wire.Number == 1)
                json = wire.Bytes();
            else
                wire.Skip();
        }
        if (json.Length == 0)
            return null;
        return ObjectDecoder.DecodeAny(json, ref _values);
    }

    private static TypeSchema SchemaProps =>
        SchemaCatalog.Type("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")!;

    private static bool IsVarint(ValueKind kind) => kind is ValueKind.Int32 or ValueKind.Int64 or ValueKind.Bool;

    private static JsonNode Scalar(ValueKind kind, long number) => kind switch
    {
        ValueKind.Bool => JsonValue.Create(number != 0),
        ValueKind.Int32 => JsonNumber.Create((int)number),
        _ => JsonNumber.Create(number),
    };

    private static string Text(ReadOnlySpan<byte> utf8)
    {
        if (!System.Text.Unicode.Utf8.IsValid(utf8))
            throw Bad("invalid UTF-8");
        return Encoding.UTF8.GetString(utf8);
    }

    private void CountValue()
    {
        if (++_values > ObjectDecoder.MaxValues)
            throw Bad("the object has too many values");
    }

    private static DecodeException Bad(string what) => new(DecodeErrorKind.Syntax, "unable to decode protobuf: " + what);

    /// <summary>Walks the fields of one message. Every value must be taken or skipped before the next field is asked for.</summary>
    private ref struct Wire(ReadOnlySpan<byte> bytes)
    {
        private readonly ReadOnlySpan<byte> _bytes = bytes;
        private int _at;

        public int Number { get; private set; }

        public int Type { get; private set; }

        public readonly bool AtEnd => _at >= _bytes.Length;

        public bool Next()
        {
            if (AtEnd)
                return false;
            var tag = (ulong)RawVarint();
            Number = (int)Math.Min(tag >> 3, int.MaxValue);
            Type = (int)(tag & 7);
            if (Number == 0)
                throw Bad("illegal tag 0");
            return true;
        }

        public ReadOnlySpan<byte> Bytes()
        {
            if (Type != 2)
                throw Bad($"wrong wire type {Type} for field {Number}");
            var length = (ulong)RawVarint();
            if (length > (ulong)(_bytes.Length - _at))
                throw Bad("unexpected EOF");
            var value = _bytes.Slice(_at, (int)length);
            _at += (int)length;
            return value;
        }

        /// <summary>A varint value; inside a packed list there is no tag and so no wire type to check.</summary>
        public long Varint()
        {
            if (Type != 0)
                throw Bad($"wrong wire type {Type} for field {Number}");
            return RawVarint();
        }

        public ulong Fixed64()
        {
            if (Type != 1)
                throw Bad($"wrong wire type {Type} for field {Number}");
            return BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
        }

        public void Skip()
        {
            switch (Type)
            {
                case 0:
                    RawVarint();
                    break;
                case 1:
                    Take(8);
                    break;
                case 2:
                    Bytes();
                    break;
                case 5:
                    Take(4);
                    break;
                default:
                    throw Bad($"illegal wire type {Type}");
            }
        }

        private ReadOnlySpan<byte> Take(int length)
        {
            if (length > _bytes.Length - _at)
                throw Bad("unexpected EOF");
            var value = _bytes.Slice(_at, length);
            _at += length;
            return value;
        }

        private long RawVarint()
        {
            ulong value = 0;
            for (var shift = 0; shift < 64; shift += 7)
            {
                if (AtEnd)
                    throw Bad("unexpected EOF");
                var b = _bytes[_at++];
                value |= (ulong)(b & 0x7f) << shift;
                if (b < 0x80)
                    return (long)value;
            }
            throw Bad("integer overflow");
        }
    }
}
