using System.Globalization;
using System.Text.Json;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// Rules about pods and nodes: over the whole history no node overcommitted and no pod bound twice; at the end, when all is quiet, exactly what is
/// declared, and nothing left over.
/// </summary>
internal static class ClusterRules
{
    public static void Check(History history, Verdict verdict)
    {
        var nodes = Final(history, "nodes").Select(n => n.GetProperty("status").GetProperty("allocatable") is var a
            ? new Node(Name(n), Cpu(a.GetProperty("cpu")), int.Parse(a.GetProperty("pods").GetString()!, CultureInfo.InvariantCulture))
            : null!).ToDictionary(n => n.Name, StringComparer.Ordinal);
        CheckBindings(history, nodes, verdict);
        SurplusRule.Check(history, verdict);
        CheckEnd(history, nodes, verdict);
    }

    /// <summary>What is not yet as it will be when all is quiet; empty when it is. A run waits for this before it is judged.</summary>
    public static string Unsettled(IEnumerable<JsonElement> controllers, IEnumerable<JsonElement> pods)
    {
        var verdict = new Verdict();
        CheckReplicas(controllers, [.. pods.Select(Pod.Read)], verdict);
        return string.Join("; ", verdict.Violations);
    }

    private static void CheckBindings(History history, Dictionary<string, Node> nodes, Verdict verdict)
    {
        var log = ResourceLog.Build("pods", history, mayLose: true, new Verdict());
        var bound = new Dictionary<string, string>(StringComparer.Ordinal);
        var held = new Dictionary<string, Pod>(StringComparer.Ordinal);
        foreach (var entry in log.Keys.Values.SelectMany(c => c).OrderBy(e => e.Position))
        {
            if (entry.Version?.Body is not { } body)
            {
                if (held.GetValueOrDefault(entry.Key)?.Uid == entry.Uid)
                    held.Remove(entry.Key);
                continue;
            }
            using var document = JsonDocument.Parse(body);
            var pod = Pod.Read(document.RootElement);
            if (pod.Node.Length == 0)
            {
                if (bound.TryGetValue(pod.Uid, out var was))
                    verdict.Add(Rule.Rebound, $"{entry} was bound to {was} and is bound no more");
                continue;
            }
            if (!bound.TryAdd(pod.Uid, pod.Node) && bound[pod.Uid] != pod.Node)
                verdict.Add(Rule.Rebound, $"{entry} was bound to {bound[pod.Uid]} and is bound to {pod.Node}");
            var isNew = !held.TryGetValue(pod.Key, out var before) || before.Uid != pod.Uid;
            held[pod.Key] = pod;
            if (!isNew || !nodes.TryGetValue(pod.Node, out var node))
                continue;
            var there = held.Values.Where(p => p.Node == pod.Node && !p.IsFinished).ToList();
            if (there.Sum(p => p.Cpu) > node.Cpu || there.Count > node.Pods)
            {
                verdict.Add(
                    Rule.Overcommit,
                    $"at {entry} node {node.Name} has {there.Count} pods with {there.Sum(p => p.Cpu)}m cpu and room for {node.Pods} with {node.Cpu}m: {string.Join(", ", there.Select(p => p.Key))}");
            }
        }
    }

    private static void CheckEnd(History history, Dictionary<string, Node> nodes, Verdict verdict)
    {
        var pods = Final(history, "pods").Select(Pod.Read).ToList();
        var controllers = Final(history, "replicationcontrollers").ToList();
        CheckReplicas(controllers, pods, verdict);
        var owners = controllers.Select(Uid).ToHashSet(StringComparer.Ordinal);
        foreach (var pod in pods)
        {
            if (pod.Owner is { } owner && !owners.Contains(owner))
                verdict.Add(Rule.Orphan, $"{pod.Key} belongs to {owner}, which is not there");
            if (pod.Node.Length > 0 && !nodes.ContainsKey(pod.Node))
                verdict.Add(Rule.Orphan, $"{pod.Key} is bound to {pod.Node}, which is not there");
            if (pod.IsDeleting)
                verdict.Add(Rule.Stuck, $"{pod.Key} is still being deleted");
            if (pod.Node.Length == 0 && nodes.Values.Any(n => Fits(pod, n, pods)))
                verdict.Add(Rule.Pending, $"{pod.Key} fits and is not bound");
            else if (pod is { IsReady: false, IsFinished: false, Node.Length: > 0 })
                verdict.Add(Rule.Pending, $"{pod.Key} is bound to {pod.Node} and does not run");
        }
        foreach (var resource in (string[])["configmaps", "namespaces", "services", "replicationcontrollers", "nodes"])
        {
            foreach (var obj in Final(history, resource).Where(o => o.GetProperty("metadata").TryGetProperty("deletionTimestamp", out _)))
                verdict.Add(Rule.Stuck, $"{resource} {Name(obj)} is still being deleted");
        }
        CheckEndpoints(history, pods, verdict);
    }

