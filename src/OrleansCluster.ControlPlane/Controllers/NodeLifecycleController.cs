using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Watches over the nodes: one whose agent has been silent for the grace period gets conditions Unknown and the taints that keep pods away; pods that
/// do not tolerate a node's NoExecute taints, or no longer, are deleted there, so that their controllers replace them (wire contract,
/// section 16). When the agent is back, the taints go.
/// </summary>
public sealed class NodeLifecycleController(IGrainFactory grains, IOptions<ControlPlaneOptions> options) : IController
{
    private const string NotReady = "node.kubernetes.io/not-ready";
    private const string Unreachable = "node.kubernetes.io/unreachable";
    private const string Unschedulable = "node.kubernetes.io/unschedulable";

    private static readonly string[] HeartbeatConditions = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

    /// <inheritdoc/>
    public string Name => "node-controller";

    /// <inheritdoc/>
    public string Resource => "nodes";

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources { get; } =
    [
        // A pod newly bound to a tainted node may have to leave it again.
        new WakeSource("pods", wake => wake.Previous is not null && wake.Previous.Field("spec.nodeName") != wake.Object.Field("spec.nodeName")
            ? [new ObjectKey("nodes", "", wake.Object.Field("spec.nodeName")!)] : []),
    ];

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { } cached)
            return ReconcileResult.Done;
        var node = cached.ToJson();
        var now = context.Time.GetUtcNow();
        var heartbeat = await grains.GetGrain<INodeGrain>(key.Name).GetLastHeartbeatAsync(context.CancellationToken);
        var silence = now - (heartbeat ?? now);
        var lost = silence >= options.Value.NodeMonitorGracePeriod;
        if (lost)
            node = await MarkUnknownAsync(key, node, context);

        node = await SetTaintsAsync(key, node, context);
        var nextEviction = await EvictAsync(key.Name, node, context);

        // Look again when the silence would be too long, or when the next pod's toleration ends; a lost node is looked at until it is back.
        var interval = Interval();
        var next = lost ? interval : Min(options.Value.NodeMonitorGracePeriod - silence, interval * 2);
        if (nextEviction is { } due && due - now < next)
            next = due - now;
        return ReconcileResult.After(next < TimeSpan.FromMilliseconds(50) ? TimeSpan.FromMilliseconds(50) : next);
    }

    private TimeSpan Interval() => Min(TimeSpan.FromSeconds(5), options.Value.NodeMonitorGracePeriod / 4);

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;

    private static async Task<JsonObject> MarkUnknownAsync(ObjectKey key, JsonObject node, ReconcileContext context)
    {
        var conditions = node.Items("status", "conditions").ToDictionary(c => c.Text("type"), StringComparer.Ordinal);
        if (HeartbeatConditions.All(type => conditions.TryGetValue(type, out var c) && c.Text("status") == "Unknown"))
            return node;
        var stamp = context.Time.Stamp();
        var updated = (JsonObject)node.DeepClone();
        var list = new JsonArray([.. node.Items("status", "conditions").Where(c => !HeartbeatConditions.Contains(c.Text("type"))).Select(c => c.DeepClone())]);
        foreach (var type in HeartbeatConditions)
        {
            var known = conditions.TryGetValue(type, out var old);
            list.Add((JsonNode)new JsonObject
            {
                ["type"] = type,
                ["status"] = "Unknown",
                ["reason"] = known ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
                ["message"] = known ? "Kubelet stopped posting node status." : "Kubelet never posted node status.",
                ["lastHeartbeatTime"] = known ? old.Text("lastHeartbeatTime") : stamp,
                ["lastTransitionTime"] = known && old.Text("status") == "Unknown" ? old.Text("lastTransitionTime") : stamp,
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
        var ready = node.Items("status", "conditions").FirstOrDefault(c => c.Text("type") == "Ready").Text("status");
        var wanted = new List<(string Key, string Effect)>();
        if (ready == "Unknown")
            wanted.AddRange([(Unreachable, "NoSchedule"), (Unreachable, "NoExecute")]);
        else if (ready is "False" or "")
            wanted.AddRange([(NotReady, "NoSchedule"), (NotReady, "NoExecute")]);
        if (node["spec"]?["unschedulable"]?.GetValue<bool>() == true)
            wanted.Add((Unschedulable, "NoSchedule"));

        var present = node.Items("spec", "taints").ToList();
        bool Managed(JsonObject taint) => taint.Text("key") is NotReady or Unreachable or Unschedulable;
        var managed = present.Where(Managed).Select(t => (t.Text("key"), t.Text("effect"))).ToHashSet();
        if (managed.SetEquals(wanted))
            return node;

        var taints = new JsonArray([.. present.Where(t => !Managed(t) || wanted.Contains((t.Text("key"), t.Text("effect")))).Select(t => t.DeepClone())]);
        foreach (var (taint, effect) in wanted.Where(w => !managed.Contains(w)))
        {
            var item = new JsonObject { ["key"] = taint, ["effect"] = effect };
            if (effect == "NoExecute" || taint != Unschedulable)
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
    private static async Task<DateTimeOffset?> EvictAsync(string node, JsonObject nodeObject, ReconcileContext context)
    {
        var taints = nodeObject.Items("spec", "taints").Where(t => t.Text("effect") == "NoExecute").ToList();
        if (taints.Count == 0)
            return null;
        var now = context.Time.GetUtcNow();
        DateTimeOffset? next = null;
        foreach (var pod in (await context.Objects.ListAsync("pods", context.CancellationToken)).Enumerate())
        {
            if (pod.IsDeleting || pod.Field("spec.nodeName") != node)
                continue;
            var due = StaysUntil(pod.ToJson(), taints, now);
            if (due is null)
                continue;
            if (due > now)
            {
                next = next is null || due < next ? due : next;
                continue;
            }
            context.Events.Record(pod.ToJson(), "Normal", "TaintManagerEviction", $"Marking for deletion Pod {pod.Key.StorageKey}");
            await context.Objects.DeleteAsync(pod.Key, new DeleteOptions(PreconditionUid: pod.Uid), context.CancellationToken);
        }
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
            var added = DateTimeOffset.TryParse(taint.Text("timeAdded"), System.Globalization.CultureInfo.InvariantCulture, System.Globalization.DateTimeStyles.AssumeUniversal, out var time)
                ? time : now;
            var end = added + TimeSpan.FromSeconds(seconds.Min());
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
