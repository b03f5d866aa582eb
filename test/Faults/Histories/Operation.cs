namespace OrleansCluster.Faults.Histories;

/// <summary>An object as somebody saw it: in an answer, in a list, in a watch event.</summary>
/// <param name="Key">`namespace/name` or `name`.</param>
/// <param name="Revision">Its resourceVersion.</param>
/// <param name="Uid">Its uid.</param>
/// <param name="Fields">What the workload writes in it.</param>
/// <param name="Digest">Stands for the whole body: two observers of one revision must have the same.</param>
/// <param name="Body">The whole body where a rule about the cluster's state needs it, else null.</param>
internal sealed record ObjectVersion(string Key, long Revision, string Uid, Fields Fields, string Digest, string? Body = null)
{
    public override string ToString() => $"{Key}@{Revision} uid {Uid} {Fields}";
}

internal enum Verb
{
    Create,
    Update,
    Patch,
    Delete,
    Get,
    List,
}

/// <summary>How an operation ended for its client.</summary>
internal enum Outcome
{
    /// <summary>Acknowledged.</summary>
    Ok,

    /// <summary>Refused: it has no effect, ever.</summary>
    Failed,

    /// <summary>Nobody knows: it has its effect at most once, at any time after its invocation, or never.</summary>
    Unknown,
}

/// <summary>One request of one client and its answer. Times are of one clock that all clients share, in microseconds.</summary>
internal sealed record Operation
{
    public required int Id { get; init; }

    public required int Client { get; init; }

    /// <summary>Which server was asked.</summary>
    public string Endpoint { get; init; } = "";

    public required Verb Verb { get; init; }

    public required string Resource { get; init; }

    /// <summary>`namespace/name`; for a list the namespace or nothing.</summary>
    public required string Key { get; init; }

    public required long Invoked { get; init; }

    /// <summary>When the answer was there, or the client gave up.</summary>
    public required long Completed { get; init; }

    public required Outcome Outcome { get; init; }

    /// <summary>HTTP status; 0 for none.</summary>
    public int Code { get; init; }

    /// <summary>The reason of the Status, or the client's own error.</summary>
    public string Reason { get; init; } = "";

    /// <summary>What a write does.</summary>
    public Change? Change { get; init; }

    /// <summary>The revision a write demands as its predecessor.</summary>
    public long? ExpectedRevision { get; init; }

    /// <summary>The object of the answer; null for none (a GET that found nothing, a DELETE answered with a Status).</summary>
    public ObjectVersion? Answer { get; init; }

    /// <summary>For a DELETE: the uid of what was deleted, as the answer tells it.</summary>
    public string? DeletedUid { get; init; }

    /// <summary>True for a read that any cached state may answer (resourceVersion=0).</summary>
    public bool AnyState { get; init; }

    /// <summary>Revision of a list.</summary>
    public long ListRevision { get; init; }

    /// <summary>Items of a list.</summary>
    public IReadOnlyList<ObjectVersion> Items { get; init; } = [];

    public bool IsWrite => Verb is Verb.Create or Verb.Update or Verb.Patch or Verb.Delete;

    /// <summary>A GET that said 404.</summary>
    public bool FoundNothing => Verb == Verb.Get && Outcome == Outcome.Ok && Answer is null;

    public override string ToString() =>
        $"#{Id} client {Client} {Verb} {Resource} {Key} via {Endpoint} [{Invoked}..{Completed} us] {Outcome} {Code} {Reason}"
        + (ExpectedRevision is { } e ? $" expecting {e}" : "")
        + (Change is { Set.Count: > 0 } ? $" {Change.Kind} {{{string.Join(',', Change.Set.Select(p => $"{p.Key}={p.Value ?? "-"}"))}}}" : "")
        + (Verb == Verb.List ? $" list at {ListRevision}, {Items.Count} items" : "")
        + (Answer is null ? "" : $" -> {Answer}");
}
