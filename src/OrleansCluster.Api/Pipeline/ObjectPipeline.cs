using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>What came of a pipeline step: an object to commit, no change, removal, or an error.</summary>
public enum PipelineOutcome
{
    /// <summary><see cref="PipelineResult.Object"/> is to be written.</summary>
    Write,

    /// <summary>Nothing changed; the stored object is the answer.</summary>
    Unchanged,

    /// <summary>The object is to be removed; <see cref="PipelineResult.Object"/> is its last state.</summary>
    Remove,

    /// <summary><see cref="PipelineResult.Error"/> is the answer.</summary>
    Error,
}

/// <summary>Result of <see cref="ObjectPipeline"/>.</summary>
public sealed record PipelineResult(PipelineOutcome Outcome, JsonObject? Object, StatusError? Error = null)
{
    /// <summary>Makes an error result.</summary>
    public static PipelineResult Fail(StatusError error) => new(PipelineOutcome.Error, null, error);
}

/// <summary>
/// The template of every write: owns the order of the steps and what no kind may forget; strategies fill in the rest. Pure: no clock, no
/// storage, no randomness of its own. The object grain runs it between decoding and the commit, admission between
/// <see cref="PrepareCreate"/> and <see cref="FinishCreate"/> (and likewise for updates).
///
/// `obj` is a private copy and may come back changed; `old` is the stored object <em>with</em> its `metadata.resourceVersion` and is never
/// touched. The object to go on with is always <see cref="PipelineResult.Object"/>, which for a subresource is not the one passed in.
/// </summary>
public static class ObjectPipeline
{
    /// <summary>
    /// Create, first half. In this order: type and key against the request, server-set metadata, defaults, the kind's preparation.
    /// </summary>
    /// <param name="obj">The decoded body. A name that is absent (generateName) is taken from the key.</param>
    /// <param name="context">The request; its key holds the final name.</param>
    /// <param name="uid">Uid of the new object.</param>
    public static PipelineResult PrepareCreate(JsonObject obj, StrategyContext context, Guid uid)
    {
        var strategy = context.Definition.Strategy;
        if (CheckType(obj, context.Definition) is { } wrongType)
            return PipelineResult.Fail(wrongType);
        if (obj["metadata"] is not (null or JsonObject))
            return PipelineResult.Fail(StatusError.BadRequest("metadata must be an object"));
        var metadata = obj.EnsureObject("metadata");
        if (metadata.GetString("name") is null or "")
            metadata["name"] = context.Key.Name;
        if (CheckKey(metadata, context.Key) is { } wrongKey)
            return PipelineResult.Fail(wrongKey);
        if (metadata.GetString("resourceVersion") is { Length: > 0 } and not "0")
            return PipelineResult.Fail(StatusError.BadRequest("resourceVersion should not be set on objects to be created"));

        metadata.Remove("resourceVersion");
        metadata.Remove("deletionTimestamp");
        metadata.Remove("deletionGracePeriodSeconds");
        metadata.Remove("selfLink");
        metadata["uid"] = uid.ToString();
        metadata["creationTimestamp"] = KubernetesTime.Format(context.Now);
        if (strategy.TracksGeneration)
            metadata["generation"] = 1;
        else
            metadata.Remove("generation");
        MetadataRules.ResetManagedFields(metadata);

        if (strategy.HasStatus && !strategy.KeepsStatusOnCreate)
            obj.Remove("status");
        strategy.Default(obj);
        strategy.PrepareForCreate(obj, context);
        return new PipelineResult(PipelineOutcome.Write, obj);
    }

    /// <summary>Create, second half, after admission: defaults again, because admission may have added members, then validation.</summary>
    public static PipelineResult FinishCreate(JsonObject obj, StrategyContext context)
    {
        context.Definition.Strategy.Default(obj);
        var errors = new FieldErrors();
        MetadataRules.Validate(obj, context.Definition, errors);
        context.Definition.Strategy.Validate(obj, errors);
        return errors.IsEmpty
            ? new PipelineResult(PipelineOutcome.Write, obj)
            : PipelineResult.Fail(Invalid(errors, context));
    }

