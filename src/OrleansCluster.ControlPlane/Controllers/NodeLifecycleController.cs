using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Nodes;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Watches over the nodes: one whose agent has been silent for the grace period gets conditions Unknown and the taints that keep pods away; pods that
/// do not tolerate a node's NoExecute taints, or no longer, are deleted there, so that their controllers replace them (wire contract,
/// section 16). When the agent is back, its next heartbeat is answered with the wish for its status, and with that the taints go.
/// </summary>
public sealed class NodeLifecycleController(IGrainFactory grains, NodePods pods, IOptions<ControlPlaneOptions> options) : IController
{
    /// <summary>Key of the taint of a node whose agent is not heard.</summary>
    internal const string Unreachable = "node.kubernetes.io/unreachable";

    private const string NotReady = "node.kubernetes.io/not-ready";
    private const string Unschedulable = "node.kubernetes.io/unschedulable";

    /// <summary>Deletions of one node side by side.</summary>
    private const int ParallelEvictions = 16;

    /// <summary>Conditions that keep new pods away while they are true.</summary>
    private static readonly (string Condition, string Taint)[] PressureTaints =
    [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ];

    private static readonly string[] HeartbeatConditions = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

    /// <inheritdoc/>
    public string Name => "node-controller";

    /// <inheritdoc/>
    public string Resource => "nodes";

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources { get; } =
    [
        // A pod newly bound to a tainted node may have to leave it again.
        new WakeSource("pods", wake => !wake.Removed && wake.Object.Field("spec.nodeName") is { Length: > 0 } node && wake.Previous?.Field("spec.nodeName") != node
            ? [new ObjectKey("nodes", "", node)] : []),
    ];

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { } cached)
            return ReconcileResult.Done;
        var node = cached.ToJson();
        var now = context.Time.GetUtcNow();
        var heartbeat = await grains.GetGrain<INodeGrain>(key.Name).GetLastHeartbeatAsync(context.CancellationToken);
        // A status that the agent has just written is a sign of life as well; the heartbeat of an agent that is back may come after it.
        var last = Max(heartbeat ?? now, StatusTime(node));
        var silence = last > now ? TimeSpan.Zero : now - last;
        var lost = silence >= options.Value.NodeMonitorGracePeriod;
        if (lost)
            node = await MarkUnknownAsync(key, node, context);

        node = await SetTaintsAsync(key, node, context);
        var nextEviction = await EvictAsync(key, node, context);

        // Look again when the silence would be too long (heartbeats only move that moment on), or when the next pod's toleration ends; a lost
        // node is looked at until it is back.
        var next = lost ? Min(TimeSpan.FromSeconds(5), options.Value.NodeMonitorGracePeriod / 4) : options.Value.NodeMonitorGracePeriod - silence;
        if (nextEviction is { } due && due - now < next)
            next = due - now;
        return ReconcileResult.After(next < TimeSpan.FromMilliseconds(50) ? TimeSpan.FromMilliseconds(50) : next);
    }

    private static DateTimeOffset StatusTime(JsonObject node)
    {
        var ready = Condition(node, "Ready");
        return ready.Text("status") is "True" or "False" ? ParseTime(ready.Text("lastHeartbeatTime"), default) : default;
    }

    private static JsonObject? Condition(JsonObject node, string type) => node.Items("status", "conditions").FirstOrDefault(c => c.Text("type") == type);

    private static DateTimeOffset ParseTime(string text, DateTimeOffset otherwise) =>
        DateTimeOffset.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, System.Globalization.DateTimeStyles.AssumeUniversal, out var time)
            ? time : otherwise;

    private static DateTimeOffset Max(DateTimeOffset a, DateTimeOffset b) => a > b ? a : b;

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;

    private static async Task<JsonObject> MarkUnknownAsync(ObjectKey key, JsonObject node, ReconcileContext context)
    {
        if (HeartbeatConditions.All(type => Condition(node, type).Text("status") == "Unknown"))
            return node;
        var stamp = context.Time.Stamp();
        var updated = (JsonObject)node.DeepClone();
        var list = new JsonArray([.. node.Items("status", "conditions").Where(c => !HeartbeatConditions.Contains(c.Text("type"))).Select(c => c.DeepClone())]);
        foreach (var type in HeartbeatConditions)
        {
            var old = Condition(node, type);
            var known = old is not null;
            list.Add((JsonNode)new JsonObject
            {
                ["type"] = type,
                ["status"] = "Unknown",
                ["reason"] = known ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
                ["message"] = known ? "Kubelet stopped posting node status." : "Kubelet never posted node status.",
                ["lastHeartbeatTime"] = old.TextOr(stamp, "lastHeartbeatTime"),
                ["lastTransitionTime"] = old.Text("status") == "Unknown" ? old.TextOr(stamp, "lastTransitionTime") : stamp,
            });
        }
        if (updated["status"] is not JsonObject status)
            updated["status"] = status = [];
        status["conditions"] = list;
        var written = await context.Objects.UpdateAsync(key, updated, context.CancellationToken, "status");
        context.Events.Record(node, "Normal", "NodeNotReady", $"Node {key.Name} status is now: NodeNotReady");
        return written;
    }

    private static async Task<JsonObject> SetTaintsAsync(ObjectKey key, JsonObject node, ReconcileContext context)
    {
        var ready = Condition(node, "Ready").Text("status");
        var wanted = new List<(string Key, string Effect)>();
        if (ready == "Unknown")
            wanted.AddRange([(Unreachable, "NoSchedule"), (Unreachable, "NoExecute")]);
        else if (ready is "False" or "")
            wanted.AddRange([(NotReady, "NoSchedule"), (NotReady, "NoExecute")]);
        if (node["spec"]?["unschedulable"]?.GetValue<bool>() == true)
            wanted.Add((Unschedulable, "NoSchedule"));
        foreach (var (condition, taint) in PressureTaints)
        {
            if (Condition(node, condition).Text("status") == "True")
                wanted.Add((taint, "NoSchedule"));
        }

        var present = node.Items("spec", "taints").ToList();
        bool Managed(JsonObject taint) => taint.Text("key") is NotReady or Unreachable or Unschedulable || PressureTaints.Any(p => p.Taint == taint.Text("key"));
        var managed = present.Where(Managed).Select(t => (t.Text("key"), t.Text("effect"))).ToHashSet();
        if (managed.SetEquals(wanted))
            return node;

        var taints = new JsonArray([.. present.Where(t => !Managed(t) || wanted.Contains((t.Text("key"), t.Text("effect")))).Select(t => t.DeepClone())]);
        foreach (var (taint, effect) in wanted.Where(w => !managed.Contains(w)))
        {
            var item = new JsonObject { ["key"] = taint, ["effect"] = effect };
            if (taint is NotReady or Unreachable)
                item["timeAdded"] = context.Time.Stamp();
            taints.Add((JsonNode)item);
        }
        return await context.Objects.PatchAsync(
            key,
            new JsonObject
            {
                ["metadata"] = new JsonObject { ["resourceVersion"] = node.Text("metadata", "resourceVersion") },
                ["spec"] = new JsonObject { ["taints"] = taints.Count == 0 ? null : taints },
            },
            context.CancellationToken);
    }

    /// <summary>Deletes pods that may no longer stay; returns when the next one's time is up.</summary>
    private async Task<DateTimeOffset?> EvictAsync(ObjectKey key, JsonObject node, ReconcileContext context)
    {
        var taints = node.Items("spec", "taints").Where(t => t.Text("effect") == "NoExecute").ToList();
        if (taints.Count == 0)
            return null;
        var now = context.Time.GetUtcNow();
        DateTimeOffset? next = null;
        var victims = new List<Storage.ICachedObject>();
        foreach (var pod in await pods.GetLatestAsync(key.Name, context.CancellationToken))
        {
            if (pod.IsDeleting)
                continue;
            var due = StaysUntil(pod.ToJson(), taints, now);
            if (due is null)
                continue;
            if (due > now)
            {
                next = next is null || due < next ? due : next;
                continue;
            }
            victims.Add(pod);
        }
        await Parallel.ForEachAsync(
            victims,
            new ParallelOptions { MaxDegreeOfParallelism = ParallelEvictions, CancellationToken = context.CancellationToken },
            async (pod, token) =>
            {
                context.Events.Record(pod.ToJson(), "Normal", "TaintManagerEviction", $"Marking for deletion Pod {pod.Key.StorageKey}");
                await context.Objects.DeleteAsync(pod.Key, new DeleteOptions(PreconditionUid: pod.Uid), token);
            });
        return next;
    }

    // Null: tolerates the taints for ever. Otherwise the end of the shortest toleration; at once where a taint is not tolerated.
    private static DateTimeOffset? StaysUntil(JsonObject pod, List<JsonObject> taints, DateTimeOffset now)
    {
        DateTimeOffset? until = null;
        foreach (var taint in taints)
        {
            var tolerations = pod.Items("spec", "tolerations").Where(t => Tolerations.Tolerates(t, taint)).ToList();
            if (tolerations.Count == 0)
                return now;
            var seconds = tolerations.Select(t => t.Number(-1, "tolerationSeconds")).Where(s => s >= 0).ToList();
            if (seconds.Count == 0)
                continue;
            var end = ParseTime(taint.Text("timeAdded"), now) + TimeSpan.FromSeconds(seconds.Min());
            until = until is null || end < until ? end : until;
        }
        return until;
    }
}

/// <summary>Whether a toleration covers a taint.</summary>
internal static class Tolerations
{
    public static bool Tolerates(JsonObject toleration, JsonObject taint)
    {
        if (toleration.Text("effect") is { Length: > 0 } effect && effect != taint.Text("effect"))
            return false;
        var key = toleration.Text("key");
        if (key.Length > 0 && key != taint.Text("key"))
            return false;
        return toleration.Text("operator") switch
        {
            "Exists" => true,
            _ => key.Length > 0 && toleration.Text("value") == taint.Text("value"),
        };
    }
}
