using System.Globalization;
using System.Text.Json;

namespace OrleansCluster.Api;

/// <summary>
/// What caches, selectors and controllers need of an object without parsing it: read in one pass over its bytes. Immutable. Texts that repeat
/// over many objects are shared.
/// </summary>
public sealed class ObjectHeader
{
    private readonly HeaderFields _fields;
    private readonly string?[] _values;

    private ObjectHeader(HeaderFields fields)
    {
        _fields = fields;
        _values = fields.Labels.Length == 0 ? [] : new string?[fields.Labels.Length];
    }

    /// <summary>`metadata.name`.</summary>
    public string Name { get; private set; } = "";

    /// <summary>`metadata.namespace`, empty for cluster-scoped objects.</summary>
    public string Namespace { get; private set; } = "";

    /// <summary>`metadata.uid`.</summary>
    public string Uid { get; private set; } = "";

    /// <summary>`metadata.resourceVersion`, 0 if the bytes carry none.</summary>
    public long ResourceVersion { get; private set; }

    /// <summary>`metadata.generation`, 0 if the kind has none.</summary>
    public long Generation { get; private set; }

    /// <summary>`metadata.labels` in the order of the bytes.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Labels { get; private set; } = [];

    /// <summary>Uid of the owner reference with `controller: true`, or null.</summary>
    public string? ControllerUid { get; private set; }

    /// <summary>Uids of all owner references.</summary>
    public IReadOnlyList<string> OwnerUids { get; private set; } = [];

    /// <summary>True once `metadata.deletionTimestamp` is set.</summary>
    public bool IsDeleting { get; private set; }

    /// <summary>True if `metadata.finalizers` has an item.</summary>
    public bool HasFinalizers { get; private set; }

    /// <summary>Reads the header of an object.</summary>
    /// <param name="utf8">Stored or served bytes.</param>
    /// <param name="definition">Its resource, which says what fields can be selected by.</param>
    /// <exception cref="JsonException">The bytes are no JSON object.</exception>
    public static ObjectHeader Read(ReadOnlySpan<byte> utf8, ResourceDefinition definition)
    {
        var fields = definition.Strategy.HeaderFields;
        var header = new ObjectHeader(fields);
        Span<int> ranks = stackalloc int[fields.Labels.Length];
        ranks.Fill(int.MaxValue);
        var reader = new Utf8JsonReader(utf8);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            throw new JsonException("An API object must be a JSON object.");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("metadata"u8))
                header.ReadMetadata(ref reader);
            else
                fields.ReadMember(ref reader, header._values, ranks);
        }
        return header;
    }

    /// <summary>Value of a selectable field: the empty text if absent, null if the kind has no such field.</summary>
    public string? Field(string label)
    {
        switch (label)
        {
            case "metadata.name":
                return Name;
            case "metadata.namespace":
                return Namespace;
            default:
                var index = Array.IndexOf(_fields.Labels, label);
                return index < 0 ? null : _values[index] ?? _fields.Defaults[index];
        }
    }

    /// <summary>Value of a label, or null.</summary>
    public string? Label(string key) => LabelSelector.Find(Labels, key);

    private void ReadMetadata(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            reader.Skip();
            return;
        }
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("name"u8))
                Name = ReadText(ref reader, shared: false);
            else if (reader.ValueTextEquals("namespace"u8))
                Namespace = ReadText(ref reader, shared: true);
            else if (reader.ValueTextEquals("uid"u8))
                Uid = ReadText(ref reader, shared: false);
            else if (reader.ValueTextEquals("labels"u8))
                ReadLabels(ref reader);
            else if (reader.ValueTextEquals("ownerReferences"u8))
                ReadOwners(ref reader);
            else if (reader.ValueTextEquals("finalizers"u8))
                HasFinalizers = ReadHasItems(ref reader);
            else if (reader.ValueTextEquals("deletionTimestamp"u8))
                IsDeleting = ReadText(ref reader, shared: false).Length > 0;
            else if (reader.ValueTextEquals("resourceVersion"u8))
                ResourceVersion = ReadRevision(ref reader);
            else if (reader.ValueTextEquals("generation"u8))
                Generation = reader.Read() && reader.TokenType == JsonTokenType.Number && reader.TryGetInt64(out var generation) ? generation : 0;
            else
                reader.Skip();
        }
    }

    private void ReadLabels(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            reader.Skip();
            return;
        }
        // A copy of the reader counts first: one array of the right size, instead of a list that grows.
        var counter = reader;
        var count = 0;
        while (counter.Read() && counter.TokenType == JsonTokenType.PropertyName)
        {
            count++;
            counter.Skip();
        }
        if (count == 0)
        {
            reader.Read();
            return;
        }
        var labels = new KeyValuePair<string, string>[count];
        for (var i = 0; reader.Read() && reader.TokenType == JsonTokenType.PropertyName; i++)
        {
            var key = CurrentText(ref reader, shared: true);
            labels[i] = new KeyValuePair<string, string>(key, ReadText(ref reader, shared: true));
        }
        Labels = labels;
    }

    private void ReadOwners(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            reader.Skip();
            return;
        }
        List<string>? more = null;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                reader.Skip();
                continue;
            }
            var uid = "";
            var controller = false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals("uid"u8))
                    uid = ReadText(ref reader, shared: true);
                else if (reader.ValueTextEquals("controller"u8))
                    controller = reader.Read() && reader.TokenType == JsonTokenType.True;
                else
                    reader.Skip();
            }
            if (uid.Length == 0)
                continue;
            // Nearly always there is one.
            if (OwnerUids.Count == 0)
                OwnerUids = [uid];
            else
                (more ??= [OwnerUids[0]]).Add(uid);
            if (controller)
                ControllerUid = uid;
        }
        if (more is not null)
            OwnerUids = more;
    }

    private static bool ReadHasItems(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            reader.Skip();
            return false;
        }
        var any = false;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            any = true;
            reader.Skip();
        }
        return any;
    }

    private static long ReadRevision(ref Utf8JsonReader reader)
    {
        reader.Read();
        return reader.TokenType == JsonTokenType.String
            && long.TryParse(reader.ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var revision) ? revision : 0;
    }

    private static string ReadText(ref Utf8JsonReader reader, bool shared)
    {
        reader.Read();
        if (reader.TokenType == JsonTokenType.String)
            return CurrentText(ref reader, shared);
        reader.Skip();
        return "";
    }

    private static string CurrentText(ref Utf8JsonReader reader, bool shared) =>
        shared && !reader.ValueIsEscaped ? StringPool.Shared.Get(reader.ValueSpan) : reader.GetString() ?? "";
}
