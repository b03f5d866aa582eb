using System.Globalization;
using System.Text.Json;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// Amounts of resources in Kubernetes' notation (`100m`, `1.5`, `64Mi`, `1e3`). The API server has validated them; what cannot be read counts as 0.
/// </summary>
internal static class Amount
{
    private static readonly (string Suffix, decimal Factor)[] Suffixes =
    [
        ("Ki", 1024m), ("Mi", 1024m * 1024), ("Gi", 1024m * 1024 * 1024), ("Ti", 1024m * 1024 * 1024 * 1024),
        ("Pi", 1024m * 1024 * 1024 * 1024 * 1024), ("Ei", 1024m * 1024 * 1024 * 1024 * 1024 * 1024),
        ("n", 1e-9m), ("u", 1e-6m), ("m", 1e-3m), ("k", 1e3m), ("M", 1e6m), ("G", 1e9m), ("T", 1e12m), ("P", 1e15m), ("E", 1e18m),
    ];

    /// <summary>The amount in the resource's own unit (processors, bytes, pieces).</summary>
    public static decimal Parse(string text)
    {
        foreach (var (suffix, factor) in Suffixes)
        {
            if (text.EndsWith(suffix, StringComparison.Ordinal))
                return ParseNumber(text.AsSpan(0, text.Length - suffix.Length)) * factor;
        }
        return ParseNumber(text);
    }

    /// <summary>The same of a JSON string or number.</summary>
    public static decimal Parse(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.String => Parse(element.GetString()!),
        JsonValueKind.Number => ParseNumber(element.GetRawText()),
        _ => 0,
    };

    /// <summary>Of a list of resources; null when the resource is not named.</summary>
    public static decimal? Find(IReadOnlyDictionary<string, JsonElement> resources, string name) =>
        resources.TryGetValue(name, out var element) ? Parse(element) : null;

    /// <summary>Thousandths, rounded up, as Kubernetes rounds.</summary>
    public static long Millis(decimal amount) => ToLong(decimal.Ceiling(amount * 1000));

    /// <summary>Whole units, rounded up.</summary>
    public static long Whole(decimal amount) => ToLong(decimal.Ceiling(amount));

    private static long ToLong(decimal amount) => amount >= long.MaxValue ? long.MaxValue : amount <= 0 ? 0 : (long)amount;

    private static decimal ParseNumber(ReadOnlySpan<char> text) =>
        decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : 0;
}
