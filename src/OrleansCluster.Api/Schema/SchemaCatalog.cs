using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace OrleansCluster.Api;

/// <summary>
/// All built-in types of the API, read from the embedded table `schema.txt` (whose head explains its format). Loading only notes where each
/// type starts (well under a millisecond); a type's fields are read when it is first used and kept for the life of the process.
/// </summary>
public sealed class SchemaCatalog
{
    private const string MetaPackage = "io.k8s.apimachinery.pkg.apis.meta.v1";

    /// <summary>Kinds that every group version knows besides its own (bodies of DELETE, options, watch frames).</summary>
    private static readonly string[] CommonKinds =
        ["DeleteOptions", "WatchEvent", "ListOptions", "GetOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "Status"];

    private static readonly Lazy<SchemaCatalog> BuiltInCatalog = new(Load);

    private readonly byte[] _table;
    private readonly Dictionary<string, Entry> _entries;
    // By `group/version/kind`.
    private readonly Dictionary<string, Entry> _kinds;
    private readonly Dictionary<string, Package> _aliases;
    private readonly ConcurrentDictionary<string, TypeSchema> _types = new(StringComparer.Ordinal);
    private readonly ValueType?[] _scalars = new ValueType?[(int)ValueKind.Object];
    private TypeSchema? _customResource;
    private string? _tableHash;

    private SchemaCatalog(byte[] table)
    {
        _table = table;
        _entries = new Dictionary<string, Entry>(900, StringComparer.Ordinal);
        _kinds = new Dictionary<string, Entry>(300, StringComparer.Ordinal);
        _aliases = new Dictionary<string, Package>(40, StringComparer.Ordinal);
        Index();
    }

    internal static SchemaCatalog BuiltIn => BuiltInCatalog.Value;

    /// <summary>
    /// Type of objects without a schema of their own: `kind`, `apiVersion` and `metadata` are typed, everything else is kept as it came.
    /// </summary>
    public static TypeSchema CustomResource => BuiltIn._customResource ??= new TypeSchema(
        "unstructured", "", "", isKind: true, isAtomic: false, keepsUnknown: true,
        [.. KindFields(), new FieldSchema { JsonName = "metadata", Type = new ValueType(BuiltIn, MetaPackage + ".ObjectMeta"), Ordinal = 2 }], []);

    /// <summary>Names the content of the table: changes whenever a type does.</summary>
    internal static string TableHash => BuiltIn._tableHash ??= Convert.ToHexString(SHA256.HashData(BuiltIn._table));

    /// <summary>Names of all types, unordered.</summary>
    public static IEnumerable<string> TypeNames => BuiltIn._entries.Keys;

    /// <summary>All kinds with their group and version, unordered.</summary>
    public static IEnumerable<(string Group, string Version, string Kind)> Kinds =>
        BuiltIn._kinds.Values.Select(static e => (e.Package.Group, e.Package.Version, TypeSchema.ShortNameOf(e.Name)));

    /// <summary>Finds the type of a kind among the built-in ones; null if the API has no such kind.</summary>
    /// <param name="group">API group; empty for the core group.</param>
    /// <param name="version">API version, e.g. `v1`.</param>
    /// <param name="kind">Kind, e.g. `Pod` or `PodList`.</param>
    public static TypeSchema? Find(string group, string version, string kind)
    {
        var catalog = BuiltIn;
        if (catalog._kinds.TryGetValue(KindKey(group, version, kind), out var entry))
            return catalog.FindType(entry.Name);
        return Array.IndexOf(CommonKinds, kind) >= 0 ? catalog.FindType($"{MetaPackage}.{kind}") : null;
    }

    /// <summary>Finds a type by its full name, e.g. `io.k8s.api.core.v1.PodSpec`; null if there is none.</summary>
    public static TypeSchema? Type(string name) => BuiltIn.FindType(name);

    internal TypeSchema? FindType(string name)
    {
        if (_types.TryGetValue(name, out var type))
            return type;
        // Two threads may read the same type at once; the first result wins, so that references stay unique.
        return _entries.TryGetValue(name, out var entry) ? _types.GetOrAdd(name, Read(entry)) : null;
    }

    private static SchemaCatalog Load()
    {
        using var stream = typeof(SchemaCatalog).Assembly.GetManifestResourceStream("schema.txt")
            ?? throw new InvalidOperationException("The schema table is not embedded in the assembly.");
        var table = new byte[stream.Length];
        stream.ReadExactly(table);
        return new SchemaCatalog(table);
    }

    private static FieldSchema[] KindFields()
    {
        var text = new ValueType(ValueKind.String);
        return
        [
            new FieldSchema { JsonName = "kind", Type = text, OmitsZero = true, Ordinal = 0 },
            new FieldSchema { JsonName = "apiVersion", Type = text, OmitsZero = true, Ordinal = 1 },
        ];
    }

    /// <summary>Notes packages, kinds and the place of each type; reads no field.</summary>
    private void Index()
    {
        Package? package = null;
        Entry? open = null;
        var position = 0;
        while (position < _table.Length)
        {
            var rest = _table.AsSpan(position);
            var length = rest.IndexOf((byte)'\n');
            if (length < 0)
                length = rest.Length;
            if (length > 2 && rest[0] is (byte)'P' or (byte)'T' && rest[1] == (byte)' ')
            {
                if (open is not null)
                    open.End = position;
                open = null;
                var words = Encoding.ASCII.GetString(rest[..length]).Split(' ');
                if (words[0] == "P")
                {
                    package = new Package(words[2], words[3] == "-" ? "" : words[3], words[4]);
                    _aliases.Add(words[1], package);
                }
                else
                {
                    open = AddType(package!, words, position + length + 1);
                }
            }
            position += length + 1;
        }
        if (open is not null)
            open.End = _table.Length;
    }

    private Entry AddType(Package package, string[] words, int start)
    {
        var name = $"{package.Name}.{words[1]}";
        var mark = words.Length > 2 && words[2][0] == '#' ? words[2] : "";
        var entry = new Entry(package, name, start) { IsKind = mark is "#" or "#+", IsAtomic = words[^1] == "atomic" };
        _entries.Add(name, entry);
        if (mark.Length > 0)
            _kinds.Add(KindKey(package.Group, package.Version, words[1]), entry);
        if (mark == "#+")
        {
            var list = new Entry(package, name + "List", start) { IsKind = true, ItemType = name };
            _entries.Add(list.Name, list);
            _kinds.Add(KindKey(package.Group, package.Version, words[1] + "List"), list);
        }
        return entry;
    }

    private static string KindKey(string group, string version, string kind) => $"{group}/{version}/{kind}";

    private TypeSchema Read(Entry entry)
    {
        var fields = new List<FieldSchema>();
        var inlined = new List<InlinedMessage>();
        if (entry.IsKind)
            fields.AddRange(KindFields());
        if (entry.ItemType is not null)
        {
            fields.Add(new FieldSchema { JsonName = "metadata", Type = new ValueType(this, MetaPackage + ".ListMeta"), ProtoNumber = 1, OmitsZero = true, Ordinal = 2 });
            fields.Add(new FieldSchema
            {
                JsonName = "items",
                Type = new ValueType(ValueKind.List, new ValueType(this, entry.ItemType)),
                ProtoNumber = 2,
                IsRequired = true,
                Ordinal = 3,
            });
        }
        else
        {
            var text = Encoding.ASCII.GetString(_table.AsSpan(entry.Start, entry.End - entry.Start));
            foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
                ReadLine(entry.Package, line, fields, inlined);
        }
        return new TypeSchema(entry.Name, entry.Package.Group, entry.Package.Version, entry.IsKind, entry.IsAtomic, keepsUnknown: false, fields, inlined);
    }

    private void ReadLine(Package package, string line, List<FieldSchema> fields, List<InlinedMessage> inlined)
    {
        var words = line.Split(' ');
        var number = int.Parse(words[0], NumberStyles.None, CultureInfo.InvariantCulture);
        if (words[1] == "<")
        {
            var inner = ReadType(package, words[2]).Schema!;
            inlined.Add(new InlinedMessage(number, inner, fields.Count));
            foreach (var field in inner.Fields)
                fields.Add(field.At(fields.Count));
            return;
        }
        var code = words[2].AsSpan().TrimEnd("*!=-");
        var flags = words[2].AsSpan(code.Length);
        var pointer = flags.Contains('*');
        var type = ReadType(package, code);
        var zeroKept = flags.Contains('=') || (flags.Contains('!') && !flags.Contains('-'));
        string? mapType = null, documentedDefault = null, mergeKey = null;
        var strategy = "";
        var listType = ListType.None;
        string[] listKeys = [];
        foreach (var word in words.AsSpan(3))
        {
            switch (word[0])
            {
                case '^':
                    var colon = word.IndexOf(':', StringComparison.Ordinal);
                    strategy = colon < 0 ? "merge" : word[1..colon];
                    mergeKey = word[(colon < 0 ? 1 : colon + 1)..];
                    break;
                case '%':
                    var open = word.IndexOf('(', StringComparison.Ordinal);
                    listType = (open < 0 ? word[1..] : word[1..open]) switch { "set" => ListType.Set, "map" => ListType.Map, _ => ListType.Atomic };
                    listKeys = open < 0 ? [] : word[(open + 1)..^1].Split(',');
                    break;
                case '@':
                    mapType = word[1..];
                    break;
                case 'd':
                    documentedDefault = word[1..];
                    break;
                default:
                    throw new InvalidOperationException($"Bad line in the schema table: {line}");
            }
        }
        fields.Add(new FieldSchema
        {
            JsonName = words[1],
            Type = type,
            ProtoNumber = number,
            IsPointer = pointer,
            IsRequired = flags.Contains('!'),
            OmitsZero = !zeroKept && !pointer,
            Ordinal = fields.Count,
            PatchMerges = strategy.StartsWith("merge", StringComparison.Ordinal),
            PatchReplaces = strategy == "replace",
            PatchRetainsKeys = strategy.EndsWith("retainKeys", StringComparison.Ordinal),
            PatchMergeKey = string.IsNullOrEmpty(mergeKey) ? null : mergeKey,
            ListType = listType,
            ListMapKeys = listKeys,
            MapType = mapType,
            DocumentedDefault = documentedDefault,
        });
    }

    private ValueType ReadType(Package package, ReadOnlySpan<char> code)
    {
        if (code.StartsWith("[]"))
            return new ValueType(ValueKind.List, ReadType(package, code[2..]));
        if (code.StartsWith("{}"))
            return new ValueType(ValueKind.Map, ReadType(package, code[2..]));
        var colon = code.IndexOf(':');
        if (colon < 0)
            return Scalar(code);
        var owner = colon == 0 ? package : _aliases[code[..colon].ToString()];
        return new ValueType(this, $"{owner.Name}.{code[(colon + 1)..]}");
    }

    private ValueType Scalar(ReadOnlySpan<char> code)
    {
        var kind = code switch
        {
            "s" => ValueKind.String,
            "i" => ValueKind.Int32,
            "l" => ValueKind.Int64,
            "b" => ValueKind.Bool,
            "d" => ValueKind.Double,
            "y" => ValueKind.Bytes,
            "q" => ValueKind.Quantity,
            "x" => ValueKind.IntOrString,
            "t" => ValueKind.Time,
            "u" => ValueKind.MicroTime,
            "n" => ValueKind.Duration,
            "r" => ValueKind.RawObject,
            "f" => ValueKind.FieldSet,
            "j" => ValueKind.AnyJson,
            "A" => ValueKind.SchemaOrArray,
            "B" => ValueKind.SchemaOrBool,
            "S" => ValueKind.SchemaOrStrings,
            _ => throw new InvalidOperationException($"Unknown type in the schema table: {code}"),
        };
        return _scalars[(int)kind] ??= new ValueType(kind);
    }

    private sealed record Package(string Name, string Group, string Version);

    /// <summary>Where a type stands in the table. (A class, as the dictionaries of classes need no code to be made at start.)</summary>
    private sealed class Entry(Package package, string name, int start)
    {
        public Package Package { get; } = package;

        public string Name { get; } = name;

        public int Start { get; } = start;

        public int End { get; set; }

        public bool IsKind { get; init; }

        public bool IsAtomic { get; init; }

        /// <summary>Type of the items of a List type, which has no lines of its own; else null.</summary>
        public string? ItemType { get; init; }
    }
}
