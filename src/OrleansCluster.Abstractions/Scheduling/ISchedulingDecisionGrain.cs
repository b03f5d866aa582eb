using Orleans.Concurrency;

namespace OrleansCluster;

/// <summary>One scheduling decision and its trace. Keyed by pod uid.</summary>
[Alias("OrleansCluster.ISchedulingDecisionGrain")]
public interface ISchedulingDecisionGrain : IGrainWithStringKey
{
    /// <summary>Makes one attempt: filter, score, reserve, bind.</summary>
    [Alias("Decide")]
    Task<DecisionOutcome> DecideAsync([Immutable] DecisionRequest request, CancellationToken cancellationToken = default);

    /// <summary>All attempts so far, as JSON bytes, or null if there was none.</summary>
    [Alias("GetTrace"), AlwaysInterleave]
    Task<byte[]?> GetTraceAsync(CancellationToken cancellationToken = default);
}

/// <summary>Asks for an attempt.</summary>
#pragma warning disable ORLEANS0004 // One member stays in the process on purpose.
[GenerateSerializer, Immutable, Alias("OrleansCluster.DecisionRequest")]
#pragma warning restore ORLEANS0004
public sealed record DecisionRequest
{
    /// <summary>`namespace/name` of the pod.</summary>
    [Id(0)] public required string PodKey { get; init; }

    /// <summary>The pod as JSON bytes with resourceVersion.</summary>
    [Id(1)] public required byte[] Pod { get; init; }

    /// <summary>How many attempts the queue has counted, this one included.</summary>
    [Id(2)] public required int Attempt { get; init; }

    /// <summary>What the sender has read of <see cref="Pod"/> already. Not sent over the wire: only a receiver in the same process finds it.</summary>
    public Scheduling.PodRequirements? Requirements { get; init; }
}

/// <summary>How an attempt ended.</summary>
public enum DecisionResult
{
    /// <summary>The pod is bound.</summary>
    Bound,

    /// <summary>No node fits; the pod waits for a change or its back-off.</summary>
    Unschedulable,

    /// <summary>The pod needs no decision any more (bound by another, deleted, replaced).</summary>
    Obsolete,

    /// <summary>Something failed that is not the pod's fault; try again soon.</summary>
    Failed,
}

/// <summary>Result of an attempt.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.DecisionOutcome")]
public sealed record DecisionOutcome
{
    /// <summary>How it ended.</summary>
    [Id(0)] public required DecisionResult Result { get; init; }

    /// <summary>The node, if bound.</summary>
    [Id(1)] public string Node { get; init; } = "";

    /// <summary>Text for people, such as `0/2 nodes are available: 2 Insufficient cpu. preemption: ...`.</summary>
    [Id(2)] public string Message { get; init; } = "";
}
