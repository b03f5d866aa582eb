using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>Labels that all must be there: the map selectors of services and replication controllers.</summary>
internal sealed class LabelSet
{
    private readonly KeyValuePair<string, string>[] _labels;

    private LabelSet(KeyValuePair<string, string>[] labels) => _labels = labels;

    public bool IsEmpty => _labels.Length == 0;

    public static LabelSet FromMap(JsonObject map) =>
        new([.. map.Select(pair => KeyValuePair.Create(pair.Key, (string?)pair.Value ?? ""))]);

    /// <summary>As a selector: an empty one selects nothing.</summary>
    public bool Selects(IReadOnlyList<KeyValuePair<string, string>> labels) => !IsEmpty && IsSubsetOf(labels);

    public bool IsSubsetOf(IReadOnlyList<KeyValuePair<string, string>> labels)
    {
        foreach (var wanted in _labels)
        {
            var found = false;
            for (var i = 0; i < labels.Count && !found; i++)
                found = labels[i].Key == wanted.Key && labels[i].Value == wanted.Value;
            if (!found)
                return false;
        }
        return true;
    }
}

/// <summary>The map selector of a service or replication controller, read once per version of the object.</summary>
internal sealed class SelectorFacts
{
    private static readonly ConditionalWeakTable<ICachedObject, SelectorFacts> Known = [];

    private SelectorFacts(ICachedObject obj) => Selector = LabelSet.FromMap(obj.ToJson().Object("spec", "selector"));

    public LabelSet Selector { get; }

    public static SelectorFacts Of(ICachedObject obj) => Known.GetValue(obj, static o => new SelectorFacts(o));
}
