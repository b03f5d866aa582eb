using System.Text;

namespace OrleansCluster.Api;

/// <summary>
/// One type of the API: its fields in canonical order, reachable by JSON name (text or UTF-8) and by protobuf number without allocation.
/// </summary>
public sealed class TypeSchema
{
    private readonly FieldSchema[] _fields;
    private readonly byte[][] _names;

    // Open addressing over field names: entry = ordinal + 1, 0 = free. Twice as many slots as fields, a power of two.
    private readonly byte[] _slots;

    // By protobuf number: ordinal + 1 of an own field, or the negated index + 1 of an inlined message.
    private readonly short[] _byNumber;
    private readonly InlinedMessage[] _inlined;

    internal TypeSchema(string name, string group, string version, bool isKind, bool isAtomic, bool keepsUnknown, IReadOnlyList<FieldSchema> fields, IReadOnlyList<InlinedMessage> inlined)
    {
        Name = name;
        Group = group;
        Version = version;
        IsKind = isKind;
        IsAtomic = isAtomic;
        KeepsUnknownFields = keepsUnknown;
        _fields = [.. fields];
        _inlined = [.. inlined];
        _names = Array.ConvertAll(_fields, static f => Encoding.UTF8.GetBytes(f.JsonName));
        var size = 4;
        while (size < _fields.Length * 2)
            size *= 2;
        _slots = new byte[size];
        for (var i = 0; i < _fields.Length; i++)
        {
            var at = Hash(_names[i]) & (size - 1);
            while (_slots[at] != 0)
                at = (at + 1) & (size - 1);
            _slots[at] = checked((byte)(i + 1));
        }
        var highest = 0;
        foreach (var inline in _inlined)
            highest = Math.Max(highest, inline.ProtoNumber);
        foreach (var field in _fields)
            highest = Math.Max(highest, field.ProtoNumber);
        _byNumber = new short[highest + 1];
        for (var i = 0; i < _fields.Length; i++)
        {
            if (_fields[i].ProtoNumber > 0 && !IsInlined(i))
                _byNumber[_fields[i].ProtoNumber] = (short)(i + 1);
        }
        for (var i = 0; i < _inlined.Length; i++)
            _byNumber[_inlined[i].ProtoNumber] = (short)(-i - 1);
    }

    /// <summary>Full name, e.g. `io.k8s.api.core.v1.PodSpec`.</summary>
    public string Name { get; }

    /// <summary>Last part of the name; the Kind where the type is one.</summary>
    public string ShortName => ShortNameOf(Name);

    /// <summary>API group of the type's package; empty for the core group.</summary>
    public string Group { get; }

    /// <summary>API version of the type's package.</summary>
    public string Version { get; }

    /// <summary>True where the type is a kind, with members `kind` and `apiVersion`.</summary>
    public bool IsKind { get; }

    /// <summary>True where server-side apply treats the object as one value.</summary>
    public bool IsAtomic { get; }

    /// <summary>True where members that the type does not name are kept as they came (custom resources).</summary>
    public bool KeepsUnknownFields { get; }

    /// <summary>Fields in canonical order, those of inlined messages included.</summary>
    public IReadOnlyList<FieldSchema> Fields => _fields;

    internal int FieldCount => _fields.Length;

    /// <summary>Finds a field by its JSON name, case-sensitively; null if the type has none.</summary>
    public FieldSchema? Field(string jsonName)
    {
        // Field names are ASCII, so a name with any other character cannot match and need not be encoded.
        Span<byte> utf8 = stackalloc byte[64];
        if (jsonName.Length > utf8.Length || !Ascii.IsValid(jsonName))
            return null;
        for (var i = 0; i < jsonName.Length; i++)
            utf8[i] = (byte)jsonName[i];
        return Field(utf8[..jsonName.Length]);
    }

    /// <summary>Finds a field by its JSON name in UTF-8, case-sensitively; null if the type has none.</summary>
    public FieldSchema? Field(ReadOnlySpan<byte> jsonName)
    {
        var mask = _slots.Length - 1;
        for (var at = Hash(jsonName) & mask; _slots[at] is var entry and not 0; at = (at + 1) & mask)
        {
            if (jsonName.SequenceEqual(_names[entry - 1]))
                return _fields[entry - 1];
        }
        return null;
    }

    internal FieldSchema FieldAt(int ordinal) => _fields[ordinal];

    /// <summary>Finds what a protobuf field number stands for: an own field, or a message whose fields are inlined.</summary>
    internal bool TryGetProto(int number, out FieldSchema? field, out InlinedMessage? inlined)
    {
        var entry = (uint)number < (uint)_byNumber.Length ? _byNumber[number] : (short)0;
        field = entry > 0 ? _fields[entry - 1] : null;
        inlined = entry < 0 ? _inlined[-entry - 1] : null;
        return entry != 0;
    }

    internal static string ShortNameOf(string name) => name[(name.LastIndexOf('.') + 1)..];

    internal static string ShortPackageOf(string name)
    {
        var end = name.LastIndexOf('.');
        if (end <= 0)
            return name;
        var start = name.LastIndexOf('.', end - 1);
        return name[(start + 1)..end];
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    private bool IsInlined(int ordinal)
    {
        foreach (var inline in _inlined)
        {
            if (ordinal >= inline.Offset && ordinal < inline.Offset + inline.Type.FieldCount)
                return true;
        }
        return false;
    }

    private static int Hash(ReadOnlySpan<byte> name)
    {
        var hash = 2166136261u;
        foreach (var b in name)
            hash = (hash ^ b) * 16777619u;
        return (int)(hash ^ (hash >> 15));
    }
}

/// <summary>A message whose fields appear in JSON as members of the outer type.</summary>
/// <param name="ProtoNumber">Field number of the message in the outer one.</param>
/// <param name="Type">The message.</param>
/// <param name="Offset">Ordinal of its first field in the outer type; the others follow.</param>
internal sealed record InlinedMessage(int ProtoNumber, TypeSchema Type, int Offset);
