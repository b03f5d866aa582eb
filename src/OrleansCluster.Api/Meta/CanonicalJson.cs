using System.Buffers;
using System.Buffers.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// The stored form of an object: UTF-8 JSON whose first members are `kind`, `apiVersion` and `metadata`, in that order, without
/// `metadata.resourceVersion`. The fixed head lets the revision be spliced in, and the head be left off in lists, by copying bytes.
/// </summary>
public static class CanonicalJson
{
    private static readonly JsonWriterOptions WriterOptions = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        SkipValidation = true,
    };

    /// <summary>Writes an object in its stored form. `metadata.resourceVersion` is left out.</summary>
    /// <param name="obj">An object with `kind`, `apiVersion` and `metadata`.</param>
    public static byte[] Serialize(JsonObject obj)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteString("kind"u8, (string?)obj["kind"]);
            writer.WriteString("apiVersion"u8, (string?)obj["apiVersion"]);
            writer.WritePropertyName("metadata"u8);
            writer.WriteStartObject();
            if (obj["metadata"] is JsonObject metadata)
            {
                foreach (var (name, value) in metadata)
                {
                    if (name == "resourceVersion" || value is null)
                        continue;
                    writer.WritePropertyName(name);
                    value.WriteTo(writer);
                }
            }
            writer.WriteEndObject();
            foreach (var (name, value) in obj)
            {
                if (value is null || name is "kind" or "apiVersion" or "metadata")
                    continue;
                writer.WritePropertyName(name);
                value.WriteTo(writer);
            }
            writer.WriteEndObject();
        }
        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Writes any node compactly, escaping no more than JSON asks for.</summary>
    public static byte[] SerializeNode(JsonNode node)
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
            node.WriteTo(writer);
        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Reads a stored or spliced object.</summary>
    public static JsonObject Parse(ReadOnlySpan<byte> utf8) => (JsonObject)JsonNode.Parse(utf8)!;

    /// <summary>The served form: the stored bytes with `metadata.resourceVersion` spliced in as the first member of metadata.</summary>
    /// <param name="stored">Bytes made by <see cref="Serialize"/>.</param>
    /// <param name="revision">Revision of the commit that wrote them.</param>
    public static byte[] WithRevision(ReadOnlySpan<byte> stored, long revision)
    {
        var at = MetadataStart(stored);
        Span<byte> digits = stackalloc byte[20];
        Utf8Formatter.TryFormat(revision, digits, out var length);
        var head = "\"resourceVersion\":\""u8;
        var emptyMetadata = stored[at] == (byte)'}';
        var result = new byte[stored.Length + head.Length + length + 1 + (emptyMetadata ? 0 : 1)];
        stored[..at].CopyTo(result);
        var position = at;
        head.CopyTo(result.AsSpan(position));
        position += head.Length;
        digits[..length].CopyTo(result.AsSpan(position));
        position += length;
        result[position++] = (byte)'"';
        if (!emptyMetadata)
            result[position++] = (byte)',';
        stored[at..].CopyTo(result.AsSpan(position));
        return result;
    }

    /// <summary>
    /// Offset of the member `metadata` (its opening quote) in stored or served bytes. A list item of a built-in kind is `{` followed by
    /// the bytes from here: it carries no kind and no apiVersion.
    /// </summary>
    public static int ItemStart(ReadOnlySpan<byte> utf8) => MetadataStart(utf8) - "\"metadata\":{"u8.Length;

    private static int MetadataStart(ReadOnlySpan<byte> utf8)
    {
        // kind and apiVersion are validated names without quotes or braces, so the first match is the member itself.
        var needle = "\"metadata\":{"u8;
        var at = utf8.IndexOf(needle);
        if (at < 0)
            throw new ArgumentException("Not a canonical object: it has no metadata.", nameof(utf8));
        return at + needle.Length;
    }
}
