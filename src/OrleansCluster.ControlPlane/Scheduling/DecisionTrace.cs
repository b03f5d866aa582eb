using System.Text.Json.Nodes;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// Everything a decision did, attempt by attempt: what it saw, which plug-in refused how many nodes, the best scores, what the node answered, how long
/// each phase took. Keeps the newest attempts, as plain records; they become JSON when somebody asks.
/// </summary>
internal sealed class DecisionTrace(string podKey, string podUid)
{
    /// <summary>Attempts kept; a pod that waits for days shows its latest ones and their number.</summary>
    private const int MaxAttempts = 20;

    private readonly Queue<Attempt> _attempts = new(1);
    private int _count;

    /// <summary>Begins an attempt; the decision fills it in.</summary>
    public Attempt Begin(DateTimeOffset now, string profile, int seed)
    {
        var attempt = new Attempt(++_count, now, profile, seed);
        if (_attempts.Count == MaxAttempts)
            _attempts.Dequeue();
        _attempts.Enqueue(attempt);
        return attempt;
    }

    public JsonObject ToJson() => new()
    {
        ["pod"] = podKey,
        ["podUid"] = podUid,
        ["attempts"] = _count,
        ["latest"] = new JsonArray([.. _attempts.Select(a => a.ToJson())]),
    };

    internal sealed class Attempt(int number, DateTimeOffset time, string profile, int seed)
    {
        private readonly List<Try> _tries = new(1);

        public string? Result { get; set; }

        public string? Message { get; set; }

        /// <summary>Notes one look for a node.</summary>
        public void AddTry(SelectionResult selection, TimeSpan took) => _tries.Add(new Try(selection, took, null));

        /// <summary>Notes what the node of the last try answered.</summary>
        public void Answered(string reservation) => _tries[^1] = _tries[^1] with { Reservation = reservation };

        public JsonObject ToJson()
        {
            var json = new JsonObject
            {
                ["number"] = number,
                ["time"] = time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"),
                ["profile"] = profile,
                ["seed"] = seed,
                ["tries"] = new JsonArray([.. _tries.Select(t => t.ToJson())]),
            };
            if (Result is not null)
                json["result"] = Result;
            if (!string.IsNullOrEmpty(Message))
                json["message"] = Message;
            return json;
        }
    }

    private readonly record struct Try(SelectionResult Selection, TimeSpan Took, string? Reservation)
    {
        public JsonObject ToJson()
        {
            var json = new JsonObject
            {
                ["nodesSeen"] = Selection.NodesSeen,
                ["selectionMicroseconds"] = (long)Took.TotalMicroseconds,
                ["refusals"] = new JsonArray([.. Selection.Refusals.Select(r => new JsonObject
                {
                    ["plugin"] = r.Plugin,
                    ["reason"] = r.Reason,
                    ["nodes"] = r.Count,
                    ["samples"] = new JsonArray([.. r.Samples.Select(s => (JsonNode)s)]),
                })]),
                ["best"] = new JsonArray([.. Selection.Best.Select(b => new JsonObject { ["node"] = b.Node, ["score"] = b.Score })]),
            };
            if (Reservation is not null)
                json["reservation"] = Reservation;
            return json;
        }
    }
}
