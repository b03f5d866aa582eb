using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Unicode;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace OrleansCluster.Api;

/// <summary>
/// Rewrites one YAML document as JSON. Works on the parser's events without recursion, so depth is a count and not a stack; aliases are
/// replayed, and since they can multiply, the output is limited. Plain scalars mean what they mean to Kubernetes' YAML (1.1 with `yes`,
/// `no`, `on`, `off`; `y` and `n` are text; timestamps are text). Duplicate keys are passed on for the decoder to report.
/// </summary>
internal static class YamlToJson
{
    /// <summary>Longest output in bytes: twice the largest request body.</summary>
    private const int MaxOutput = 6 * 1024 * 1024;

    private static readonly JsonWriterOptions WriterOptions = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        SkipValidation = true,
        MaxDepth = ObjectDecoder.MaxDepth + 8,
    };

    /// <exception cref="DecodeException">Not UTF-8, too deep, too large, or not expressible as JSON.</exception>
    /// <exception cref="YamlException">Not well-formed YAML.</exception>
    public static byte[] Convert(ReadOnlySpan<byte> utf8)
    {
        if (!Utf8.IsValid(utf8))
            throw Bad("invalid UTF-8");
        var parser = new Parser(new StringReader(Encoding.UTF8.GetString(utf8)));
        var buffer = new ArrayBufferWriter<byte>(utf8.Length + 64);
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
            new Rewriter(parser, writer).Run();
        return buffer.WrittenSpan.ToArray();
    }

    private static DecodeException Bad(string what) => new(DecodeErrorKind.Syntax, "error converting YAML to JSON: " + what);

    private sealed class Rewriter(IParser parser, Utf8JsonWriter writer)
    {
        // One entry per open collection: whether it is a mapping, and whether its next scalar is a key.
        private readonly Stack<(bool IsMapping, bool AtKey)> _open = new();
        private readonly Dictionary<string, List<ParsingEvent>> _anchors = new(StringComparer.Ordinal);

        // Anchored nodes being recorded, with the depth at which each ends.
        private readonly List<(List<ParsingEvent> Events, int Depth)> _recording = [];
        private long _replayed;
        private int _events;

        public void Run()
        {
            var documents = 0;
            while (parser.MoveNext())
            {
                var current = parser.Current!;
                if (++_events > ObjectDecoder.MaxValues)
                    throw Bad("the object has too many values");
                switch (current)
                {
                    case DocumentStart:
                        if (++documents > 1)
                            return;
                        break;
                    case DocumentEnd or StreamStart or StreamEnd or Comment:
                        break;
                    default:
                        Record(current);
                        Write(current);
                        break;
                }
            }
            if (documents == 0)
                throw new DecodeException(DecodeErrorKind.Syntax, "unexpected end of JSON input");
        }

        private void Record(ParsingEvent current)
        {
            if (current is NodeEvent { Anchor.IsEmpty: false } node)
            {
                var events = new List<ParsingEvent>();
                _anchors[node.Anchor.Value] = events;
                _recording.Add((events, _open.Count));
            }
            for (var i = _recording.Count - 1; i >= 0; i--)
            {
                _recording[i].Events.Add(current);
                if (++_replayed > ObjectDecoder.MaxValues)
                    throw Bad("document contains excessive aliasing");
                var ends = current is Scalar or AnchorAlias ? _open.Count == _recording[i].Depth
                    : current is MappingEnd or SequenceEnd && _open.Count - 1 == _recording[i].Depth;
                if (ends)
                    _recording.RemoveAt(i);
            }
        }

        private void Write(ParsingEvent current)
        {
            if (writer.BytesCommitted + writer.BytesPending > MaxOutput)
                throw Bad("document contains excessive aliasing");
            switch (current)
            {
                case MappingStart:
                    Open(isMapping: true);
                    break;
                case SequenceStart:
                    Open(isMapping: false);
                    break;
                case MappingEnd:
                    _open.Pop();
                    writer.WriteEndObject();
                    EndValue();
                    break;
                case SequenceEnd:
                    _open.Pop();
                    writer.WriteEndArray();
                    EndValue();
                    break;
                case AnchorAlias alias:
                    Replay(alias);
                    break;
                case Scalar scalar:
                    WriteScalar(scalar);
                    break;
            }
        }

        private void Open(bool isMapping)
        {
            if (AtKey)
                throw Bad("a key is not a scalar");
            if (_open.Count >= ObjectDecoder.MaxDepth)
                throw Bad("exceeded max depth");
            if (isMapping)
                writer.WriteStartObject();
            else
                writer.WriteStartArray();
            _open.Push((isMapping, isMapping));
        }

        private void Replay(AnchorAlias alias)
        {
            if (!_anchors.TryGetValue(alias.Value.Value, out var events) || _recording.Exists(r => ReferenceEquals(r.Events, events)))
                throw Bad($"unknown anchor '{alias.Value.Value}' referenced");
            // Recorded aliases are replayed in turn; their anchors were complete when they were recorded, so this ends.
            var pending = new Stack<(List<ParsingEvent> Events, int Next)>();
            pending.Push((events, 0));
            while (pending.TryPop(out var frame))
            {
                if (frame.Next >= frame.Events.Count)
                    continue;
                pending.Push((frame.Events, frame.Next + 1));
                if (++_replayed > ObjectDecoder.MaxValues)
                    throw Bad("document contains excessive aliasing");
                if (frame.Events[frame.Next] is AnchorAlias inner)
                {
                    if (!_anchors.TryGetValue(inner.Value.Value, out var innerEvents) || pending.Count > ObjectDecoder.MaxDepth)
                        throw Bad($"unknown anchor '{inner.Value.Value}' referenced");
                    pending.Push((innerEvents, 0));
                }
                else
                {
                    Write(frame.Events[frame.Next]);
                }
            }
        }

        private bool AtKey => _open.TryPeek(out var top) && top.IsMapping && top.AtKey;

        private void EndValue()
        {
            if (_open.TryPeek(out var top) && top.IsMapping)
            {
                _open.Pop();
                _open.Push((true, !top.AtKey));
            }
        }

        private void WriteScalar(Scalar scalar)
        {
            var text = scalar.Value;
            if (AtKey)
            {
                if (text == "<<" && scalar.Style == ScalarStyle.Plain)
                    throw Bad("merge keys are not supported");
                writer.WritePropertyName(text);
            }
            else if (scalar.Style != ScalarStyle.Plain || (!scalar.Tag.IsEmpty && scalar.Tag.Value == "tag:yaml.org,2002:str"))
            {
                writer.WriteStringValue(text);
            }
            else
            {
                WritePlain(text);
            }
            EndValue();
        }

        private void WritePlain(string text)
        {
            switch (text)
            {
                case "" or "~" or "null" or "Null" or "NULL":
                    writer.WriteNullValue();
                    return;
                case "true" or "True" or "TRUE" or "yes" or "Yes" or "YES" or "on" or "On" or "ON":
                    writer.WriteBooleanValue(true);
                    return;
                case "false" or "False" or "FALSE" or "no" or "No" or "NO" or "off" or "Off" or "OFF":
                    writer.WriteBooleanValue(false);
                    return;
                case ".inf" or ".Inf" or ".INF" or "+.inf" or "+.Inf" or "+.INF" or "-.inf" or "-.Inf" or "-.INF" or ".nan" or ".NaN" or ".NAN":
                    throw Bad("json: unsupported value: " + text);
            }
            if (TryInteger(text, out var integer))
                writer.WriteNumberValue(integer);
            else if (IsFloat(text) && double.TryParse(text.Replace("_", "", StringComparison.Ordinal), NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number))
                writer.WriteNumberValue(number);
            else
                writer.WriteStringValue(text);
        }

        /// <summary>YAML 1.1 integers: decimal, 0x, 0o, 0b and leading-zero octal, with underscores.</summary>
        private static bool TryInteger(string text, out long value)
        {
            value = 0;
            var digits = text.AsSpan();
            var negative = digits[0] == '-';
            if (digits[0] is '+' or '-')
                digits = digits[1..];
            if (digits.Length is 0 or > 80 || !char.IsAsciiDigit(digits[0]))
                return false;
            var radix = 10;
            if (digits.Length > 1 && digits[0] == '0')
            {
                (radix, var prefix) = digits[1] switch { 'x' or 'X' => (16, 2), 'o' or 'O' => (8, 2), 'b' or 'B' => (2, 2), _ => (8, 1) };
                digits = digits[prefix..];
                if (digits.Length == 0)
                    return false;
            }
            Int128 total = 0;
            foreach (var c in digits)
            {
                if (c == '_')
                    continue;
                var digit = char.IsAsciiHexDigit(c) ? System.Convert.ToInt32(c.ToString(), 16) : 16;
                if (digit >= radix || total > long.MaxValue)
                    return false;
                total = (total * radix) + digit;
            }
            if (total > long.MaxValue)
                return false;
            value = negative ? -(long)total : (long)total;
            return true;
        }

        /// <summary>[-+]? (digits [. digits?] | . digits) ([eE] [-+]? digits)?, underscores allowed.</summary>
        private static bool IsFloat(string text)
        {
            var at = text[0] is '+' or '-' ? 1 : 0;
            int digits = 0, points = 0;
            for (; at < text.Length && (char.IsAsciiDigit(text[at]) || text[at] is '.' or '_'); at++)
            {
                digits += char.IsAsciiDigit(text[at]) ? 1 : 0;
                points += text[at] == '.' ? 1 : 0;
            }
            if (digits == 0 || points > 1)
                return false;
            if (at == text.Length)
                return true;
            if (text[at] is not ('e' or 'E'))
                return false;
            at++;
            if (at < text.Length && text[at] is '+' or '-')
                at++;
            var exponent = at;
            while (at < text.Length && char.IsAsciiDigit(text[at]))
                at++;
            return at == text.Length && at > exponent;
        }
    }
}
