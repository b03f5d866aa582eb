using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;
using YamlDotNet.Core;

namespace OrleansCluster.Api;

/// <summary>
/// Turns request bodies into objects in canonical form, in one pass guided by the type:
/// unknown members dropped and reported, duplicates reported (the last one counts), nulls and meaningless zeros dropped, quantities and times
/// in canonical spelling, members in the type's order and map keys sorted. What may be of any type (raw extensions, custom resources) is kept
/// as it came. The root of a kind that has `metadata` always gets that member.
/// No input makes it throw, and none makes it use more than a bounded multiple of its size: depth and number of values are limited.
/// Decoding is idempotent: what it returned decodes to itself.
/// </summary>
public static class ObjectDecoder
{
    /// <summary>Deepest nesting of objects and lists. Real objects stay below 30; schemas inside CRDs come next.</summary>
    public const int MaxDepth = 256;

    /// <summary>Most values in one body: a 3 MiB body of real objects has fewer than 200,000, a crafted one could have over a million.</summary>
    internal const int MaxValues = 500_000;

    /// <summary>Decodes UTF-8 JSON.</summary>
    public static DecodeResult DecodeJson(ReadOnlySpan<byte> utf8, TypeSchema type)
    {
        if (!Utf8.IsValid(utf8))
            return new DecodeResult(new DecodeError(DecodeErrorKind.Syntax, "invalid UTF-8"));
        var reader = new JsonObjectReader(utf8);
        try
        {
            return new DecodeResult(reader.ReadRoot(type), reader.StrictErrors);
        }
        catch (DecodeException e)
        {
            return new DecodeResult(new DecodeError(e.Kind, e.Message));
        }
        catch (JsonException e)
        {
            return new DecodeResult(new DecodeError(DecodeErrorKind.Syntax, reader.Explain(e)));
        }
        catch (InvalidOperationException)
        {
            // The reader's way to say that an escape sequence makes half a character.
            return new DecodeResult(new DecodeError(DecodeErrorKind.Syntax, "invalid surrogate pair in string"));
        }
        finally
        {
            reader.Release();
        }
    }

    /// <summary>Decodes one YAML document (a superset of JSON, as `application/yaml` bodies are).</summary>
    public static DecodeResult DecodeYaml(ReadOnlySpan<byte> utf8, TypeSchema type)
    {
        return TryConvertYaml(utf8, out var json, out var error) ? DecodeJson(json, type) : new DecodeResult(error);
    }

    /// <summary>
    /// Rewrites one YAML document as JSON without looking at its meaning: duplicate and unknown members stay, for the typed decoder to report.
    /// </summary>
    public static bool TryConvertYaml(ReadOnlySpan<byte> utf8, [NotNullWhen(true)] out byte[]? json, [NotNullWhen(false)] out DecodeError? error)
    {
        json = null;
        error = null;
        try
        {
            json = YamlToJson.Convert(utf8);
            return true;
        }
        catch (DecodeException e)
        {
            error = new DecodeError(e.Kind, DecodeResult.Shorten(e.Message));
        }
        catch (YamlException e)
        {
            error = new DecodeError(DecodeErrorKind.Syntax, DecodeResult.Shorten($"yaml: line {e.Start.Line}: {e.Message}"));
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The YAML parser fails with whatever it stumbles over on some malformed documents (found by fuzzing).
            error = new DecodeError(DecodeErrorKind.Syntax, "yaml: the document is malformed");
        }
        return false;
    }

    /// <summary>
    /// Decodes a protobuf body: the envelope names the kind, which decides the type (not necessarily the one that the URL asks for; the
    /// caller compares `kind` and `apiVersion` of the result). Protobuf knows no unknown or duplicate members.
    /// </summary>
    /// <param name="body">`k8s\0` and the envelope message.</param>
    /// <param name="fallback">Type to use where the envelope names none.</param>
    public static DecodeResult DecodeProtobuf(ReadOnlySpan<byte> body, TypeSchema? fallback = null)
    {
        var reader = new ProtobufObjectReader();
        try
        {
            return new DecodeResult(reader.ReadEnvelope(body, fallback), []);
        }
        catch (DecodeException e)
        {
            return new DecodeResult(new DecodeError(e.Kind, e.Message));
        }
    }

    /// <summary>
    /// Brings an object that was made or changed in memory (by a patch, a controller, a webhook) into canonical form; the argument is not
    /// changed and shares nothing with the result.
    /// </summary>
    public static DecodeResult Canonicalize(JsonObject obj, TypeSchema type) => DecodeJson(CanonicalJson.SerializeNode(obj), type);

    /// <summary>Reads any JSON object without a type: kept as it came, but for duplicate members, of which the last one counts.</summary>
    public static DecodeResult DecodeUntyped(ReadOnlySpan<byte> utf8) => DecodeJson(utf8, Untyped);

    /// <summary>
    /// Reads `apiVersion` and `kind` of a JSON object without decoding the rest; empty where they are absent or the body is not JSON that far.
    /// </summary>
    public static (string ApiVersion, string Kind) PeekKind(ReadOnlySpan<byte> utf8)
    {
        string apiVersion = "", kind = "";
        try
        {
            var reader = new Utf8JsonReader(utf8, new JsonReaderOptions { MaxDepth = MaxDepth });
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
                return ("", "");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isVersion = reader.ValueTextEquals("apiVersion"u8);
                var isKind = reader.ValueTextEquals("kind"u8);
                reader.Read();
                if (reader.TokenType == JsonTokenType.String && isVersion)
                    apiVersion = reader.GetString()!;
                else if (reader.TokenType == JsonTokenType.String && isKind)
                    kind = reader.GetString()!;
                else
                    reader.Skip();
                if (apiVersion.Length > 0 && kind.Length > 0)
                    break;
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Whatever was read before the bad byte is the answer; decoding will report the byte.
        }
        return (apiVersion, kind);
    }

    /// <summary>Reads JSON of any type that is embedded in a protobuf body and shares its budget of values.</summary>
    internal static JsonNode? DecodeAny(ReadOnlySpan<byte> utf8, ref int values)
    {
        if (!Utf8.IsValid(utf8))
            throw new DecodeException(DecodeErrorKind.Syntax, "invalid UTF-8");
        var reader = new JsonObjectReader(utf8, values);
        try
        {
            var value = reader.ReadAny();
            values = reader.Values;
            return value;
        }
        catch (JsonException e)
        {
            throw new DecodeException(DecodeErrorKind.Syntax, reader.Explain(e));
        }
        catch (InvalidOperationException)
        {
            throw new DecodeException(DecodeErrorKind.Syntax, "invalid surrogate pair in string");
        }
        finally
        {
            reader.Release();
        }
    }

    private static readonly TypeSchema Untyped = new("object", "", "", isKind: false, isAtomic: false, keepsUnknown: true, [], []);
}
