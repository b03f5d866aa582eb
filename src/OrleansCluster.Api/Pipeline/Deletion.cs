using System.Globalization;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// What a DELETE does to an object (wire contract, section 13), in this order:
/// <list type="number">
/// <item>the options make sense, and the preconditions hold;</item>
/// <item>an object already marked: a shorter grace is taken over, anything else changes nothing;</item>
/// <item>the propagation policy becomes a finalizer (`orphan`, `foregroundDeletion`);</item>
/// <item>a kind with graceful deletion is marked with its grace, another only if a finalizer holds it;</item>
/// <item>with no grace left and nothing that holds it, the object goes.</item>
/// </list>
/// </summary>
internal static class Deletion
{
    public const string OrphanFinalizer = "orphan";
    public const string ForegroundFinalizer = "foregroundDeletion";

    /// <summary>Most seconds that a deletionTimestamp lies ahead: ten years, beyond any sense and still a time that can be written down.</summary>
    private const long MaxGrace = 10L * 365 * 24 * 3600;

    public static PipelineResult Run(JsonObject old, DeleteOptions options, StrategyContext context)
    {
        if (options.Check() is { } wrong)
            return PipelineResult.Fail(wrong);
        if (CheckPreconditions(old, options, context) is { } conflict)
            return PipelineResult.Fail(conflict);
        var requested = options.GracePeriodSeconds is < 0 ? 1 : options.GracePeriodSeconds;

        var obj = (JsonObject)old.DeepClone();
        var metadata = obj.EnsureObject("metadata");
        return metadata.Has("deletionTimestamp")
            ? Again(obj, metadata, requested, context)
            : First(obj, metadata, requested, options, context);
    }

    /// <summary>True while finalizers, of the metadata or of the kind's own, hold the object.</summary>
    public static bool IsHeld(JsonObject obj, ResourceStrategy strategy) =>
        obj.GetObject("metadata").GetArray("finalizers") is { Count: > 0 } || strategy.HasOwnFinalizers(obj);

    private static PipelineResult First(JsonObject obj, JsonObject metadata, long? requested, DeleteOptions options, StrategyContext context)
    {
        var strategy = context.Definition.Strategy;
        if (strategy.CollectsDependents)
            SetPropagation(metadata, options, context.Definition.OrphanByDefault);
        var held = IsHeld(obj, strategy);
        var grace = strategy.GracePeriodSeconds(obj, requested);
        if (grace is null && !held)
            return new PipelineResult(PipelineOutcome.Remove, obj);
        Mark(obj, metadata, grace ?? 0, context);
        return new PipelineResult(held || grace > 0 ? PipelineOutcome.Write : PipelineOutcome.Remove, obj);
    }

    private static PipelineResult Again(JsonObject obj, JsonObject metadata, long? requested, StrategyContext context)
    {
        var present = metadata.GetLong("deletionGracePeriodSeconds") ?? 0;
        var held = IsHeld(obj, context.Definition.Strategy);
        if (present == 0 && !held)
            return new PipelineResult(PipelineOutcome.Remove, obj);
        if (requested is not { } grace || grace >= Math.Min(present, MaxGrace))
            return new PipelineResult(PipelineOutcome.Unchanged, obj);
        // The timestamp counts from the first deletion, so it moves by the difference.
        var until = KubernetesTime.TryParse(metadata.GetString("deletionTimestamp"), out var time) ? time : context.Now;
        metadata["deletionTimestamp"] = KubernetesTime.Format(until - TimeSpan.FromSeconds(Math.Min(present, MaxGrace) - grace));
        metadata["deletionGracePeriodSeconds"] = grace;
        return new PipelineResult(grace == 0 && !held ? PipelineOutcome.Remove : PipelineOutcome.Write, obj);
    }

    private static void Mark(JsonObject obj, JsonObject metadata, long grace, StrategyContext context)
    {
        metadata["deletionTimestamp"] = KubernetesTime.Format(context.Now + TimeSpan.FromSeconds(Math.Min(grace, MaxGrace)));
        metadata["deletionGracePeriodSeconds"] = grace;
        if (metadata.GetLong("generation") is { } generation and > 0)
            metadata["generation"] = generation + 1;
        context.Definition.Strategy.PrepareForDeletion(obj, context);
    }

    // An explicit policy wins; else a finalizer that is there already; else the kind's default.
    private static void SetPropagation(JsonObject metadata, DeleteOptions options, bool orphanByDefault)
    {
        var finalizers = metadata.Strings("finalizers").ToList();
        var orphan = options switch
        {
            { OrphanDependents: { } old } => old,
            { PropagationPolicy: { } policy } => policy == "Orphan",
            _ when finalizers.Contains(OrphanFinalizer) => true,
            _ when finalizers.Contains(ForegroundFinalizer) => false,
            _ => orphanByDefault,
        };
        var foreground = options switch
        {
            { OrphanDependents: not null } => false,
            { PropagationPolicy: { } policy } => policy == "Foreground",
            _ => finalizers.Contains(ForegroundFinalizer) && !finalizers.Contains(OrphanFinalizer),
        };
        var wanted = finalizers.Where(f => f is not (OrphanFinalizer or ForegroundFinalizer)).ToList();
        if (orphan)
            wanted.Add(OrphanFinalizer);
        if (foreground)
            wanted.Add(ForegroundFinalizer);
        if (wanted.SequenceEqual(finalizers))
            return;
        if (wanted.Count == 0)
            metadata.Remove("finalizers");
        else
            metadata["finalizers"] = new JsonArray([.. wanted.Select(f => (JsonNode)f)]);
    }

    private static StatusError? CheckPreconditions(JsonObject old, DeleteOptions options, StrategyContext context)
    {
        var metadata = old.GetObject("metadata");
        if (options.PreconditionUid is { } uid && metadata.GetString("uid") is var storedUid && uid != storedUid)
        {
            return Conflict(context, string.Create(CultureInfo.InvariantCulture,
                $"the UID in the precondition ({uid}) does not match the UID in record ({storedUid}). The object might have been deleted and then recreated"));
        }
        if (options.PreconditionResourceVersion is { } version && metadata.GetString("resourceVersion") is var stored && version != stored)
        {
            return Conflict(context, string.Create(CultureInfo.InvariantCulture,
                $"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({stored}). The object might have been modified"));
        }
        return null;
    }

    // Here the wire names the Kind, not the resource.
    private static StatusError Conflict(StrategyContext context, string why) =>
        StatusError.Conflict(context.Definition.Kind, context.Definition.Group, context.Key.Name, why);
}
