using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// The JSON half of <see cref="ObjectDecoder"/>. Values of an object are gathered in slots, one per field of its type, and added in the
/// type's order at the end; slots of nested objects lie behind each other in one rented array.
/// </summary>
internal ref partial struct JsonObjectReader
{
    private const int MaxStrictErrors = 100;

    /// <summary>Repeated reports cost the making of their text, so there is an end to them even if none is new.</summary>
    private const int MaxReports = 2_000;

    private readonly ReadOnlySpan<byte> _input;
    private Utf8JsonReader _reader;
    private JsonNode?[] _slots;
    private int _top;
    private PathStep[] _path;
    private int _pathLength;
    private TypeSchema? _owner;
    private int _values;
    private List<string>? _strict;
    private int _reports;

    public JsonObjectReader(ReadOnlySpan<byte> utf8, int values = 0)
    {
        _input = utf8;
        _values = values;
        _reader = new Utf8JsonReader(utf8, new JsonReaderOptions { MaxDepth = ObjectDecoder.MaxDepth });
        _slots = ArrayPool<JsonNode?>.Shared.Rent(256);
        _path = ArrayPool<PathStep>.Shared.Rent(32);
    }

    public readonly IReadOnlyList<string> StrictErrors => _strict ?? (IReadOnlyList<string>)[];

    public readonly void Release()
    {
        ArrayPool<JsonNode?>.Shared.Return(_slots, clearArray: true);
        ArrayPool<PathStep>.Shared.Return(_path, clearArray: true);
    }

    public JsonObject ReadRoot(TypeSchema type)
    {
        _reader.Read();
        if (_reader.TokenType != JsonTokenType.StartObject)
            throw new DecodeException(DecodeErrorKind.Syntax, $"json: cannot unmarshal {TokenName()} into Go value of type struct");
        var root = ReadObject(type);
        // Anything but white space behind the object makes this throw.
        _reader.Read();
        if (type.IsKind && type.Field("metadata"u8) is { Ordinal: var ordinal } && !root.ContainsKey("metadata"))
        {
            var before = 0;
            for (var i = 0; i < ordinal; i++)
                before += root.ContainsKey(type.FieldAt(i).JsonName) ? 1 : 0;
            root.Insert(before, "metadata", new JsonObject());
        }
        return root;
    }

    /// <summary>Values read so far.</summary>
    public readonly int Values => _values;

    /// <summary>Reads one JSON value of any type; nothing may follow it.</summary>
    public JsonNode? ReadAny()
    {
        _reader.Read();
        var value = ReadRaw();
        _reader.Read();
        return value;
    }

    private JsonObject ReadObject(TypeSchema type)
    {
        var outer = _owner;
        _owner = type;
        var start = _top;
        var count = type.FieldCount;
        Reserve(count);
        ulong seenLow = 0, seenHigh = 0;
        JsonObject? unknown = null;
        while (_reader.Read() && _reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = _reader.ValueIsEscaped ? type.Field(_reader.GetString()!) : type.Field(_reader.ValueSpan);
            if (field is null)
            {
                if (type.KeepsUnknownFields)
                    ReadUnknown(unknown ??= new JsonObject());
                else
                    SkipUnknown();
                continue;
            }
            var ordinal = field.Ordinal;
            ref var seen = ref ordinal < 64 ? ref seenLow : ref seenHigh;
            Push(field.JsonName, isField: true);
            if ((seen >> ordinal & 1) != 0)
                Report("duplicate");
            seen |= 1ul << ordinal;
            _reader.Read();
            _slots[start + ordinal] = ReadValue(field.Type, field.OmitsZero);
            _pathLength--;
        }
        var result = new JsonObject();
        for (var i = 0; i < count; i++)
        {
            if (_slots[start + i] is { } value)
                result.Add(type.FieldAt(i).JsonName, value);
        }
        if (unknown is not null)
            MoveMembers(unknown, result);
        _top = start;
        _owner = outer;
        return result;
    }

    /// <summary>Reads the value at the current token; null stands for "no value".</summary>
    private JsonNode? ReadValue(ValueType type, bool omitsZero)
    {
        if (++_values > ObjectDecoder.MaxValues)
            throw new DecodeException(DecodeErrorKind.Syntax, "the object has too many values");
        if (_reader.TokenType == JsonTokenType.Null)
            return null;
        switch (type.Kind)
        {
            case ValueKind.String:
                if (_reader.TokenType != JsonTokenType.String)
                    throw Mismatch(type);
                return omitsZero && _reader.ValueSpan.Length == 0 ? null : JsonValue.Create(_reader.GetString());
            case ValueKind.Int32:
            case ValueKind.Int64:
                return ReadInteger(type, omitsZero);
            case ValueKind.Bool:
                if (_reader.TokenType is not (JsonTokenType.True or JsonTokenType.False))
                    throw Mismatch(type);
                return omitsZero && _reader.TokenType == JsonTokenType.False ? null : JsonValue.Create(_reader.TokenType == JsonTokenType.True);
            case ValueKind.Double:
                return ReadDouble(type, omitsZero);
            case ValueKind.Object:
                if (_reader.TokenType != JsonTokenType.StartObject)
                    throw Mismatch(type);
                return ReadObject(type.Schema!);
            case ValueKind.List:
                return ReadList(type, omitsZero);
            case ValueKind.Map:
                return ReadMap(type, omitsZero);
            case ValueKind.Quantity:
                return ReadQuantity();
            case ValueKind.IntOrString:
                return ReadIntOrString(omitsZero);
            case ValueKind.Time:
            case ValueKind.MicroTime:
                return ReadTime(type);
            case ValueKind.Duration:
                return ReadDuration(type, omitsZero);
            case ValueKind.Bytes:
                return ReadBytes(type, omitsZero);
            case ValueKind.SchemaOrArray:
            case ValueKind.SchemaOrBool:
            case ValueKind.SchemaOrStrings:
                return ReadSchemaUnion(type);
            default:
                return ReadRaw();
        }
    }

    private JsonArray? ReadList(ValueType type, bool omitsZero)
    {
        if (_reader.TokenType != JsonTokenType.StartArray)
            throw Mismatch(type);
        var list = new JsonArray();
        var element = type.Element!;
        Push("", isField: false);
        var at = _pathLength - 1;
        _path[at].Index = 0;
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            list.Add(ReadValue(element, omitsZero: false) ?? ZeroOf(element));
            _path[at].Index++;
        }
        _pathLength--;
        return omitsZero && list.Count == 0 ? null : list;
    }

    private JsonObject? ReadMap(ValueType type, bool omitsZero)
    {
        if (_reader.TokenType != JsonTokenType.StartObject)
            throw Mismatch(type);
        var map = new JsonObject();
        var element = type.Element!;
        var sorted = true;
        string? previous = null;
        while (_reader.Read() && _reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = _reader.GetString()!;
            sorted &= previous is null || string.CompareOrdinal(previous, key) < 0;
            previous = key;
            Push(key, isField: false);
            _reader.Read();
            AddOrReport(map, key, ReadValue(element, omitsZero: false) ?? ZeroOf(element));
            _pathLength--;
        }
        if (omitsZero && map.Count == 0)
            return null;
        return sorted ? map : Sort(map);
    }

    private JsonNode ReadSchemaUnion(ValueType type)
    {
        switch (_reader.TokenType, type.Kind)
        {
            case (JsonTokenType.StartObject, _):
                return ReadObject(SchemaProps);
            case (JsonTokenType.True or JsonTokenType.False, ValueKind.SchemaOrBool):
                return JsonValue.Create(_reader.TokenType == JsonTokenType.True);
            case (JsonTokenType.StartArray, ValueKind.SchemaOrArray):
                return ReadList(SchemaPropsList, omitsZero: false)!;
            case (JsonTokenType.StartArray, ValueKind.SchemaOrStrings):
                return ReadList(TextList, omitsZero: false)!;
            default:
                throw Mismatch(type);
        }
    }

    /// <summary>Reads a value of any type as it came. A JSON null is a null node.</summary>
    private JsonNode? ReadRaw()
    {
        switch (_reader.TokenType)
        {
            case JsonTokenType.String:
                return JsonValue.Create(_reader.GetString());
            case JsonTokenType.Number:
                if (_reader.TryGetInt64(out var integer))
                    return JsonNumber.Create(integer);
                // What no receiver could hold is refused here, as the API's own decoder does.
                if (!_reader.TryGetDouble(out var number) || !double.IsFinite(number))
                    throw new DecodeException(DecodeErrorKind.Type, $"json: cannot unmarshal number {Shorten(_reader.ValueSpan)} into Go value of type float64");
                return JsonNumber.Read(ref _reader);
            case JsonTokenType.True or JsonTokenType.False:
                return JsonValue.Create(_reader.TokenType == JsonTokenType.True);
            case JsonTokenType.StartArray:
                var list = new JsonArray();
                while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
                {
                    CountValue();
                    list.Add(ReadRaw());
                }
                return list;
            case JsonTokenType.StartObject:
                var obj = new JsonObject();
                while (_reader.Read() && _reader.TokenType == JsonTokenType.PropertyName)
                    ReadUnknown(obj);
                return obj;
            default:
                return null;
        }
    }

    private void ReadUnknown(JsonObject target)
    {
        var name = _reader.GetString()!;
        CountValue();
        Push(name, isField: false);
        _reader.Read();
        AddOrReport(target, name, ReadRaw());
        _pathLength--;
    }

    private void SkipUnknown()
    {
        // The text is made only where it will be kept.
        if (_reports < MaxReports && (_strict is null || _strict.Count < MaxStrictErrors))
        {
            Push(_reader.GetString()!, isField: false);
            Report("unknown");
            _pathLength--;
        }
        _reader.Read();
        _reader.Skip();
    }

    private void AddOrReport(JsonObject target, string name, JsonNode? value)
    {
        if (target.TryAdd(name, value))
            return;
        Report("duplicate");
        target[name] = value;
    }

    private void Report(string what)
    {
        _strict ??= [];
        if (_strict.Count >= MaxStrictErrors || ++_reports > MaxReports)
            return;
        var text = DecodeResult.Shorten($"{what} field \"{PathText()}\"");
        if (!_strict.Contains(text))
            _strict.Add(text);
    }

    private void CountValue()
    {
        if (++_values > ObjectDecoder.MaxValues)
            throw new DecodeException(DecodeErrorKind.Syntax, "the object has too many values");
    }

    private void Reserve(int count)
    {
        var needed = _top + count;
        if (needed > _slots.Length)
        {
            var larger = ArrayPool<JsonNode?>.Shared.Rent(needed * 2);
            Array.Copy(_slots, larger, _top);
            ArrayPool<JsonNode?>.Shared.Return(_slots, clearArray: true);
            _slots = larger;
        }
        Array.Clear(_slots, _top, count);
        _top = needed;
    }

    private void Push(string name, bool isField)
    {
        if (_pathLength == _path.Length)
        {
            var larger = ArrayPool<PathStep>.Shared.Rent(_path.Length * 2);
            Array.Copy(_path, larger, _pathLength);
            ArrayPool<PathStep>.Shared.Return(_path, clearArray: true);
            _path = larger;
        }
        _path[_pathLength++] = new PathStep { Name = name, Index = -1, IsField = isField };
    }

    private static TypeSchema SchemaProps => SchemaPropsType.Schema!;

    private static readonly ValueType SchemaPropsType =
        new(SchemaCatalog.BuiltIn, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");

    private static readonly ValueType SchemaPropsList = new(ValueKind.List, SchemaPropsType);

    private static readonly ValueType TextList = new(ValueKind.List, new ValueType(ValueKind.String));

    internal static JsonNode? ZeroOf(ValueType type) => type.Kind switch
    {
        ValueKind.String or ValueKind.Bytes => JsonValue.Create(""),
        ValueKind.Int32 or ValueKind.Int64 or ValueKind.Double or ValueKind.IntOrString => JsonNumber.Create(0L),
        ValueKind.Bool => JsonValue.Create(false),
        ValueKind.Quantity => JsonValue.Create("0"),
        ValueKind.Object or ValueKind.Map => new JsonObject(),
        ValueKind.List => new JsonArray(),
        _ => null,
    };

    /// <summary>Returns the members ordered by name, bytewise; the argument is emptied.</summary>
    internal static JsonObject Sort(JsonObject map)
    {
        var members = map.ToArray();
        map.Clear();
        Array.Sort(members, static (a, b) => string.CompareOrdinal(a.Key, b.Key));
        foreach (var (name, value) in members)
            map.Add(name, value);
        return map;
    }

    private static void MoveMembers(JsonObject from, JsonObject to)
    {
        var members = from.ToArray();
        from.Clear();
        foreach (var (name, value) in members)
            to.Add(name, value);
    }

    private struct PathStep
    {
        public string Name;
        public int Index;
        public bool IsField;
    }
}
