using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Options of a deletion (wire: `DeleteOptions`).</summary>
/// <param name="GracePeriodSeconds">Grace asked for, or null.</param>
/// <param name="PropagationPolicy">`Background`, `Foreground`, `Orphan` or null.</param>
/// <param name="PreconditionUid">Uid the object must have, or null.</param>
/// <param name="PreconditionResourceVersion">Revision the object must have, or null.</param>
public sealed record DeleteOptions(
    long? GracePeriodSeconds = null,
    string? PropagationPolicy = null,
    string? PreconditionUid = null,
    string? PreconditionResourceVersion = null)
{
    private static readonly string[] Policies = ["Background", "Foreground", "Orphan"];

    /// <summary>The old form of the policy (`orphanDependents`), or null. Not to be combined with <see cref="PropagationPolicy"/>.</summary>
    public bool? OrphanDependents { get; init; }

    /// <summary>True where the body asks for a dry run (`dryRun: ["All"]`).</summary>
    public bool DryRun { get; init; }

    /// <summary>Reads a body; `kind` and `apiVersion` may be missing, and so may the body. Values are checked by the deletion itself.</summary>
    public static DeleteOptions FromJson(JsonObject? body)
    {
        var preconditions = body.GetObject("preconditions");
        return new DeleteOptions(
            body.GetLong("gracePeriodSeconds"),
            body.GetString("propagationPolicy") is { Length: > 0 } policy ? policy : null,
            preconditions.GetString("uid") is { Length: > 0 } uid ? uid : null,
            preconditions.GetString("resourceVersion") is { Length: > 0 } version ? version : null)
        {
            OrphanDependents = body.GetBool("orphanDependents"),
            DryRun = body.Strings("dryRun").Contains("All", StringComparer.Ordinal),
        };
    }

    /// <summary>The body that <see cref="FromJson"/> reads.</summary>
    public JsonObject ToJson()
    {
        var body = new JsonObject { ["kind"] = "DeleteOptions", ["apiVersion"] = "v1" };
        if (GracePeriodSeconds is { } grace)
            body["gracePeriodSeconds"] = grace;
        if (PropagationPolicy is not null)
            body["propagationPolicy"] = PropagationPolicy;
        if (OrphanDependents is { } orphan)
            body["orphanDependents"] = orphan;
        if (DryRun)
            body["dryRun"] = new JsonArray("All");
        if (PreconditionUid is not null || PreconditionResourceVersion is not null)
        {
            var preconditions = body.EnsureObject("preconditions");
            if (PreconditionUid is not null)
                preconditions["uid"] = PreconditionUid;
            if (PreconditionResourceVersion is not null)
                preconditions["resourceVersion"] = PreconditionResourceVersion;
        }
        return body;
    }

    /// <summary>What is wrong with the options, or null.</summary>
    internal StatusError? Check()
    {
        var errors = new FieldErrors();
        if (PropagationPolicy is not null && OrphanDependents is not null)
            errors.Invalid(FieldPath.Root("propagationPolicy"), PropagationPolicy, "orphanDependents and deletionPropagation cannot be both set");
        if (PropagationPolicy is not null && !Policies.Contains(PropagationPolicy, StringComparer.Ordinal))
            errors.NotSupported(FieldPath.Root("propagationPolicy"), PropagationPolicy, Policies);
        return errors.IsEmpty ? null : errors.ToStatus("DeleteOptions", "meta.k8s.io", "");
    }
}
