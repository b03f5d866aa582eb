using System.Text;
using System.Text.Json;
using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>
/// Makes cached objects of one resource: splices the revision in and reads, in one pass over the bytes, what selectors and indexes need. Everything
/// else is skipped without being decoded. Not thread-safe: it belongs to one cache's loop.
/// </summary>
internal sealed class CachedObjectReader
{
    private readonly ResourceDefinition _definition;
    private readonly string[] _fieldLabels;
    private readonly PathNode _paths = new();
    private readonly StringPool _pool = new();
    private readonly List<KeyValuePair<string, string>> _labels = [];
    private readonly string[] _fields;
    private readonly int[] _ranks;

    public CachedObjectReader(ResourceDefinition definition)
    {
        _definition = definition;
        var selectable = definition.Strategy.SelectableFields;
        _fieldLabels = [.. selectable.Select(f => f.Label)];
        _fields = new string[selectable.Count];
        _ranks = new int[selectable.Count];
        for (var field = 0; field < selectable.Count; field++)
        {
            for (var rank = 0; rank < selectable[field].Members.Count; rank++)
                _paths.Add(selectable[field].Members[rank], field, rank);
        }
    }

    /// <summary>Makes the object.</summary>
    /// <param name="storageKey">Its key in the store.</param>
    /// <param name="revision">Revision to splice in.</param>
    /// <param name="stored">Canonical bytes.</param>
    /// <param name="previous">Its earlier version, whose strings are used again where they are the same; or null.</param>
    /// <exception cref="JsonException">The bytes are not JSON.</exception>
    public CachedObject Read(string storageKey, long revision, byte[] stored, CachedObject? previous)
    {
        var bytes = CanonicalJson.WithRevision(stored, revision);
        _labels.Clear();
        Array.Fill(_fields, "");
        Array.Fill(_ranks, int.MaxValue);
        var header = new Header { Uid = "" };
        var reader = new Utf8JsonReader(stored);
        reader.Read();
        ReadObject(ref reader, _paths, isRoot: true, ref header, previous);

        var labels = previous is not null && previous.LabelArray.AsSpan().SequenceEqual(_labels.ToArray()) ? previous.LabelArray : [.. _labels];
        return new CachedObject(
            previous?.Key ?? Key(storageKey), revision, bytes, CanonicalJson.ItemStart(bytes), header.Uid, header.ControllerUid, header.IsDeleting,
            labels, _fields.Length == 0 ? [] : [.. _fields], _fieldLabels);
    }

    private ObjectKey Key(string storageKey)
    {
        var slash = storageKey.IndexOf('/', StringComparison.Ordinal);
        return slash < 0
            ? new ObjectKey(_definition.Resource, "", storageKey)
            : new ObjectKey(_definition.Resource, _pool.Get(storageKey.AsSpan(0, slash)), storageKey[(slash + 1)..]);
    }

