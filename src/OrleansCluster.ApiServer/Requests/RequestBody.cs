using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Reads request bodies and turns every accepted encoding into JSON: past this border nothing but JSON exists (wire contract, sections 1, 5, 6).
/// </summary>
internal sealed class RequestBody(IBodyDecoder decoder)
{
    /// <summary>Largest body in bytes, as of kube-apiserver (wire contract, section 1).</summary>
    public const int MaxBytes = 3 * 1024 * 1024;

    private const string AcceptedObjects = MediaTypes.Json + ", " + Negotiation.Yaml + ", " + Negotiation.Protobuf;
    private const string AcceptedPatches = MediaTypes.JsonPatch + ", " + MediaTypes.MergePatch + ", " + MediaTypes.StrategicMergePatch + ", "
        + MediaTypes.ApplyPatch;

    /// <summary>The body of a POST, PUT or DELETE as JSON. A body without a content type is JSON. May be empty.</summary>
    /// <exception cref="StatusException">413, 415, or 400 for a body that cannot be read.</exception>
    public async ValueTask<byte[]> ReadObjectAsync(HttpRequest request, CancellationToken cancellationToken)
    {
        var mediaType = Negotiation.OfBody(request);
        var kind = mediaType switch
        {
            "" or MediaTypes.Json => Encoding.Json,
            Negotiation.Yaml or "text/yaml" or "application/x-yaml" => Encoding.Yaml,
            Negotiation.Protobuf => Encoding.Protobuf,
            _ => throw Unsupported(AcceptedObjects),
        };
        var bytes = await ReadAsync(request, cancellationToken);
        if (bytes.Length == 0)
            return bytes;
        if (kind == Encoding.Json)
            return Utf8.IsValid(bytes) ? bytes : throw InvalidText("invalid UTF-8");
        return kind == Encoding.Yaml ? decoder.YamlToJson(bytes) : decoder.ProtobufToJson(bytes);
    }

    /// <summary>The body of a PATCH, and its media type without parameters.</summary>
    /// <exception cref="StatusException">413, 415, or 400 for a body that cannot be read.</exception>
    public async ValueTask<(byte[] Body, string MediaType)> ReadPatchAsync(HttpRequest request, CancellationToken cancellationToken)
    {
        var mediaType = Negotiation.OfBody(request);
        if (mediaType is not (MediaTypes.JsonPatch or MediaTypes.MergePatch or MediaTypes.StrategicMergePatch or MediaTypes.ApplyPatch))
            throw Unsupported(AcceptedPatches);
        var bytes = await ReadAsync(request, cancellationToken);
        // Clients label JSON as apply-patch+yaml; JSON is kept as it is, true YAML is converted.
        if (mediaType == MediaTypes.ApplyPatch && !LooksLikeJson(bytes))
            bytes = decoder.YamlToJson(bytes);
        if (!Utf8.IsValid(bytes))
            throw InvalidText("invalid UTF-8");
        return (bytes, mediaType);
    }

    /// <summary>Reads a body whole.</summary>
    /// <exception cref="StatusException">413; 400 for a framing that is none.</exception>
    public static async ValueTask<byte[]> ReadAsync(HttpRequest request, CancellationToken cancellationToken)
    {
        if (request.ContentLength is > MaxBytes)
            throw TooLarge();
        var reader = request.BodyReader;
        while (true)
        {
            ReadResult result;
            try
            {
                result = await reader.ReadAsync(cancellationToken);
            }
            catch (IOException error) when (error is not BadHttpRequestException)
            {
                throw new StatusException(StatusError.BadRequest("the body of the request cannot be read: " + error.Message));
            }
            if (result.Buffer.Length > MaxBytes)
            {
                // Given back, or the server could not read the rest away to use the connection again.
                reader.AdvanceTo(result.Buffer.End);
                throw TooLarge();
            }
            if (result.IsCompleted)
            {
                var bytes = result.Buffer.ToArray();
                reader.AdvanceTo(result.Buffer.End);
                return bytes;
            }
            // Everything is examined and nothing consumed: the pipe keeps what came until the body is whole.
            reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        }
    }

    /// <summary>A small body (options, a review) as an object whose members may be asked for safely.</summary>
    /// <exception cref="StatusException">400: not one JSON object, a member stands twice, or a text is none.</exception>
    public static JsonObject ParseObject(ReadOnlySpan<byte> body, string kind)
    {
        try
        {
            CheckEscapes(body);
            // NOTE: without this option a duplicate member would throw at the first look at the object, far from here.
            var options = new JsonDocumentOptions { AllowDuplicateProperties = false };
            if (JsonNode.Parse(body, documentOptions: options) is JsonObject obj)
                return obj;
        }
        catch (JsonException error)
        {
            throw new StatusException(StatusError.BadRequest($"the object provided is unrecognized (must be of type {kind}): {error.Message}"));
        }
        throw new StatusException(StatusError.BadRequest($"the object provided is unrecognized (must be of type {kind})"));
    }

