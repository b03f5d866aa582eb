using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>A value that is an integer or a text: a port by number or name, a count or a percentage.</summary>
/// <param name="Number">The integer; meaningful where <paramref name="Text"/> is null.</param>
/// <param name="Text">The text, or null for an integer.</param>
public readonly record struct IntOrString(int Number, string? Text = null)
{
    /// <summary>Reads a JSON value; false for anything but an integer of 32 bits or a text.</summary>
    public static bool TryRead(JsonNode? node, out IntOrString value)
    {
        value = default;
        if (node is not JsonValue json)
            return false;
        switch (json.GetValueKind())
        {
            case JsonValueKind.String:
                value = new IntOrString(0, json.GetValue<string>());
                return true;
            case JsonValueKind.Number:
                if (!int.TryParse(json.ToJsonString(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
                    return false;
                value = new IntOrString(number);
                return true;
            default:
                return false;
        }
    }

    /// <summary>
    /// The count that this value means among <paramref name="total"/>: an integer is itself, a text must be a percentage.
    /// </summary>
    /// <param name="total">What a percentage is of.</param>
    /// <param name="roundUp">Round a fraction up rather than down.</param>
    /// <param name="count">The count; 0 where the value is not understood.</param>
    public bool TryScale(int total, bool roundUp, out int count)
    {
        count = Number;
        if (Text is null)
            return true;
        count = 0;
        if (!Text.EndsWith('%') || !int.TryParse(Text.AsSpan(0, Text.Length - 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var percent))
            return false;
        var scaled = (long)percent * total;
        var whole = roundUp ? (long)Math.Ceiling(scaled / 100m) : (long)Math.Floor(scaled / 100m);
        count = (int)Math.Clamp(whole, int.MinValue, int.MaxValue);
        return true;
    }

    /// <summary>The JSON value.</summary>
    public JsonNode ToJson() => Text is null ? JsonValue.Create(Number) : JsonValue.Create(Text);

    /// <inheritdoc/>
    public override string ToString() => Text ?? Number.ToString(CultureInfo.InvariantCulture);
}
