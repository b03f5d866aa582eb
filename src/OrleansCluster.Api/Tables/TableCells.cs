using System.Text.Json;

namespace OrleansCluster.Api;

/// <summary>Cells that many kinds have.</summary>
internal static class TableCells
{
    /// <summary>Appends the object's name.</summary>
    public static void AddName(this TableRow row, JsonElement obj) => row.Add(obj.Text("metadata", "name") ?? "");

    /// <summary>Appends the object's age.</summary>
    public static void AddAge(this TableRow row, JsonElement obj, DateTimeOffset now) =>
        row.Add(HumanDuration.Age(obj.Text("metadata", "creationTimestamp"), now));

    /// <summary>The text, or `&lt;none&gt;` for none.</summary>
    public static string OrNone(string? text) => string.IsNullOrEmpty(text) ? "<none>" : text;

    /// <summary>A map of labels as `k=v,k=v`, sorted by key, or `&lt;none&gt;`.</summary>
    public static string Labels(JsonElement? labels)
    {
        if (labels is not { ValueKind: JsonValueKind.Object } map)
            return "<none>";
        return OrNone(string.Join(',', map.EnumerateObject()
            .OrderBy(l => l.Name, StringComparer.Ordinal)
            .Select(l => $"{l.Name}={l.Value.GetString()}")));
    }

    /// <summary>The first three of a list, comma-joined, and how many more there are.</summary>
    public static string FirstThree(IReadOnlyList<string> items) => items.Count <= 3
        ? string.Join(',', items)
        : $"{string.Join(',', items.Take(3))} + {items.Count - 3} more...";

    /// <summary>Names and images of a pod template's containers, each comma-joined.</summary>
    public static void AddContainersAndImages(this TableRow row, JsonElement? podSpec)
    {
        var containers = podSpec is { } spec ? spec.Items("containers").ToArray() : [];
        row.Add(string.Join(',', containers.Select(c => c.Text("name"))));
        row.Add(string.Join(',', containers.Select(c => c.Text("image"))));
    }
}