    private static void CheckReplicas(IEnumerable<JsonElement> controllers, List<Pod> pods, Verdict verdict)
    {
        foreach (var controller in controllers)
        {
            var declared = controller.GetProperty("spec").GetProperty("replicas").GetInt32();
            var own = pods.Where(p => p.Owner == Uid(controller)).ToList();
            var live = own.Count(p => p is { IsDeleting: false, IsFinished: false });
            if (live != declared || own.Exists(p => p.IsDeleting))
                verdict.Add(Rule.Replicas, $"{Name(controller)} declares {declared}: {string.Join(", ", own)}");
            var status = controller.TryGetProperty("status", out var s) && s.TryGetProperty("readyReplicas", out var r) ? r.GetInt32() : 0;
            if (status != own.Count(p => p.IsReady))
                verdict.Add(Rule.Replicas, $"{Name(controller)} reports {status} ready, there are {own.Count(p => p.IsReady)}");
        }
        foreach (var pod in pods.Where(p => p is { Node.Length: > 0, IsReady: false, IsFinished: false } || p.IsDeleting))
            verdict.Add(Rule.Pending, $"{pod} does not run");
    }

    private static void CheckEndpoints(History history, List<Pod> pods, Verdict verdict)
    {
        foreach (var endpoints in Final(history, "endpoints"))
        {
            var ns = endpoints.GetProperty("metadata").GetProperty("namespace").GetString()!;
            if (!ns.StartsWith("faults-", StringComparison.Ordinal))
                continue;
            var listed = endpoints.TryGetProperty("subsets", out var subsets)
                ? subsets.EnumerateArray().SelectMany(s => s.TryGetProperty("addresses", out var a) ? a.EnumerateArray().Select(x => x.GetProperty("ip").GetString()!) : []).Order(StringComparer.Ordinal)
                : Enumerable.Empty<string>();
            var ready = pods.Where(p => p.Key.StartsWith(ns + "/", StringComparison.Ordinal) && p.App == Name(endpoints) && p is { IsReady: true, IsDeleting: false }).Select(p => p.Ip).Order(StringComparer.Ordinal);
            if (!listed.SequenceEqual(ready, StringComparer.Ordinal))
                verdict.Add(Rule.Endpoints, $"{ns}/{Name(endpoints)} lists {string.Join(' ', listed)}, ready are {string.Join(' ', ready)}");
        }
    }

    private static bool Fits(Pod pod, Node node, List<Pod> pods)
    {
        var there = pods.Where(p => p.Node == node.Name && !p.IsFinished).ToList();
        return there.Sum(p => p.Cpu) + pod.Cpu <= node.Cpu && there.Count < node.Pods;
    }

    private static List<JsonElement> Final(History history, string resource)
    {
        var items = new List<JsonElement>();
        foreach (var body in (history.Final.LastOrDefault(f => f.Resource == resource)?.Items ?? []).Select(i => i.Body).OfType<string>())
        {
            using var document = JsonDocument.Parse(body);
            items.Add(document.RootElement.Clone());
        }
        return items;
    }

    private static string Name(JsonElement obj) => obj.GetProperty("metadata").GetProperty("name").GetString()!;

    private static string Uid(JsonElement obj) => obj.GetProperty("metadata").GetProperty("uid").GetString()!;

    /// <summary>Thousandths of a processor.</summary>
    public static long Cpu(JsonElement quantity)
    {
        var text = quantity.GetString()!;
        return text.EndsWith('m')
            ? long.Parse(text.AsSpan(0, text.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture)
            : (long)(double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture) * 1000);
    }

    private sealed record Node(string Name, long Cpu, int Pods);

    private sealed record Pod(string Key, string Uid, string Node, string? Owner, string App, string Ip, long Cpu, bool IsReady, bool IsFinished, bool IsDeleting)
    {
        public static Pod Read(JsonElement pod)
        {
            var metadata = pod.GetProperty("metadata");
            var spec = pod.GetProperty("spec");
            var status = pod.TryGetProperty("status", out var s) ? s : default;
            var phase = Text(status, "phase");
            return new Pod(
                $"{Text(metadata, "namespace")}/{Text(metadata, "name")}",
                Text(metadata, "uid"),
                Text(spec, "nodeName"),
                metadata.TryGetProperty("ownerReferences", out var owners) ? owners[0].GetProperty("uid").GetString() : null,
                metadata.TryGetProperty("labels", out var labels) ? Text(labels, "app") : "",
                Text(status, "podIP"),
                spec.GetProperty("containers").EnumerateArray().Sum(c => c.TryGetProperty("resources", out var r) && r.TryGetProperty("requests", out var q) && q.TryGetProperty("cpu", out var cpu) ? ClusterRules.Cpu(cpu) : 0),
                status.ValueKind == JsonValueKind.Object && status.TryGetProperty("conditions", out var conditions)
                    && conditions.EnumerateArray().Any(c => Text(c, "type") == "Ready" && Text(c, "status") == "True"),
                phase is "Succeeded" or "Failed",
                metadata.TryGetProperty("deletionTimestamp", out _));
        }

        public override string ToString() => $"{Key} on '{Node}'{(IsReady ? " ready" : "")}{(IsFinished ? " finished" : "")}{(IsDeleting ? " deleting" : "")}";

        private static string Text(JsonElement obj, string member) =>
            obj.ValueKind == JsonValueKind.Object && obj.TryGetProperty(member, out var value) ? value.GetString() ?? "" : "";
    }
}
