using System.Text.Json;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// Over the whole history: a controller's pods that live (neither being deleted nor finished) may be more than declared for as long as a decision takes to
/// be undone, but not for longer, and never by more than one decision that was made twice (two activations, a silo that was taken for dead) explains.
/// Pods and controllers have revisions of their own; what puts them side by side is the time at which the followers saw each change.
/// </summary>
internal sealed class SurplusRule(Verdict verdict)
{
    /// <summary>A surplus that lasts longer is at rest. Above the longest outage of a run (9 s) with the time-outs of who acts after it, in microseconds.</summary>
    public const long Rest = 30_000_000;

    private readonly Dictionary<string, Controller> _controllers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (string Uid, string Owner)> _pods = new(StringComparer.Ordinal);

    public static void Check(History history, Verdict verdict)
    {
        var rule = new SurplusRule(verdict);
        // Of changes seen at one moment those of controllers first: a follower of pods that is quicker must not see too many of them.
        foreach (var change in Changes(history, "replicationcontrollers").Concat(Changes(history, "pods")).OrderBy(c => c.At).ThenBy(c => c.IsPod))
        {
            if (change.IsPod)
                rule.SeePod(change);
            else
                rule.SeeController(change);
        }
    }

    private static IEnumerable<Change> Changes(History history, string resource)
    {
        var seen = new Dictionary<long, long>();
        foreach (var observer in history.Observers.Where(o => o.Resource == resource))
        {
            foreach (var step in observer.Steps)
            {
                foreach (var item in step.List?.Items ?? [])
                    See(item.Revision, step.List!.Completed);
                foreach (var change in step.Stream?.Events ?? [])
                    See(change.Revision, change.At);
            }
        }
        var log = ResourceLog.Build(resource, history, mayLose: true, new Verdict());
        var at = 0L;
        foreach (var entry in log.Keys.Values.SelectMany(c => c).OrderBy(e => e.Position))
        {
            // What no follower saw lies where it lies between two that one saw.
            at = Math.Max(at, seen.GetValueOrDefault(entry.Revision, at));
            yield return new Change(at, resource == "pods", entry);
        }

        void See(long revision, long when)
        {
            if (!seen.TryGetValue(revision, out var before) || when < before)
                seen[revision] = when;
        }
    }

    private void SeeController(Change change)
    {
        var key = change.Entry.Uid;
        if (change.Entry.Version?.Body is not { } body)
        {
            // Its pods are garbage now; whether they go is the matter of another rule.
            _controllers.Remove(key);
            return;
        }
        using var document = JsonDocument.Parse(body);
        var declared = document.RootElement.GetProperty("spec").GetProperty("replicas").GetInt32();
        if (!_controllers.TryGetValue(key, out var controller))
            _controllers[key] = controller = new Controller(change.Entry.Key);
        Judge(controller, change);
        controller.Declare(declared, change.At);
        Judge(controller, change);
    }

    private void SeePod(Change change)
    {
        if (_pods.Remove(change.Entry.Key, out var was) && _controllers.TryGetValue(was.Owner, out var before))
        {
            Judge(before, change); // It was so up to this moment.
            before.Live.Remove(change.Entry.Key);
            Judge(before, change);
        }
        if (change.Entry.Version?.Body is not { } body)
            return;
        using var document = JsonDocument.Parse(body);
        var metadata = document.RootElement.GetProperty("metadata");
        var phase = document.RootElement.TryGetProperty("status", out var status) && status.TryGetProperty("phase", out var p) ? p.GetString() : "";
        if (!metadata.TryGetProperty("ownerReferences", out var owners) || metadata.TryGetProperty("deletionTimestamp", out _) || phase is "Succeeded" or "Failed")
            return;
        var owner = owners[0].GetProperty("uid").GetString()!;
        _pods[change.Entry.Key] = (change.Entry.Uid, owner);
        if (!_controllers.TryGetValue(owner, out var controller))
            return;
        controller.Live.Add(change.Entry.Key);
        Judge(controller, change);
    }

    private void Judge(Controller controller, Change change)
    {
        var most = controller.MostDeclared(change.At - Rest);
        if (controller.Live.Count > 2 * most)
            verdict.Add(Rule.Surplus, $"at {change.Entry} {controller.Key} has {controller.Live.Count} pods and declared no more than {most} lately: {controller}");
        if (controller.Live.Count <= controller.Declared)
            controller.Since = null;
        else if (controller.Since is not { } since)
            controller.Since = change.At;
        else if (change.At - since > Rest)
            verdict.Add(Rule.Surplus, $"at {change.Entry} {controller.Key} has had more than the {controller.Declared} pods it declares for {(change.At - since) / 1_000_000} s: {controller}");
    }

    private sealed record Change(long At, bool IsPod, Entry Entry);

    private sealed class Controller(string key)
    {
        private readonly List<(int Replicas, long Until)> _before = [];

        public string Key => key;

        public int Declared { get; private set; }

        public HashSet<string> Live { get; } = new(StringComparer.Ordinal);

        /// <summary>Since when there have been more than declared.</summary>
        public long? Since { get; set; }

        public void Declare(int replicas, long at)
        {
            _before.Add((Declared, at));
            // A rising number is met by the pods there are, and a falling one begins its time anew.
            if (replicas != Declared)
                Since = null;
            Declared = replicas;
        }

        public int MostDeclared(long after) => _before.Where(b => b.Until >= after).Select(b => b.Replicas).Append(Declared).Max();

        public override string ToString() => string.Join(", ", Live.Order(StringComparer.Ordinal));
    }
}
