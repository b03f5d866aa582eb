using System.Globalization;
using System.Text;
using System.Text.Json;

namespace OrleansCluster.Api;

/// <content>Wording of errors, in the manner of Go's decoder, which clients and their users know.</content>
internal ref partial struct JsonObjectReader
{
    /// <summary>Words a syntax error; the reader must still stand where it failed.</summary>
    public readonly string Explain(JsonException error)
    {
        var at = 0;
        for (var line = error.LineNumber ?? 0; line > 0; line--)
            at += _input[at..].IndexOf((byte)'\n') + 1;
        at += (int)(error.BytePositionInLine ?? 0);
        if (at < _input.Length && _input[at] is (byte)'[' or (byte)'{' && _reader.CurrentDepth >= ObjectDecoder.MaxDepth - 1)
            return "exceeded max depth";
        return at >= _input.Length
            ? "unexpected end of JSON input"
            : string.Create(CultureInfo.InvariantCulture, $"invalid character '{(char)_input[at]}' at offset {at}");
    }

    private readonly string PathText()
    {
        var text = new StringBuilder();
        foreach (ref readonly var step in _path.AsSpan(0, _pathLength))
        {
            if (step.Index >= 0)
                text.Append(CultureInfo.InvariantCulture, $"[{step.Index}]");
            else
                text.Append(text.Length > 0 ? "." : "").Append(step.Name);
        }
        return text.ToString();
    }

    private readonly DecodeException Mismatch(ValueType type)
    {
        var found = _reader.TokenType == JsonTokenType.Number && type.Kind is ValueKind.Int32 or ValueKind.Int64 or ValueKind.Double
            ? "number " + Shorten(_reader.ValueSpan)
            : TokenName();
        var path = new StringBuilder();
        foreach (ref readonly var step in _path.AsSpan(0, _pathLength))
        {
            if (step.IsField)
                path.Append('.').Append(step.Name);
        }
        return new DecodeException(DecodeErrorKind.Type, path.Length == 0
            ? $"json: cannot unmarshal {found} into Go value of type {type.GoName}"
            : $"json: cannot unmarshal {found} into Go struct field {_owner!.ShortName}{path} of type {type.GoName}");
    }

    private readonly string TokenName() => _reader.TokenType switch
    {
        JsonTokenType.String => "string",
        JsonTokenType.Number => "number",
        JsonTokenType.True or JsonTokenType.False => "bool",
        JsonTokenType.StartArray => "array",
        JsonTokenType.StartObject => "object",
        _ => "null",
    };

    private static string Shorten(ReadOnlySpan<byte> number) => Encoding.ASCII.GetString(number[..Math.Min(number.Length, 64)]);
}
