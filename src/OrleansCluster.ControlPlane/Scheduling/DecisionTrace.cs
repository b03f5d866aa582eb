using System.Text.Json.Nodes;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// Everything a decision did, attempt by attempt: what it saw, which plug-in refused how many nodes, the best scores, what the node answered, how long
/// each phase took. Keeps the newest attempts.
/// </summary>
internal sealed class DecisionTrace(string podKey, string podUid)
{
    /// <summary>Attempts kept; a pod that waits for days shows its latest ones and their number.</summary>
    private const int MaxAttempts = 20;

    private readonly Queue<JsonObject> _attempts = new();
    private int _count;

    public JsonObject Begin(DateTimeOffset now, string profile, int seed)
    {
        var attempt = new JsonObject
        {
            ["number"] = ++_count,
            ["time"] = now.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"),
            ["profile"] = profile,
            ["seed"] = seed,
            ["tries"] = new JsonArray(),
        };
        _attempts.Enqueue(attempt);
        if (_attempts.Count > MaxAttempts)
            _attempts.Dequeue();
        return attempt;
    }

    public static JsonObject AddTry(JsonObject attempt, SelectionResult selection, TimeSpan took)
    {
        var entry = new JsonObject
        {
            ["nodesSeen"] = selection.NodesSeen,
            ["selectionMicroseconds"] = (long)took.TotalMicroseconds,
            ["refusals"] = new JsonArray([.. selection.Refusals.Select(r => new JsonObject
            {
                ["plugin"] = r.Plugin,
                ["reason"] = r.Reason,
                ["nodes"] = r.Count,
                ["samples"] = new JsonArray([.. r.Samples.Select(s => (JsonNode)s)]),
            })]),
            ["best"] = new JsonArray([.. selection.Best.Select(b => new JsonObject { ["node"] = b.Node, ["score"] = b.Score })]),
        };
        ((JsonArray)attempt["tries"]!).Add((JsonNode)entry);
        return entry;
    }

    public JsonObject ToJson() => new()
    {
        ["pod"] = podKey,
        ["podUid"] = podUid,
        ["attempts"] = _count,
        ["latest"] = new JsonArray([.. _attempts.Select(a => a.DeepClone())]),
    };
}
