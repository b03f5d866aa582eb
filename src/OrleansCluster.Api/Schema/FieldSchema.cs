namespace OrleansCluster.Api;

/// <summary>How a value looks in JSON and on the protobuf wire.</summary>
public enum ValueKind : byte
{
    /// <summary>Text.</summary>
    String,

    /// <summary>32-bit integer.</summary>
    Int32,

    /// <summary>64-bit integer, a plain number in JSON.</summary>
    Int64,

    /// <summary>Boolean.</summary>
    Bool,

    /// <summary>64-bit floating point.</summary>
    Double,

    /// <summary>Bytes, standard base64 in JSON.</summary>
    Bytes,

    /// <summary>Resource quantity; see <see cref="OrleansCluster.Api.Quantity"/>.</summary>
    Quantity,

    /// <summary>Integer or string, kept as it came.</summary>
    IntOrString,

    /// <summary>RFC 3339 time in whole seconds, UTC.</summary>
    Time,

    /// <summary>RFC 3339 time with six fractional digits, UTC.</summary>
    MicroTime,

    /// <summary>Duration in Go's spelling, e.g. `1m30s`.</summary>
    Duration,

    /// <summary>Any object, kept as it came (`RawExtension`).</summary>
    RawObject,

    /// <summary>Set of field paths, kept as it came (`FieldsV1`).</summary>
    FieldSet,

    /// <summary>Any JSON value, kept as it came.</summary>
    AnyJson,

    /// <summary>A JSON schema or a list of them.</summary>
    SchemaOrArray,

    /// <summary>A JSON schema or a boolean.</summary>
    SchemaOrBool,

    /// <summary>A JSON schema or a list of property names.</summary>
    SchemaOrStrings,

    /// <summary>An object of a known type.</summary>
    Object,

    /// <summary>A list.</summary>
    List,

    /// <summary>A map with string keys.</summary>
    Map,
}

/// <summary>The type of a value. Immutable; object types are looked up when first asked for.</summary>
public sealed class ValueType
{
    private readonly SchemaCatalog? _catalog;
    private readonly string? _typeName;
    private TypeSchema? _schema;

    internal ValueType(ValueKind kind, ValueType? element = null)
    {
        Kind = kind;
        Element = element;
    }

    internal ValueType(SchemaCatalog catalog, string typeName)
    {
        Kind = ValueKind.Object;
        _catalog = catalog;
        _typeName = typeName;
    }

    /// <summary>Kind of value.</summary>
    public ValueKind Kind { get; }

    /// <summary>Type of the items of a list or of the values of a map; null otherwise.</summary>
    public ValueType? Element { get; }

    /// <summary>Full name of an object's type, e.g. `io.k8s.api.core.v1.PodSpec`; null otherwise.</summary>
    public string? TypeName => _typeName;

    /// <summary>Type of an object; null for every other kind of value.</summary>
    public TypeSchema? Schema => _schema ??= _typeName is null ? null : _catalog!.FindType(_typeName);

    /// <summary>Name of the type as decoding errors spell it, e.g. `[]v1.Container`.</summary>
    public string GoName => Kind switch
    {
        ValueKind.Bytes => "[]uint8",
        ValueKind.Int32 => "int32",
        ValueKind.Int64 => "int64",
        ValueKind.Bool => "bool",
        ValueKind.Double => "float64",
        ValueKind.Quantity => "resource.Quantity",
        ValueKind.IntOrString => "intstr.IntOrString",
        ValueKind.RawObject => "runtime.RawExtension",
        ValueKind.FieldSet => "v1.FieldsV1",
        ValueKind.AnyJson => "v1.JSON",
        ValueKind.SchemaOrArray => "v1.JSONSchemaPropsOrArray",
        ValueKind.SchemaOrBool => "v1.JSONSchemaPropsOrBool",
        ValueKind.SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray",
        ValueKind.String or ValueKind.Time or ValueKind.MicroTime or ValueKind.Duration => "string",
        ValueKind.List => "[]" + Element!.GoName,
        ValueKind.Map => "map[string]" + Element!.GoName,
        _ => TypeSchema.ShortPackageOf(_typeName!) + "." + TypeSchema.ShortNameOf(_typeName!),
    };
}

/// <summary>How a list is merged by server-side apply.</summary>
public enum ListType : byte
{
    /// <summary>Not declared: the list is one value.</summary>
    None,

    /// <summary>One value.</summary>
    Atomic,

    /// <summary>A set of scalars.</summary>
    Set,

    /// <summary>Items identified by key fields.</summary>
    Map,
}

/// <summary>One field of a type, under its JSON name.</summary>
public sealed class FieldSchema
{
    /// <summary>Member name in JSON.</summary>
    public required string JsonName { get; init; }

    /// <summary>Type of the value.</summary>
    public required ValueType Type { get; init; }

    /// <summary>Protobuf field number inside the message that declares it; 0 if it has none.</summary>
    public int ProtoNumber { get; init; }

    /// <summary>True where presence counts, so that a zero value differs from an absent one (a Go pointer).</summary>
    public bool IsPointer { get; init; }

    /// <summary>True where the API documents the field as required.</summary>
    public bool IsRequired { get; init; }

    /// <summary>True where an explicit zero value (`0`, `false`, empty text, list or map) means the same as no value and is left out.</summary>
    public bool OmitsZero { get; init; }

    /// <summary>Position in the canonical member order of its type.</summary>
    public int Ordinal { get; init; }

    /// <summary>True where a strategic merge patch merges the list rather than replacing it.</summary>
    public bool PatchMerges { get; init; }

    /// <summary>True where a strategic merge patch replaces an object whole.</summary>
    public bool PatchReplaces { get; init; }

    /// <summary>True where clients send `$retainKeys` for the object or the items.</summary>
    public bool PatchRetainsKeys { get; init; }

    /// <summary>Member that identifies an item of a merged list; null for lists of scalars.</summary>
    public string? PatchMergeKey { get; init; }

    /// <summary>Declared list type.</summary>
    public ListType ListType { get; init; }

    /// <summary>Members that together identify an item of a list of type map.</summary>
    public IReadOnlyList<string> ListMapKeys { get; init; } = [];

    /// <summary>Declared map type, `atomic` or `granular`; null if not declared.</summary>
    public string? MapType { get; init; }

    /// <summary>Documented default as JSON text where it does not follow from the type; null otherwise.</summary>
    public string? DocumentedDefault { get; init; }

    internal FieldSchema At(int ordinal) => new()
    {
        JsonName = JsonName,
        Type = Type,
        ProtoNumber = ProtoNumber,
        IsPointer = IsPointer,
        IsRequired = IsRequired,
        OmitsZero = OmitsZero,
        Ordinal = ordinal,
        PatchMerges = PatchMerges,
        PatchReplaces = PatchReplaces,
        PatchRetainsKeys = PatchRetainsKeys,
        PatchMergeKey = PatchMergeKey,
        ListType = ListType,
        ListMapKeys = ListMapKeys,
        MapType = MapType,
        DocumentedDefault = DocumentedDefault,
    };
}
