using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>Answers the paths that describe the API: `/api`, `/apis` and below, `/version`, `/`.</summary>
internal sealed class DiscoveryHandler(DiscoveryDocuments documents)
{
    /// <summary>The version clients adapt to. kubectl wrappers choose their binary by `minor` (wire contract, 0.2).</summary>
    private static readonly byte[] Version = CanonicalJson.SerializeNode(new JsonObject
    {
        ["major"] = "1",
        ["minor"] = "32",
        ["gitVersion"] = "v1.32.4+orleanscluster",
        ["gitCommit"] = "0000000000000000000000000000000000000000",
        ["gitTreeState"] = "clean",
        ["buildDate"] = "2025-04-22T00:00:00Z",
        ["goVersion"] = "go1.23.6",
        ["compiler"] = "gc",
        ["platform"] = OperatingSystem.IsWindows() ? "windows/amd64" : "linux/amd64",
    });

    /// <summary>Answers if the path is one of them.</summary>
    /// <returns>False if it is not; nothing has been written then.</returns>
    public async ValueTask<bool> TryHandleAsync(HttpContext context, string path)
    {
        var trimmed = path.Length > 1 ? path.TrimEnd('/') : path;
        switch (trimmed)
        {
            case "/version":
                await Replies.WriteAsync(context, 200, Version);
                return true;
            case "/":
                await Replies.WriteAsync(context, 200, Paths());
                return true;
            case "/api" or "/apis":
                var core = trimmed == "/api";
                context.Response.Headers.Vary = "Accept";
                if (AggregatedVersion(context.Request) is { } version)
                {
                    await WriteAsync(
                        context, documents.Aggregated(core, version),
                        $"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
                }
                else if (core)
                {
                    await Replies.WriteAsync(context, 200, DiscoveryDocuments.CoreVersions(context.Request.Host.Value ?? ""));
                }
                else
                {
                    await WriteAsync(context, documents.Plain(trimmed)!, MediaTypes.Json);
                }

                return true;
            default:
                if (documents.Plain(trimmed) is not { } document)
                    return false;
                Negotiation.RequireJson(context.Request);
                await WriteAsync(context, document, MediaTypes.Json);
                return true;
        }
    }

    /// <summary>`v2` or `v2beta1` if the client asks for aggregated discovery before anything else we serve, null for the plain form.</summary>
    private static string? AggregatedVersion(HttpRequest request)
    {
        var accept = Negotiation.AcceptOf(request);
        foreach (var clause in Negotiation.Parse(accept))
        {
            if (!clause.TakesJson)
                continue;
            if (clause.As.Length == 0)
                return null;
            if (clause is { As: "APIGroupDiscoveryList", Group: "apidiscovery.k8s.io", Version: "v2" or "v2beta1" })
                return clause.Version;
        }
        if (accept.Length > 0)
            Negotiation.RequireJson(request);
        return null;
    }

    private static ValueTask WriteAsync(HttpContext context, DiscoveryDocument document, string contentType)
    {
        context.Response.Headers.ETag = document.ETag;
        if (context.Request.Headers.IfNoneMatch.ToString().Contains(document.ETag, StringComparison.Ordinal))
        {
            context.Response.StatusCode = StatusCodes.Status304NotModified;
            return default;
        }
        return Replies.WriteAsync(context, 200, document.Body, Replies.WantsPretty(context.Request), contentType);
    }

    private JsonObject Paths()
    {
        var paths = new JsonArray("/api", "/apis");
        foreach (var (group, version) in documents.GroupVersions)
            paths.Add((JsonNode)(group.Length == 0 ? $"/api/{version}" : $"/apis/{group}/{version}"));
        foreach (var path in (string[])["/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/swagger", "/version"])
            paths.Add((JsonNode)path);
        return new JsonObject { ["paths"] = paths };
    }
}
