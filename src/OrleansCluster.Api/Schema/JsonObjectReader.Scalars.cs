using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <content>Scalars: each reads the current token as its type, in canonical spelling; null where a zero stands for no value.</content>
internal ref partial struct JsonObjectReader
{
    private JsonValue? ReadInteger(ValueType type, bool omitsZero)
    {
        long number;
        var valid = _reader.TokenType == JsonTokenType.Number;
        if (!valid)
            throw Mismatch(type);
        if (type.Kind == ValueKind.Int32)
        {
            valid = _reader.TryGetInt32(out var small);
            number = small;
        }
        else
        {
            valid = _reader.TryGetInt64(out number);
        }
        if (!valid)
            throw Mismatch(type);
        return omitsZero && number == 0 ? null : JsonNumber.Create(number);
    }

    private JsonValue? ReadDouble(ValueType type, bool omitsZero)
    {
        if (_reader.TokenType != JsonTokenType.Number || !_reader.TryGetDouble(out var number) || !double.IsFinite(number))
            throw Mismatch(type);
        return omitsZero && number == 0 ? null : JsonNumber.Read(ref _reader);
    }

    private JsonValue ReadQuantity()
    {
        if (_reader.TokenType is not (JsonTokenType.String or JsonTokenType.Number))
            throw new DecodeException(DecodeErrorKind.Type, Quantity.FormatError);
        if (!_reader.ValueIsEscaped && Quantity.IsCanonical(_reader.ValueSpan))
            return JsonValue.Create(Encoding.ASCII.GetString(_reader.ValueSpan));
        var text = _reader.TokenType == JsonTokenType.String ? _reader.GetString()!.Trim() : Encoding.ASCII.GetString(_reader.ValueSpan);
        return Quantity.TryParse(text, out var quantity, out var error)
            ? JsonValue.Create(quantity.ToString())
            : throw new DecodeException(DecodeErrorKind.Type, error);
    }

    private JsonValue? ReadIntOrString(bool omitsZero)
    {
        if (_reader.TokenType == JsonTokenType.String)
            return omitsZero && _reader.ValueSpan.Length == 0 ? null : JsonValue.Create(_reader.GetString());
        if (_reader.TokenType == JsonTokenType.Number && _reader.TryGetInt32(out var number))
            return omitsZero && number == 0 ? null : JsonNumber.Create(number);
        var found = _reader.TokenType == JsonTokenType.Number ? "number " + Encoding.ASCII.GetString(_reader.ValueSpan) : TokenName();
        throw new DecodeException(DecodeErrorKind.Type, $"json: cannot unmarshal {found} into Go value of type int32");
    }

    private JsonValue? ReadTime(ValueType type)
    {
        if (_reader.TokenType != JsonTokenType.String)
            throw Mismatch(type);
        if (type.Kind == ValueKind.Time && !_reader.ValueIsEscaped && KubernetesTime.IsCanonical(_reader.ValueSpan))
            return JsonValue.Create(Encoding.ASCII.GetString(_reader.ValueSpan));
        var text = _reader.GetString()!;
        if (!KubernetesTime.TryParse(text, out var time))
            throw new DecodeException(DecodeErrorKind.Type, KubernetesTime.Explain(text, type.Kind == ValueKind.MicroTime));
        return JsonValue.Create(type.Kind == ValueKind.Time ? KubernetesTime.Format(time) : KubernetesTime.FormatMicro(time));
    }

    private JsonValue? ReadDuration(ValueType type, bool omitsZero)
    {
        if (_reader.TokenType != JsonTokenType.String)
            throw Mismatch(type);
        var text = _reader.GetString()!;
        if (!KubernetesTime.TryParseDuration(text, out var nanoseconds))
            throw new DecodeException(DecodeErrorKind.Type, $"time: invalid duration \"{text}\"");
        return omitsZero && nanoseconds == 0 ? null : JsonValue.Create(KubernetesTime.FormatDuration(nanoseconds));
    }

    private JsonValue? ReadBytes(ValueType type, bool omitsZero)
    {
        if (_reader.TokenType != JsonTokenType.String)
            throw Mismatch(type);
        var text = _reader.GetString()!;
        if (!Base64.IsValid(text))
            throw new DecodeException(DecodeErrorKind.Type, "illegal base64 data at input byte 0");
        if (text.AsSpan().ContainsAny(" \t\r\n"))
            text = Convert.ToBase64String(Convert.FromBase64String(text));
        return omitsZero && text.Length == 0 ? null : JsonValue.Create(text);
    }
}
