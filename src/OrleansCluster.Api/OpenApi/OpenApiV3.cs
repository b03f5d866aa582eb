using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace OrleansCluster.Api;

/// <summary>
/// OpenAPI v3 documents, one per group version, and their index (wire contract, section 4). kubectl decides about server-side validation by
/// the `fieldValidation` parameter of a kind's PATCH, merges by the patch extensions of the schemas, and explains kinds from them.
/// Pure functions: what is built is for the caller to keep, and to build only when asked for.
/// </summary>
public static class OpenApiV3
{
    private static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    /// <summary>Builds the document of one group version as UTF-8 JSON. Only types that its resources reach are in it.</summary>
    /// <param name="group">API group; empty for the core group.</param>
    /// <param name="version">API version.</param>
    /// <param name="resources">The resources served.</param>
    public static byte[] Build(string group, string version, IReadOnlyList<OpenApiResource> resources)
    {
        var buffer = new ArrayBufferWriter<byte>(256 * 1024);
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
        {
            var schemas = new OpenApiSchemas(writer);
            writer.WriteStartObject();
            writer.WriteString("openapi"u8, "3.0.0"u8);
            writer.WriteStartObject("info"u8);
            writer.WriteString("title"u8, "Kubernetes"u8);
            writer.WriteString("version"u8, "v1.32"u8);
            writer.WriteEndObject();
            writer.WriteStartObject("paths"u8);
            new OpenApiPaths(writer, schemas, group, version).Write(resources);
            writer.WriteEndObject();
            writer.WriteStartObject("components"u8);
            schemas.Write();
            writer.WriteStartObject("securitySchemes"u8);
            writer.WriteStartObject("BearerToken"u8);
            writer.WriteString("type"u8, "apiKey"u8);
            writer.WriteString("name"u8, "authorization"u8);
            writer.WriteString("in"u8, "header"u8);
            writer.WriteEndObject();
            writer.WriteEndObject();
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>
    /// Name of a document's content, for `?hash=` and ETags: 64 hexadecimal digits that change whenever the document would. Made from what the
    /// document is made from, so that the index does not need the documents.
    /// </summary>
    public static string Hash(string group, string version, IReadOnlyList<OpenApiResource> resources)
    {
        var text = new StringBuilder();
        text.Append(SchemaCatalog.TableHash).Append('\n').Append(group).Append('/').Append(version).Append('\n');
        foreach (var resource in resources)
        {
            text.Append(resource.Plural).Append(' ').Append(resource.Kind).Append(' ').Append(resource.Namespaced).Append(' ').AppendJoin(',', resource.Verbs);
            text.Append(' ').Append(resource.CustomSchema?.ToJsonString() ?? "-").Append('\n');
            foreach (var sub in resource.Subresources)
                text.Append(' ').Append(sub.Name).Append(' ').Append(sub.Kind).Append(' ').Append(sub.Group).Append('/').Append(sub.Version).Append(' ').AppendJoin(',', sub.Verbs).Append('\n');
        }
        return Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
    }

    /// <summary>Builds the index (`/openapi/v3`).</summary>
    /// <param name="documents">Group, version and <see cref="Hash"/> of every document.</param>
    public static byte[] BuildIndex(IEnumerable<(string Group, string Version, string Hash)> documents)
    {
        var buffer = new ArrayBufferWriter<byte>(8 * 1024);
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("paths"u8);
            foreach (var (group, version, hash) in documents)
            {
                var path = group.Length == 0 ? $"api/{version}" : $"apis/{group}/{version}";
                writer.WriteStartObject(path);
                writer.WriteString("serverRelativeURL"u8, $"/openapi/v3/{path}?hash={hash}");
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        return buffer.WrittenSpan.ToArray();
    }
}
