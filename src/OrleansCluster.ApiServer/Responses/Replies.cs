using System.Buffers;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>Writes whole answers: headers, length, compression and indentation in one place.</summary>
internal static class Replies
{
    /// <summary>Bodies above this many bytes are compressed when the client accepts it (kube-apiserver's figure, wire contract, section 1).</summary>
    public const int CompressAbove = 128 * 1024;

    private const int MaxWarningRunes = 4096;
    private const int CutWarningRunes = 256;

    private static readonly JsonWriterOptions Indented = new()
    {
        Indented = true,
        IndentSize = 2,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Answers with a body that is in memory.</summary>
    public static async ValueTask WriteAsync(HttpContext context, int code, ReadOnlyMemory<byte> body, bool pretty = false, string contentType = MediaTypes.Json)
    {
        if (pretty)
            body = Indent(body);
        var response = context.Response;
        response.StatusCode = code;
        response.ContentType = contentType;
        if (HttpMethods.IsHead(context.Request.Method))
        {
            response.ContentLength = body.Length;
            return;
        }
        if (body.Length > CompressAbove && AcceptsGzip(context.Request))
        {
            await using var gzip = StartGzip(response);
            await gzip.WriteAsync(body, context.RequestAborted);
            return;
        }
        response.ContentLength = body.Length;
        response.BodyWriter.Write(body.Span);
        // Kestrel flushes what is left when the request ends; small bodies need no flush of their own.
        if (body.Length > 16 * 1024)
            await response.BodyWriter.FlushAsync(context.RequestAborted);
    }

    /// <summary>Answers with a JSON document built as nodes.</summary>
    public static ValueTask WriteAsync(HttpContext context, int code, JsonNode body) =>
        WriteAsync(context, code, CanonicalJson.SerializeNode(body), WantsPretty(context.Request));

    /// <summary>Answers with a Status of failure and what goes with it.</summary>
    public static ValueTask WriteErrorAsync(HttpContext context, StatusError error)
    {
        if (error.RetryAfterSeconds > 0)
            context.Response.Headers.RetryAfter = error.RetryAfterSeconds.ToString(CultureInfo.InvariantCulture);
        if (error.Code == 403)
            context.Response.Headers.XContentTypeOptions = "nosniff";
        return WriteAsync(context, error.Code, error.ToJson());
    }

    /// <summary>A Status of success.</summary>
    public static JsonObject Success(int? code = null, JsonObject? details = null)
    {
        var status = new JsonObject
        {
            ["kind"] = "Status",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject(),
            ["status"] = "Success",
        };
        if (details is not null)
            status["details"] = details;
        if (code is { } number)
            status["code"] = number;
        return status;
    }

    /// <summary>Adds one Warning header per text; over-long sets are cut (wire contract, section 1).</summary>
    public static void AddWarnings(HttpResponse response, IReadOnlyCollection<string> warnings)
    {
        if (warnings.Count == 0)
            return;
        var cut = warnings.Sum(w => w.Length) > MaxWarningRunes;
        foreach (var warning in warnings)
        {
            var text = new StringBuilder("299 - \"");
            foreach (var c in cut && warning.Length > CutWarningRunes ? warning[..CutWarningRunes] : warning)
            {
                if (c is '"' or '\\')
                    text.Append('\\');
                // Header values are printable ASCII; anything else would break the whole answer.
                text.Append(c is >= ' ' and <= '~' ? c : '?');
            }
            response.Headers.Append("Warning", text.Append('"').ToString());
        }
    }

    /// <summary>True where the client takes gzip.</summary>
    public static bool AcceptsGzip(HttpRequest request) =>
        request.Headers.AcceptEncoding.ToString().Contains("gzip", StringComparison.OrdinalIgnoreCase);

    /// <summary>Announces gzip and opens it over the body; the caller disposes it, which ends the body.</summary>
    public static GZipStream StartGzip(HttpResponse response)
    {
        response.Headers.ContentEncoding = "gzip";
        response.Headers.Append("Vary", "Accept-Encoding");
        return new GZipStream(response.Body, CompressionLevel.Fastest, leaveOpen: true);
    }

    /// <summary>True where the query asks for indentation.</summary>
    public static bool WantsPretty(HttpRequest request) =>
        request.QueryString.HasValue && (QueryValues.Flag(request.Query, "pretty") ?? false);

    /// <summary>The same JSON, indented.</summary>
    public static byte[] Indent(ReadOnlyMemory<byte> json)
    {
        using var document = JsonDocument.Parse(json);
        var buffer = new ArrayBufferWriter<byte>(json.Length * 2);
        using (var writer = new Utf8JsonWriter(buffer, Indented))
            document.WriteTo(writer);
        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }
}
