using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>What the body of an answer is.</summary>
internal enum BodyShape
{
    /// <summary>The objects themselves.</summary>
    Object,

    /// <summary>A server-side Table.</summary>
    Table,

    /// <summary>Metadata only (`PartialObjectMetadata` and its list).</summary>
    Metadata,
}

/// <summary>The negotiated form of an answer.</summary>
/// <param name="Shape">What the body is.</param>
/// <param name="MetaApiVersion">apiVersion of a Table or of partial metadata.</param>
/// <param name="Pretty">Indented with two spaces.</param>
internal readonly record struct ResponseFormat(BodyShape Shape, string MetaApiVersion, bool Pretty)
{
    /// <summary>Plain compact JSON.</summary>
    public static ResponseFormat Json { get; } = new(BodyShape.Object, "meta.k8s.io/v1", false);
}

/// <summary>One alternative of an Accept header.</summary>
/// <param name="MediaType">Type and subtype, lower case.</param>
/// <param name="As">Value of `as`, or the empty string.</param>
/// <param name="Group">Value of `g`.</param>
/// <param name="Version">Value of `v`.</param>
internal readonly record struct AcceptClause(string MediaType, string As, string Group, string Version)
{
    /// <summary>True where a JSON body satisfies the clause.</summary>
    public bool TakesJson => MediaType is "application/json" or "*/*" or "application/*";
}

/// <summary>Content negotiation: the Accept header is walked in order and the first alternative that can be served is taken.</summary>
internal static class Negotiation
{
    public const string Yaml = "application/yaml";
    public const string Protobuf = "application/vnd.kubernetes.protobuf";

    /// <summary>Clients send a handful of Accept texts; past this many distinct ones they are parsed each time.</summary>
    private const int MaxParsed = 256;

    private static readonly ConcurrentDictionary<string, AcceptClause[]> Parsed = new(StringComparer.Ordinal);

    /// <summary>The form of an answer about resources.</summary>
    /// <exception cref="StatusException">406: no alternative can be served.</exception>
    public static ResponseFormat NegotiateResource(HttpRequest request)
    {
        var accept = AcceptOf(request);
        var pretty = request.QueryString.HasValue && (QueryValues.Flag(request.Query, "pretty") ?? false);
        if (accept is "" or MediaTypes.Json or "*/*")
            return ResponseFormat.Json with { Pretty = pretty };
        foreach (var clause in Parse(accept))
        {
            if (!clause.TakesJson)
                continue;
            if (clause.As.Length == 0)
                return ResponseFormat.Json with { Pretty = pretty };
            if (clause.Group != "meta.k8s.io" || clause.Version is not ("v1" or "v1beta1"))
                continue;
            var version = clause.Version == "v1" ? "meta.k8s.io/v1" : "meta.k8s.io/v1beta1";
            switch (clause.As)
            {
                case "Table":
                    return new ResponseFormat(BodyShape.Table, version, pretty);
                case "PartialObjectMetadata" or "PartialObjectMetadataList":
                    return new ResponseFormat(BodyShape.Metadata, version, pretty);
            }
        }
        throw NotAcceptable();
    }

    /// <summary>Checks that a plain JSON answer is acceptable.</summary>
    /// <exception cref="StatusException">406.</exception>
    public static void RequireJson(HttpRequest request)
    {
        var accept = AcceptOf(request);
        if (accept is "" or MediaTypes.Json or "*/*")
            return;
        foreach (var clause in Parse(accept))
        {
            // A JSON document that is not asked to be something else. Unknown `as` of a plain document is not served.
            if (clause.TakesJson && clause.As.Length == 0)
                return;
        }
        throw NotAcceptable();
    }

    /// <summary>The alternatives of an Accept header in order, those with q=0 left out.</summary>
    public static AcceptClause[] Parse(string accept)
    {
        if (Parsed.TryGetValue(accept, out var known))
            return known;
        var clauses = new List<AcceptClause>();
        foreach (var part in accept.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var pieces = part.Split(';', StringSplitOptions.TrimEntries);
            string shape = "", group = "", version = "";
            var refused = false;
            foreach (var piece in pieces.AsSpan(1))
            {
                if (piece.StartsWith("as=", StringComparison.Ordinal))
                    shape = piece[3..];
                else if (piece.StartsWith("g=", StringComparison.Ordinal))
                    group = piece[2..];
                else if (piece.StartsWith("v=", StringComparison.Ordinal))
                    version = piece[2..];
                else if (piece is "q=0" or "q=0.0")
                    refused = true;
            }
            if (!refused)
                clauses.Add(new AcceptClause(pieces[0].ToLowerInvariant(), shape, group, version));
        }
        var result = clauses.ToArray();
        if (Parsed.Count < MaxParsed)
            Parsed.TryAdd(accept, result);
        return result;
    }

    /// <summary>The Accept header, all lines joined; empty if there is none.</summary>
    public static string AcceptOf(HttpRequest request) => request.Headers.Accept.ToString();

    /// <summary>Media type of a body without its parameters, lower case; empty if there is none.</summary>
    public static string OfBody(HttpRequest request)
    {
        var text = request.ContentType;
        if (string.IsNullOrEmpty(text))
            return "";
        if (text == MediaTypes.Json)
            return MediaTypes.Json;
        var semicolon = text.IndexOf(';', StringComparison.Ordinal);
        return (semicolon < 0 ? text : text[..semicolon]).Trim().ToLowerInvariant();
    }

    private static StatusException NotAcceptable() => new(new StatusError(406, "NotAcceptable",
        $"only the following media types are accepted: {MediaTypes.Json}"));
}