    // A node reads its strings when they are asked for: half a surrogate pair would throw there, far from here.
    private static void CheckEscapes(ReadOnlySpan<byte> body)
    {
        try
        {
            var reader = new Utf8JsonReader(body);
            while (reader.Read())
            {
                if (reader is { TokenType: JsonTokenType.String or JsonTokenType.PropertyName, ValueIsEscaped: true })
                    _ = reader.GetString();
            }
        }
        catch (InvalidOperationException)
        {
            throw InvalidText("invalid surrogate pair in string");
        }
    }

    private static StatusException InvalidText(string what) => new(StatusError.BadRequest("the body of the request cannot be read: " + what));

    private static bool LooksLikeJson(ReadOnlySpan<byte> bytes)
    {
        var trimmed = bytes.TrimStart(" \t\r\n"u8);
        return trimmed.Length > 0 && trimmed[0] is (byte)'{' or (byte)'[';
    }

    private static StatusException TooLarge() =>
        new(new StatusError(413, "RequestEntityTooLarge", $"Request entity too large: limit is {MaxBytes}"));

    private static StatusException Unsupported(string accepted) =>
        new(StatusError.UnsupportedMediaType("the body of the request was in an unknown format - accepted media types include: " + accepted));

    private enum Encoding
    {
        Json,
        Yaml,
        Protobuf,
    }
}

/// <summary>Turns encodings other than JSON into JSON.</summary>
internal interface IBodyDecoder
{
    /// <summary>One YAML document as JSON.</summary>
    /// <exception cref="StatusException">400.</exception>
    byte[] YamlToJson(ReadOnlySpan<byte> yaml);

    /// <summary>A Kubernetes protobuf envelope as JSON.</summary>
    /// <exception cref="StatusException">400.</exception>
    byte[] ProtobufToJson(ReadOnlySpan<byte> protobuf);
}

/// <summary>What the router must know of a body before the grain reads it whole: found by skimming, without building a document.</summary>
/// <param name="ApiVersion">`apiVersion`, or the empty string.</param>
/// <param name="Kind">`kind`, or the empty string.</param>
/// <param name="Name">`metadata.name`, or the empty string.</param>
/// <param name="Namespace">`metadata.namespace`, or the empty string.</param>
/// <param name="GenerateName">`metadata.generateName`, or the empty string.</param>
internal readonly record struct BodyHead(string ApiVersion, string Kind, string Name, string Namespace, string GenerateName)
{
    /// <summary>Skims a JSON object.</summary>
    /// <param name="json">The body.</param>
    /// <param name="expectedKind">Kind the endpoint takes, for the error.</param>
    /// <exception cref="StatusException">400: not a JSON object, or a head member that is no string.</exception>
    public static BodyHead Read(ReadOnlySpan<byte> json, string expectedKind)
    {
        string apiVersion = "", kind = "", name = "", @namespace = "", generateName = "";
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 1000 });
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
                throw Unrecognized(json, expectedKind, "json: cannot unmarshal into Go value of type struct");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals("apiVersion"u8))
                {
                    apiVersion = Text(ref reader);
                }
                else if (reader.ValueTextEquals("kind"u8))
                {
                    kind = Text(ref reader);
                }
                else if (reader.ValueTextEquals("metadata"u8))
                {
                    reader.Read();
                    if (reader.TokenType != JsonTokenType.StartObject)
                    {
                        reader.Skip();
                        continue;
                    }
                    while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
                    {
                        if (reader.ValueTextEquals("name"u8))
                            name = Text(ref reader);
                        else if (reader.ValueTextEquals("namespace"u8))
                            @namespace = Text(ref reader);
                        else if (reader.ValueTextEquals("generateName"u8))
                            generateName = Text(ref reader);
                        else
                            SkipValue(ref reader);
                    }
                }
                else
                {
                    SkipValue(ref reader);
                }
            }
            if (reader.TokenType != JsonTokenType.EndObject || reader.Read())
                throw Unrecognized(json, expectedKind, "unexpected end of JSON input");
        }
        catch (JsonException error)
        {
            throw Unrecognized(json, expectedKind, error.Message);
        }
        catch (InvalidOperationException)
        {
            // The reader's way to say that an escape sequence makes half a character.
            throw Unrecognized(json, expectedKind, "invalid surrogate pair in string");
        }
        return new BodyHead(apiVersion, kind, name, @namespace, generateName);
    }

    private static string Text(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType == JsonTokenType.String)
            return reader.GetString() ?? "";
        reader.Skip();
        // A name that is no string is refused by the decoder with the field's path; here it only counts as absent.
        return "";
    }

    private static void SkipValue(ref Utf8JsonReader reader)
    {
        reader.Read();
        reader.Skip();
    }

    private static StatusException Unrecognized(ReadOnlySpan<byte> json, string expectedKind, string why)
    {
        const int ShownBytes = 32;
        var shown = Convert.ToHexString(json[..Math.Min(json.Length, ShownBytes)]).ToLowerInvariant();
        return new StatusException(StatusError.BadRequest(
            $"the object provided is unrecognized (must be of type {expectedKind}): couldn't get version/kind; json parse error: {why} ({shown}{(json.Length > ShownBytes ? " ..." : "")})"));
    }
}
