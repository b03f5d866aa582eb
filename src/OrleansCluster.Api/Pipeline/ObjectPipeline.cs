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

/// <summary>Options of a deletion (wire: `DeleteOptions`).</summary>
/// <param name="GracePeriodSeconds">Grace asked for, or null.</param>
/// <param name="PropagationPolicy">`Background`, `Foreground`, `Orphan` or null.</param>
/// <param name="PreconditionUid">Uid the object must have, or null.</param>
/// <param name="PreconditionResourceVersion">Revision the object must have, or null.</param>
public sealed record DeleteOptions(
    long? GracePeriodSeconds = null,
    string? PropagationPolicy = null,
    string? PreconditionUid = null,
    string? PreconditionResourceVersion = null);

/// <summary>
/// The template of every write: owns the order of the steps and what no kind may forget; strategies fill in the rest. Pure: no clock, no
/// storage, no randomness of its own. The object grain runs it between decoding and the commit, admission between
/// <see cref="PrepareCreate"/> and <see cref="FinishCreate"/> (and likewise for updates).
/// </summary>
public static class ObjectPipeline
{
    /// <summary>Create, first half: metadata checks against the key, defaults, server-set metadata, the kind's preparation.</summary>
    public static PipelineResult PrepareCreate(JsonObject obj, StrategyContext context, Guid uid) => throw new NotSupportedException();

    /// <summary>Create, second half, after admission: defaults again and validation.</summary>
    public static PipelineResult FinishCreate(JsonObject obj, StrategyContext context) => throw new NotSupportedException();

    /// <summary>
    /// Update or patch, first half. <paramref name="subresource"/> is empty, `status`, or another registered one, whose body
    /// <paramref name="obj"/> then is (a Scale, a Binding): <see cref="ResourceStrategy.ApplySubresource"/> makes the object of it.
    /// The result's object is what <see cref="FinishUpdate"/> takes.
    /// </summary>
    public static PipelineResult PrepareUpdate(JsonObject obj, JsonObject old, string subresource, StrategyContext context) => throw new NotSupportedException();

    /// <summary>Update, second half, after admission: validation, generation, removal once the last finalizer of a deleted object is gone.</summary>
    public static PipelineResult FinishUpdate(JsonObject obj, JsonObject old, string subresource, StrategyContext context) => throw new NotSupportedException();

    /// <summary>Deletion: preconditions, grace, finalizers, propagation (wire contract, section 13).</summary>
    public static PipelineResult Delete(JsonObject old, DeleteOptions options, StrategyContext context) => throw new NotSupportedException();
}