    /// <summary>
    /// Update or patch, first half. <paramref name="subresource"/> is empty, `status`, or another registered one, whose body
    /// <paramref name="obj"/> then is (a Scale, a Binding): <see cref="ResourceStrategy.ApplySubresource"/> makes the object of it.
    /// The result's object is what <see cref="FinishUpdate"/> takes. In this order: type and key against the request, uid and resourceVersion
    /// against the stored object, server-set metadata and status put back, defaults, the kind's preparation.
    /// </summary>
    /// <param name="obj">The new object, or the body of the subresource.</param>
    /// <param name="old">The stored object with its resourceVersion.</param>
    /// <param name="subresource">Empty, `status`, or one that the kind's strategy knows.</param>
    /// <param name="context">The request.</param>
    public static PipelineResult PrepareUpdate(JsonObject obj, JsonObject old, string subresource, StrategyContext context)
    {
        var strategy = context.Definition.Strategy;
        if (subresource is not ("" or "status"))
            return ApplySubresource(obj, old, subresource, context);
        if (CheckType(obj, context.Definition) is { } wrongType)
            return PipelineResult.Fail(wrongType);
        if (obj["metadata"] is not (null or JsonObject))
            return PipelineResult.Fail(StatusError.BadRequest("metadata must be an object"));
        var metadata = obj.EnsureObject("metadata");
        if (metadata.GetString("name") is null or "")
        {
            return PipelineResult.Fail(StatusError.BadRequest(
                $"the name of the object ({context.Key.Name} based on URL) was undeterminable: name must be provided"));
        }
        if (CheckKey(metadata, context.Key) is { } wrongKey)
            return PipelineResult.Fail(wrongKey);
        var oldMetadata = old.GetObject("metadata");
        if (CheckIdentity(metadata, oldMetadata, context) is { } conflict)
            return PipelineResult.Fail(conflict);

        MetadataRules.KeepServerSet(metadata, oldMetadata);
        if (subresource == "status")
        {
            if (!strategy.HasStatus)
                return PipelineResult.Fail(StatusError.NoSuchPath());
            KeepAllBut(obj, old, "status");
            strategy.Default(obj);
            strategy.PrepareForStatusUpdate(obj, old, context);
        }
        else
        {
            if (strategy.HasStatus)
                obj.CopyMember("status", old);
            strategy.Default(obj);
            strategy.PrepareForUpdate(obj, old, context);
        }
        return new PipelineResult(PipelineOutcome.Write, obj);
    }

    /// <summary>
    /// Update, second half, after admission: validation, generation, then what the write amounts to: removal once the last finalizer of a deleted
    /// object is gone, no change, or a write.
    /// </summary>
    public static PipelineResult FinishUpdate(JsonObject obj, JsonObject old, string subresource, StrategyContext context)
    {
        var strategy = context.Definition.Strategy;
        strategy.Default(obj);
        var metadata = obj.EnsureObject("metadata");
        var oldMetadata = old.GetObject("metadata");
        if (strategy.TracksGeneration)
        {
            var generation = oldMetadata.GetLong("generation") ?? 0;
            metadata["generation"] = strategy.ChangesGeneration(obj, old) ? generation + 1 : generation;
        }
        else
        {
            metadata.CopyMember("generation", oldMetadata);
        }

        var errors = new FieldErrors();
        MetadataRules.Validate(obj, context.Definition, errors);
        MetadataRules.ValidateUpdate(metadata, oldMetadata, errors);
        switch (subresource)
        {
            case "":
                strategy.Validate(obj, errors);
                strategy.ValidateUpdate(obj, old, errors);
                break;
            case "status":
                strategy.ValidateStatus(obj, old, errors);
                break;
            default:
                // ApplySubresource has checked what it changed; the rest is the stored object.
                break;
        }
        if (!errors.IsEmpty)
            return PipelineResult.Fail(Invalid(errors, context));

        // A grace that still runs is the node agent's to end; it does so with a deletion of grace 0.
        var graceIsOver = oldMetadata.GetLong("deletionGracePeriodSeconds") is null or 0;
        if (metadata.Has("deletionTimestamp") && graceIsOver && !Deletion.IsHeld(obj, strategy))
            return new PipelineResult(PipelineOutcome.Remove, obj);
        return new PipelineResult(SameObject(obj, old) ? PipelineOutcome.Unchanged : PipelineOutcome.Write, obj);
    }

    /// <summary>Deletion: preconditions, grace, finalizers, propagation (wire contract, section 13).</summary>
    public static PipelineResult Delete(JsonObject old, DeleteOptions options, StrategyContext context) => Deletion.Run(old, options, context);

    internal static StatusError Invalid(FieldErrors errors, StrategyContext context) =>
        errors.ToStatus(context.Definition.Kind, context.Definition.Group, context.Key.Name);

