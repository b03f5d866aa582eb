using Orleans.Concurrency;

namespace OrleansCluster;

/// <summary>
/// One node: the authority over what fits on it, the keeper of its heartbeats, and the sender of its pods to its node agent. Keyed by node name.
/// </summary>
[Alias("OrleansCluster.INodeGrain")]
public interface INodeGrain : IGrainWithStringKey
{
    /// <summary>Admits or refuses a pod against what has been promised. Idempotent by pod uid. A promise not bound in time expires.</summary>
    [Alias("Reserve")]
    Task<ReserveReply> ReserveAsync([Immutable] ReserveRequest request, CancellationToken cancellationToken = default);

    /// <summary>Gives a promise back.</summary>
    [Alias("Release")]
    Task ReleaseAsync(string podUid, CancellationToken cancellationToken = default);

    /// <summary>
    /// Opens the node agent's session: from now on <paramref name="observer"/> gets the node's pods, first as a complete set, then as changes.
    /// A newer session replaces an older one. To be called again when heartbeats are answered with `Known = false`.
    /// </summary>
    [Alias("Connect")]
    Task<ConnectReply> ConnectAsync(INodeObserver observer, [Immutable] NodeHello hello, CancellationToken cancellationToken = default);

    /// <summary>Says that the node agent lives. Kept in memory; only transitions are stored.</summary>
    [Alias("Heartbeat")]
    Task<HeartbeatReply> HeartbeatAsync([Immutable] NodeHeartbeat heartbeat, CancellationToken cancellationToken = default);

    /// <summary>Closes the session politely (agent shutdown); the node turns not ready by time, as any other.</summary>
    [Alias("Disconnect")]
    Task DisconnectAsync(string sessionId, CancellationToken cancellationToken = default);

    /// <summary>When the last heartbeat came, or null; the Lease that the API shows is made from it.</summary>
    [Alias("LastHeartbeat"), AlwaysInterleave]
    Task<DateTimeOffset?> GetLastHeartbeatAsync(CancellationToken cancellationToken = default);
}

/// <summary>Receives a node's pods.</summary>
[Alias("OrleansCluster.INodeObserver")]
public interface INodeObserver : IGrainObserver
{
    /// <summary>Takes a set of pods. Calls come one after another; the next waits for this one to return.</summary>
    [Alias("SyncPods")]
    Task SyncPodsAsync([Immutable] PodSync sync);

    /// <summary>
    /// The node's grain is leaving its silo and closes the session: connect anew at once instead of finding out by the next heartbeat. Politeness; it
    /// may be missing.
    /// </summary>
    [Alias("SessionEnded"), OneWay]
    Task SessionEndedAsync(string node, string sessionId);
}

/// <summary>Pods of a node.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.PodSync")]
public sealed record PodSync
{
    /// <summary>The node they are for.</summary>
    [Id(0)] public required string Node { get; init; }

    /// <summary>True: these are all pods of the node, others are to be removed. False: these changed.</summary>
    [Id(1)] public required bool Complete { get; init; }

    /// <summary>Pods as JSON bytes with resourceVersion.</summary>
    [Id(2)] public required byte[][] Pods { get; init; }

    /// <summary>Uids of pods that are gone from the API.</summary>
    [Id(3)] public string[] RemovedUids { get; init; } = [];

    /// <summary>By uid the W3C `traceparent` of pods whose way to this node is being recorded; null if there is none.</summary>
    [Id(4)] public Dictionary<string, string>? TraceParents { get; init; }
}

/// <summary>What a node agent says of itself when it connects.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.NodeHello")]
public sealed record NodeHello
{
    /// <summary>Session id, new at every start and reconnect of the agent.</summary>
    [Id(0)] public required string SessionId { get; init; }
}

/// <summary>Answer to a hello.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ConnectReply")]
public sealed record ConnectReply
{
    /// <summary>How often the agent shall send heartbeats.</summary>
    [Id(0)] public required TimeSpan HeartbeatInterval { get; init; }
}

/// <summary>A heartbeat.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.NodeHeartbeat")]
public sealed record NodeHeartbeat
{
    /// <summary>The session.</summary>
    [Id(0)] public required string SessionId { get; init; }
}

/// <summary>Answer to a heartbeat.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.HeartbeatReply")]
public sealed record HeartbeatReply
{
    /// <summary>False: the grain does not know this session (it moved or restarted); connect again.</summary>
    [Id(0)] public required bool Known { get; init; }

    /// <summary>
    /// True: the Node says that its agent is not heard. The agent was silent for the grace period without losing its session (it was paused, or cut off), so
    /// only it can put the status right, and shall do so now instead of with its next report, which may be minutes away.
    /// </summary>
    [Id(1)] public bool StatusWanted { get; init; }
}

/// <summary>Asks a node for a place.</summary>
#pragma warning disable ORLEANS0004 // One member stays in the process on purpose.
[GenerateSerializer, Immutable, Alias("OrleansCluster.ReserveRequest")]
#pragma warning restore ORLEANS0004
public sealed record ReserveRequest
{
    /// <summary>Uid of the pod.</summary>
    [Id(0)] public required string PodUid { get; init; }

    /// <summary>`namespace/name` of the pod.</summary>
    [Id(1)] public required string PodKey { get; init; }

    /// <summary>The pod as JSON bytes: the node runs the very same rules as the scheduler's filters.</summary>
    [Id(2)] public required byte[] Pod { get; init; }

    /// <summary>
    /// An epoch of this node that a bind commit has just refused, or 0: the store's fence is ahead of it, so if the grain still has it, it must take a new one.
    /// </summary>
    [Id(3)] public long RefusedEpoch { get; init; }

    /// <summary>What the sender has read of <see cref="Pod"/> already. Not sent over the wire: only a receiver in the same process finds it.</summary>
    public Scheduling.PodRequirements? Requirements { get; init; }
}

/// <summary>Answer to a reservation.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ReserveReply")]
public sealed record ReserveReply
{
    /// <summary>True if the place is promised.</summary>
    [Id(0)] public required bool Admitted { get; init; }

    /// <summary>The node's fence, to be checked in the bind commit.</summary>
    [Id(1)] public long Epoch { get; init; }

    /// <summary>Why not, in the users' words (`Insufficient cpu`), if refused.</summary>
    [Id(2)] public string[] Reasons { get; init; } = [];
}
