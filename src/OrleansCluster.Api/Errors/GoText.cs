using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// A value shown in an error exactly as users of the API know it: where the wire shows the Go form of a structure, tools and people search for
/// that text.
/// </summary>
internal sealed class GoText
{
    private readonly string _text;

    private GoText(string text) => _text = text;

    /// <summary>Text that stands bare, without quotes.</summary>
    public static GoText Bare(string text) => new(text);

    /// <summary>A map of labels: `map[string]string{"a":"b"}`, sorted.</summary>
    public static GoText Map(JsonObject? map) => new("map[string]string{" + string.Join(", ",
        (map ?? []).OrderBy(m => m.Key, StringComparer.Ordinal).Select(m => $"\"{m.Key}\":\"{JsonReading.AsString(m.Value)}\"")) + "}");

    /// <summary>A list of texts: `[]string{"a", "b"}`.</summary>
    public static GoText List(IEnumerable<string> items) => new("[]string{" + string.Join(", ", items.Select(i => $"\"{i}\"")) + "}");

    /// <inheritdoc/>
    public override string ToString() => _text;
}
