namespace OrleansCluster.Storage;

/// <summary>What a commit does to an object.</summary>
public enum CommitKind
{
    /// <summary>Writes the object.</summary>
    Put,

    /// <summary>Removes the object. The value is its last state, which the change log keeps for watchers.</summary>
    Delete,
}

/// <summary>What a commit does to a work queue in the same atomic step, so that no second write can be lost.</summary>
public enum QueueAction
{
    /// <summary>Adds the object's key, or leaves it as it is if it is there.</summary>
    Enqueue,

    /// <summary>Removes the object's key, leased or not.</summary>
    Remove,
}

/// <summary>A change of a work queue made by the commit itself.</summary>
/// <param name="Queue">Queue name, e.g. `pending-pods`.</param>
/// <param name="Action">What to do with the object's key.</param>
/// <param name="Priority">Higher is served first; age decides among equals.</param>
public readonly record struct QueueChange(string Queue, QueueAction Action, long Priority = 0);

/// <summary>
/// A value that must hold at the moment of the commit. A fence is a counter that its owner advances when it takes over (a node's grain at its
/// activation), so that a predecessor that still believes itself the owner can no longer commit.
/// </summary>
/// <param name="Name">Fence name, unique within the resource, e.g. `node/n1`.</param>
/// <param name="Value">The value the fence must have.</param>
public readonly record struct Fence(string Name, long Value);

/// <summary>
/// One atomic change of one object: the checks, then everything written, or nothing at all. Commits of one call are independent of each other.
/// </summary>
public sealed record Commit
{
    /// <summary>Resource, e.g. `pods`.</summary>
    public required string Resource { get; init; }

    /// <summary>Key inside the resource: `namespace/name` or `name`.</summary>
    public required string Key { get; init; }

    /// <summary>Write or removal.</summary>
    public CommitKind Kind { get; init; } = CommitKind.Put;

    /// <summary>Canonical bytes of the object without resourceVersion. Not copied: the caller must not change them afterwards.</summary>
    public required byte[] Value { get; init; }

    /// <summary>Revision the object must have now; 0 means that it must not exist, which a removal cannot ask for.</summary>
    public required long ExpectedRevision { get; init; }

    /// <summary>
    /// Names this object holds exclusively within its resource after the commit, e.g. `ip/10.96.0.7`. They replace the ones it held.
    /// Null keeps them; a removal frees them all.
    /// </summary>
    public IReadOnlyList<string>? Claims { get; init; }

    /// <summary>A fence that must hold, or null.</summary>
    public Fence? Fence { get; init; }

    /// <summary>A queue change made in the same step, or null.</summary>
    public QueueChange? Queue { get; init; }

    /// <summary>Refuses what no store can carry out.</summary>
    /// <exception cref="ArgumentException">The commit contradicts itself or lacks something.</exception>
    internal void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(Resource);
        ArgumentException.ThrowIfNullOrEmpty(Key);
        ArgumentNullException.ThrowIfNull(Value);
        ArgumentOutOfRangeException.ThrowIfNegative(ExpectedRevision);
        if (Kind == CommitKind.Delete && ExpectedRevision == 0)
            throw new ArgumentException($"The removal of '{Key}' expects it to be absent.", nameof(ExpectedRevision));
        if (Claims is not null && Claims.Any(c => c.Length == 0 || c.Contains('\n', StringComparison.Ordinal)))
            throw new ArgumentException($"A claim of '{Key}' is empty or has a line break.", nameof(Claims));
    }
}

/// <summary>How a commit ended.</summary>
public enum CommitOutcome
{
    /// <summary>Written and durable as configured.</summary>
    Committed,

    /// <summary>The object's revision is another one; <see cref="CommitResult.Revision"/> tells it (0: absent).</summary>
    RevisionConflict,

    /// <summary>Another object holds a claim; <see cref="CommitResult.Detail"/> names the claim.</summary>
    ClaimConflict,

    /// <summary>The fence has moved on.</summary>
    FenceConflict,
}

/// <summary>Result of one commit. A mismatch is a value, not an exception.</summary>
/// <param name="Outcome">How it ended.</param>
/// <param name="Revision">The new revision, or the object's present one on a revision conflict.</param>
/// <param name="Detail">The claim in conflict, else null.</param>
public readonly record struct CommitResult(CommitOutcome Outcome, long Revision, string? Detail = null);

/// <summary>An object as stored.</summary>
/// <param name="Key">Key inside the resource.</param>
/// <param name="Revision">Revision of the commit that wrote it.</param>
/// <param name="Value">Canonical bytes without resourceVersion; not to be changed.</param>
public sealed record StoredObject(string Key, long Revision, byte[] Value);

/// <summary>One entry of a change log.</summary>
/// <param name="Revision">Its revision: entries of one resource rise without repetition.</param>
/// <param name="Key">The object's key.</param>
/// <param name="Kind">Write or removal.</param>
/// <param name="Value">The object after a write, or its last state before a removal.</param>
public sealed record StoredChange(long Revision, string Key, CommitKind Kind, byte[] Value);