    /// <summary>The reader stands on the object's opening brace and ends on its closing one.</summary>
    private void ReadObject(ref Utf8JsonReader reader, PathNode paths, bool isRoot, ref Header header, CachedObject? previous)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var child = paths.Find(ref reader);
            var isMetadata = isRoot && reader.ValueTextEquals("metadata"u8);
            reader.Read();
            if (isMetadata && reader.TokenType == JsonTokenType.StartObject)
                ReadMetadata(ref reader, child ?? PathNode.Empty, ref header, previous);
            else if (child is not null)
                ReadPath(ref reader, child, ref header, previous);
            else
                reader.Skip();
        }
    }

    private void ReadPath(ref Utf8JsonReader reader, PathNode node, ref Header header, CachedObject? previous)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.StartObject:
                ReadObject(ref reader, node, isRoot: false, ref header, previous);
                break;
            case JsonTokenType.StartArray:
                reader.Skip();
                break;
            default:
                SetFields(ref reader, node);
                break;
        }
    }

    private void ReadMetadata(ref Utf8JsonReader reader, PathNode paths, ref Header header, CachedObject? previous)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var child = paths.Find(ref reader);
            if (reader.ValueTextEquals("labels"u8))
            {
                reader.Read();
                ReadLabels(ref reader);
                continue;
            }
            if (reader.ValueTextEquals("ownerReferences"u8))
            {
                reader.Read();
                ReadOwners(ref reader, ref header, previous);
                continue;
            }
            var isUid = reader.ValueTextEquals("uid"u8);
            var isDeletion = !isUid && reader.ValueTextEquals("deletionTimestamp"u8);
            reader.Read();
            if (isUid && reader.TokenType == JsonTokenType.String)
                header.Uid = previous is not null && reader.ValueTextEquals(previous.Uid) ? previous.Uid : reader.GetString()!;
            header.IsDeleting |= isDeletion && reader.TokenType == JsonTokenType.String;
            if (child is not null)
                ReadPath(ref reader, child, ref header, previous);
            else
                reader.Skip();
        }
    }

    private void ReadLabels(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            reader.Skip();
            return;
        }
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = Text(ref reader);
            reader.Read();
            if (reader.TokenType == JsonTokenType.String)
                _labels.Add(new KeyValuePair<string, string>(key, Text(ref reader)));
            else
                reader.Skip();
        }
    }

    private static void ReadOwners(ref Utf8JsonReader reader, ref Header header, CachedObject? previous)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            reader.Skip();
            return;
        }
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                reader.Skip();
                continue;
            }
            string? uid = null;
            var isController = false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isUid = reader.ValueTextEquals("uid"u8);
                var isFlag = !isUid && reader.ValueTextEquals("controller"u8);
                reader.Read();
                if (isUid && reader.TokenType == JsonTokenType.String)
                    uid = previous?.ControllerUid is { } known && reader.ValueTextEquals(known) ? known : reader.GetString();
                isController |= isFlag && reader.TokenType == JsonTokenType.True;
                reader.Skip();
            }
            if (isController)
                header.ControllerUid ??= uid;
        }
    }

    private void SetFields(ref Utf8JsonReader reader, PathNode node)
    {
        if (node.Targets.Count == 0 || reader.TokenType == JsonTokenType.Null)
            return;
        var value = Text(ref reader);
        if (value.Length == 0)
            return;
        foreach (var (field, rank) in node.Targets)
        {
            if (rank >= _ranks[field])
                continue;
            _ranks[field] = rank;
            _fields[field] = value;
        }
    }

    private string Text(ref Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.True => "true",
        JsonTokenType.False => "false",
        _ => reader.ValueIsEscaped ? reader.GetString()! : _pool.Get(reader.ValueSpan),
    };

    private struct Header
    {
        public string Uid;
        public string? ControllerUid;
        public bool IsDeleting;
    }

    /// <summary>The members to look for below one member: a tree of the selectable fields' paths.</summary>
    private sealed class PathNode
    {
        public static readonly PathNode Empty = new();

        private readonly List<(byte[] Name, PathNode Node)> _children = [];

        /// <summary>Fields whose value stands here, each with the rank of this path among the field's.</summary>
        public List<(int Field, int Rank)> Targets { get; } = [];

        public void Add(ReadOnlySpan<string> path, int field, int rank)
        {
            if (path.IsEmpty)
            {
                Targets.Add((field, rank));
                return;
            }
            var name = Encoding.UTF8.GetBytes(path[0]);
            var at = _children.FindIndex(c => c.Name.AsSpan().SequenceEqual(name));
            if (at < 0)
            {
                at = _children.Count;
                _children.Add((name, new PathNode()));
            }
            _children[at].Node.Add(path[1..], field, rank);
        }

        public PathNode? Find(ref Utf8JsonReader reader)
        {
            foreach (var (name, node) in _children)
            {
                if (reader.ValueTextEquals(name))
                    return node;
            }
            return null;
        }
    }
}
