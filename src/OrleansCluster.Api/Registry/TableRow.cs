using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Cells of one Table row while a strategy writes them.</summary>
public sealed class TableRow
{
    /// <summary>The cells so far.</summary>
    public JsonArray Cells { get; } = [];

    /// <summary>Row conditions (a finished pod has one), or null.</summary>
    public JsonArray? Conditions { get; set; }

    /// <summary>Appends a text cell; null prints as nothing.</summary>
    public void Add(string? text) => Cells.Add((JsonNode?)text);

    /// <summary>Appends a number cell.</summary>
    public void Add(long number) => Cells.Add((JsonNode)number);

    /// <summary>Appends a boolean cell.</summary>
    public void Add(bool flag) => Cells.Add((JsonNode)flag);
}
