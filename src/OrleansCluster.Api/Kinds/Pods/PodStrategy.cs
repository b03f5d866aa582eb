using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Pods (v1). The spec of a pod hardly changes after creation; the scheduler sets `spec.nodeName` through the subresource `binding`, the node
/// agent writes the status.
/// </summary>
internal sealed class PodStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "Pod",
        Plural = "pods",
        Singular = "pod",
        Namespaced = true,
        ShortNames = ["po"],
        Categories = ["all"],
        Subresources =
        [
            new("attach", ["create", "get"], "PodAttachOptions"),
            new("binding", ["create"], "Binding"),
            new("eviction", ["create"], "Eviction", "policy", "v1"),
            new("exec", ["create", "get"], "PodExecOptions"),
            new("log", ["get"], "Pod"),
            new("portforward", ["create", "get"], "PodPortForwardOptions"),
            new("status", ["get", "patch", "update"], "Pod"),
        ],
        Columns =
        [
            new("Name", Format: "name"), new("Ready"), new("Status"), new("Restarts"), new("Age"), new("IP", Priority: 1), new("Node", Priority: 1),
            new("Nominated Node", Priority: 1), new("Readiness Gates", Priority: 1),
        ],
        DeleteReturnsObject = true,
        Strategy = new PodStrategy(),
    };

    public override bool HasStatus => true;

    public override IReadOnlyList<SelectableField> SelectableFields { get; } =
    [
        new("spec.nodeName"),
        new("spec.restartPolicy"),
        new("spec.schedulerName"),
        new("spec.serviceAccountName"),
        new("spec.hostNetwork") { Default = "false" },
        new("status.phase"),
        new("status.podIP"),
        new("status.podIPs", "status.podIPs.0.ip"),
        new("status.nominatedNodeName"),
    ];

    public override void Default(JsonObject obj) => PodDefaults.Apply(obj.EnsureObject("spec"), template: false);

    public override void PrepareForCreate(JsonObject obj, StrategyContext context)
    {
        obj["status"] = new JsonObject { ["phase"] = "Pending", ["qosClass"] = PodQos.Class(obj.GetObject("spec")) };
        if (obj.GetObject("spec").GetArray("schedulingGates") is { Count: > 0 })
        {
            obj.GetObject("status")!["conditions"] = new JsonArray(new JsonObject
            {
                ["type"] = "PodScheduled",
                ["status"] = "False",
                ["reason"] = "SchedulingGated",
                ["message"] = "Scheduling is blocked due to non-empty scheduling gates",
            });
        }
    }

    public override void PrepareForStatusUpdate(JsonObject obj, JsonObject old, StrategyContext context)
    {
        obj.EnsureObject("metadata").CopyMember("ownerReferences", old.GetObject("metadata"));
        var status = obj.EnsureObject("status");
        if (status.GetString("qosClass") is null or "")
            status.CopyMember("qosClass", old.GetObject("status"));
    }

    public override StatusError? ApplySubresource(JsonObject obj, JsonObject body, string subresource, StrategyContext context) =>
        subresource == "binding" ? PodBinding.Apply(obj, body, context) : base.ApplySubresource(obj, body, subresource, context);

    public override void Validate(JsonObject obj, FieldErrors errors) =>
        PodSpecRules.Validate(obj.GetObject("spec"), FieldPath.Root("spec"), errors);

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors) => PodUpdateRules.Validate(obj, old, errors);

    public override void ValidateStatus(JsonObject obj, JsonObject old, FieldErrors errors) => PodUpdateRules.ValidateStatus(obj, old, errors);

    public override long? GracePeriodSeconds(JsonObject obj, long? requested)
    {
        var spec = obj.GetObject("spec");
        // Nothing runs before the pod has a node and after it has ended.
        if (spec.GetString("nodeName") is null or "" || obj.GetObject("status").GetString("phase") is "Succeeded" or "Failed")
            return 0;
        var grace = requested ?? spec.GetLong("terminationGracePeriodSeconds") ?? 0;
        return grace < 0 ? 1 : grace;
    }

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row) => PodCells.Write(obj, now, row);
}
