using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// `/openapi/v3`: the index and one document per group version, built when first asked for (wire contract, section 4).
/// `/openapi/v2` exists in protobuf and describes nothing: kubectl asks for it when it meets a kind that no v3 document has,
/// and only then goes on to say that there is no such kind.
/// </summary>
internal sealed class OpenApiHandler(ResourceRegistry registry)
{
    private const string Root = "/openapi/v3";

    private const string Version2 = "/openapi/v2";
    private const string Version2Type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

    // Field 1 of the document, the specification's version, as a string of three bytes.
    private static readonly byte[] EmptyVersion2 = [0x0A, 0x03, .. "2.0"u8];

    private readonly ConcurrentDictionary<string, byte[]> _documents = new(StringComparer.Ordinal);
    private readonly Lazy<byte[]> _index = new(() => OpenApiV3.BuildIndex(
        GroupVersions(registry).Select(g => (g.Group, g.Version, OpenApiV3.Hash(g.Group, g.Version, Resources(registry, g.Group, g.Version))))));

    /// <summary>Answers if the path is one of OpenAPI's.</summary>
    public async ValueTask<bool> TryHandleAsync(HttpContext context, string path)
    {
        if (path == Root || path == Root + "/")
        {
            await Replies.WriteAsync(context, 200, _index.Value);
            return true;
        }
        if (path == Version2 && context.Request.Headers.Accept.ToString().Contains("proto", StringComparison.Ordinal))
        {
            await Replies.WriteAsync(context, 200, EmptyVersion2, contentType: Version2Type);
            return true;
        }
        if (!path.StartsWith(Root + "/", StringComparison.Ordinal))
            return false;
        var parts = path[(Root.Length + 1)..].Split('/');
        var (group, version) = parts switch
        {
            ["api", var v] => ("", v),
            ["apis", var g, var v] => (g, v),
            _ => ("", ""),
        };
        var resources = Resources(registry, group, version);
        if (resources.Count == 0)
            return false;
        var hash = OpenApiV3.Hash(group, version, resources);
        var etag = $"\"{hash}\"";
        var headers = context.Response.Headers;
        headers.ETag = etag;
        headers.Vary = "Accept";
        if (context.Request.Query["hash"] == hash)
        {
            // The hash in the address names the content: it never changes under this address.
            headers.CacheControl = "public, immutable, max-age=31536000";
        }
        if (context.Request.Headers.IfNoneMatch.ToString().Contains(etag, StringComparison.Ordinal))
        {
            context.Response.StatusCode = StatusCodes.Status304NotModified;
            return true;
        }
        var document = _documents.GetOrAdd($"{group}/{version}", _ => OpenApiV3.Build(group, version, resources));
        await Replies.WriteAsync(context, 200, document);
        return true;
    }

    private static IEnumerable<(string Group, string Version)> GroupVersions(ResourceRegistry registry) =>
        registry.All.Select(d => (d.Group, d.Version)).Distinct();

    private static List<OpenApiResource> Resources(ResourceRegistry registry, string group, string version) =>
        [.. registry.All.Where(d => d.Group == group && d.Version == version).Select(d => OpenApiResource.From(d))];
}