    private static PipelineResult ApplySubresource(JsonObject body, JsonObject old, string subresource, StrategyContext context)
    {
        if (body.GetObject("metadata") is { } metadata)
        {
            if (metadata.GetString("name") is { Length: > 0 } && CheckKey(metadata, context.Key) is { } wrongKey)
                return PipelineResult.Fail(wrongKey);
            if (CheckVersion(metadata, old.GetObject("metadata"), context) is { } conflict)
                return PipelineResult.Fail(conflict);
        }
        var obj = (JsonObject)old.DeepClone();
        if (context.Definition.Strategy.ApplySubresource(obj, body, subresource, context) is { } refused)
            return PipelineResult.Fail(refused);
        context.Definition.Strategy.Default(obj);
        return new PipelineResult(PipelineOutcome.Write, obj);
    }

    private static StatusError? CheckType(JsonObject obj, ResourceDefinition definition)
    {
        obj.SetDefault("kind", definition.Kind);
        obj.SetDefault("apiVersion", definition.ApiVersion);
        var apiVersion = obj.GetString("apiVersion");
        if (apiVersion != definition.ApiVersion)
        {
            return StatusError.BadRequest(
                $"the API version in the data ({apiVersion}) does not match the expected API version ({definition.ApiVersion})");
        }
        var kind = obj.GetString("kind");
        return kind == definition.Kind
            ? null
            : StatusError.BadRequest($"{kind} in version \"{definition.Version}\" cannot be handled as a {definition.Kind}");
    }

    private static StatusError? CheckKey(JsonObject metadata, ObjectKey key)
    {
        var @namespace = metadata.GetString("namespace") ?? "";
        if (key.Namespace.Length == 0)
            metadata.Remove("namespace");
        else if (@namespace.Length == 0)
            metadata["namespace"] = key.Namespace;
        else if (@namespace != key.Namespace)
            return StatusError.BadRequest("the namespace of the provided object does not match the namespace sent on the request");
        var name = metadata.GetString("name");
        return name == key.Name
            ? null
            : StatusError.BadRequest($"the name of the object ({name}) does not match the name on the URL ({key.Name})");
    }

    private static StatusError? CheckIdentity(JsonObject metadata, JsonObject? oldMetadata, StrategyContext context)
    {
        if (CheckVersion(metadata, oldMetadata, context) is { } conflict)
            return conflict;
        if (context.Definition.AllowUnconditionalUpdate || metadata.GetString("resourceVersion") is { Length: > 0 } and not "0")
            return null;
        var errors = new FieldErrors();
        errors.Invalid(FieldPath.Root("metadata").Child("resourceVersion"), MetadataRules.ZeroVersion, "must be specified for an update");
        return Invalid(errors, context);
    }

    // A uid or a resourceVersion in a body is a precondition; left out, or "0", it is none.
    private static StatusError? CheckVersion(JsonObject metadata, JsonObject? oldMetadata, StrategyContext context)
    {
        var definition = context.Definition;
        if (metadata.GetString("uid") is { Length: > 0 } uid && oldMetadata.GetString("uid") is { } storedUid && uid != storedUid)
        {
            return StatusError.Conflict(definition.Plural, definition.Group, context.Key.Name,
                $"Precondition failed: UID in precondition: {uid}, UID in object meta: {storedUid}");
        }
        return metadata.GetString("resourceVersion") is { Length: > 0 } and not "0" and var version
            && oldMetadata.GetString("resourceVersion") is { } stored && stored != version
                ? StatusError.Modified(definition.Plural, definition.Group, context.Key.Name)
                : null;
    }

    /// <summary>Puts every stored member but one (and metadata) back.</summary>
    private static void KeepAllBut(JsonObject obj, JsonObject old, string kept)
    {
        foreach (var (member, _) in obj.ToArray())
        {
            if (member is not ("kind" or "apiVersion" or "metadata") && member != kept)
                obj.CopyMember(member, old);
        }
        foreach (var (member, _) in old)
        {
            if (member is not ("kind" or "apiVersion" or "metadata") && member != kept && !obj.Has(member))
                obj.CopyMember(member, old);
        }
    }

    /// <summary>True if two objects are the same but for resourceVersion.</summary>
    private static bool SameObject(JsonObject obj, JsonObject old)
    {
        return SameMembers(obj, old, "metadata") && SameMembers(obj.GetObject("metadata")!, old.GetObject("metadata"), "resourceVersion");

        static bool SameMembers(JsonObject a, JsonObject? b, string except)
        {
            var count = 0;
            foreach (var (member, value) in a)
            {
                if (member == except || value is null)
                    continue;
                count++;
                if (b is null || !b.TryGetPropertyValue(member, out var other) || !JsonNode.DeepEquals(value, other))
                    return false;
            }
            return b is null ? count == 0 : count == b.Count(m => m.Key != except && m.Value is not null);
        }
    }
}
