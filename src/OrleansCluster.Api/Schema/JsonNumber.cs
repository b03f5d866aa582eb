using System.Buffers.Text;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Makes number nodes that can be read as any numeric type. (A node made from an `int` can only be read as an `int`; one that is backed by
/// JSON text, as these are, converts.) Small integers share their backing text.
/// </summary>
internal static class JsonNumber
{
    private static readonly StrongBox<JsonElement>?[] Small = new StrongBox<JsonElement>?[256];

    public static JsonValue Create(long value)
    {
        if (value is >= 0 and < 256)
            return JsonValue.Create((Small[value] ??= new StrongBox<JsonElement>(Element(value))).Value)!;
        return JsonValue.Create(Element(value))!;
    }

    public static JsonValue Create(double value)
    {
        // Shortest text that reads back the same; "1E+20" is valid JSON.
        var text = value.ToString("R", CultureInfo.InvariantCulture);
        return JsonValue.Create(JsonElement.Parse(text))!;
    }

    public static JsonValue Read(ref Utf8JsonReader reader) => JsonValue.Create(JsonElement.ParseValue(ref reader))!;

    private static JsonElement Element(long value)
    {
        Span<byte> text = stackalloc byte[20];
        Utf8Formatter.TryFormat(value, text, out var length);
        return JsonElement.Parse(text[..length]);
    }
}
