using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.ControlPlane.Scheduling.Plugins;
using OrleansCluster.Scheduling;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Nodes;

/// <summary>
/// One node's authority. It promises places to pods, by the same rules as the scheduler's filters, against what it has promised and what is bound; it
/// keeps the agent's heartbeats in memory, and sends the agent its pods.
/// <para>
/// Why a doubled or stale activation cannot overbook: at its activation the grain advances the node's fence in the store, then reads the bound
/// pods. Every bind commit checks the fence. What an earlier activation had promised can no longer be bound after that moment, and what it had
/// bound before is in what this one reads. The same step takes expired promises back.
/// </para>
/// </summary>
[CollectionAgeLimit(Minutes = 15)] // Longer than a heartbeat or the node controller is silent, so a grain goes only when its node has gone.
public sealed partial class NodeGrain(
    IObjectStore store,
    IResourceCaches caches,
    NodePods nodePods,
    IGrainFactory grains,
    ResourceRegistry registry,
    IOptions<ControlPlaneOptions> options,
    TimeProvider time,
    Random random,
    ILogger<NodeGrain> logger) : Grain, INodeGrain
{
    /// <summary>A promise not seen bound by then is void: its decision died. Longer than any decision takes.</summary>
    private static readonly TimeSpan PromiseLifetime = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How often the stored Lease is written. It is for people and tools that look; nothing here reads it, the heartbeats are in memory. Readers that want
    /// the second ask <see cref="GetLastHeartbeatAsync"/>.
    /// </summary>
    private static readonly TimeSpan LeaseWriteInterval = TimeSpan.FromMinutes(4);

    private static readonly IFilterPlugin[] Rules = [new NodePorts(), new NodeResourcesFit()];

    private readonly Dictionary<string, Promise> _promises = new(StringComparer.Ordinal);
    private readonly PodTraces _traces = new();
    private NodeSession? _session;
    private DateTimeOffset _lastHeartbeat;
    private DateTimeOffset _leaseWritten;
    private long _epoch;

    private string Name => this.GetPrimaryKeyString();

    private string Fence => "node/" + Name;

    /// <inheritdoc/>
    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // An agent that has not been heard since this activation gets the whole grace period from now on.
        _lastHeartbeat = time.GetUtcNow();
        _epoch = await store.AdvanceFenceAsync("pods", Fence, cancellationToken);
        await nodePods.GetLatestAsync(Name, cancellationToken);
    }

    /// <inheritdoc/>
    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        if (_session is { } session)
            await session.CloseAsync();
    }

    /// <inheritdoc/>
    public async Task<ReserveReply> ReserveAsync(ReserveRequest request, CancellationToken cancellationToken)
    {
        if (request.RefusedEpoch != 0 && request.RefusedEpoch == _epoch)
            await TakeNewEpochAsync(cancellationToken);
        if (_promises.TryGetValue(request.PodUid, out var promise))
        {
            _promises[request.PodUid] = promise with { Until = time.GetUtcNow() + PromiseLifetime };
            return Admitted();
        }
        if (nodePods.Has(Name, request.PodUid))
            return Admitted(); // Bound here already.
        var node = caches.Get("nodes").Current?.Find("", Name) ?? (await caches.Get("nodes").GetLatestAsync(cancellationToken)).Find("", Name);
        if (node is null)
            return Refused("node is gone");
        await VoidExpiredAsync(cancellationToken);
        var pod = request.Requirements ?? PodReader.Read(request.Pod);
        var facts = NodeReader.Of(node);
        var reasons = Refusals(pod, facts);
        if (reasons is not null && await VoidGoneAsync(cancellationToken))
            reasons = Refusals(pod, facts);
        if (reasons is not null)
            return Refused([.. reasons]);
        _traces.Note(request.PodUid);
        _promises[request.PodUid] = new Promise(pod, request.PodKey, time.GetUtcNow() + PromiseLifetime);
        return Admitted();
    }

    private List<string>? Refusals(PodRequirements pod, NodeFacts facts)
    {
        var view = Usage().View(facts);
        List<string>? reasons = null;
        foreach (var rule in Rules)
        {
            if (rule.AppliesTo(pod) && rule.Refuse(pod, view) is { } reason)
                (reasons ??= []).Add(reason);
        }
        return reasons;
    }

    /// <inheritdoc/>
    public Task ReleaseAsync(string podUid, CancellationToken cancellationToken)
    {
        _promises.Remove(podUid);
        _traces.Take(podUid);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<ConnectReply> ConnectAsync(INodeObserver observer, NodeHello hello, CancellationToken cancellationToken)
    {
        if (_session is { } old)
        {
            // Forgotten first: if what follows fails, the next connect must not end it a second time.
            _session = null;
            await old.DisposeAsync();
        }
        // The complete set must not be older than this call, or pods bound a moment ago would look removed.
        await nodePods.GetLatestAsync(Name, cancellationToken);
        _session = NodeSession.Open(hello.SessionId, Name, observer, nodePods, _traces, time, logger);
        _lastHeartbeat = time.GetUtcNow();
        await WriteLeaseAsync(cancellationToken);
        Log.Connected(logger, Name, hello.SessionId);
        return new ConnectReply { HeartbeatInterval = options.Value.NodeHeartbeatInterval };
    }

    /// <inheritdoc/>
    public async Task<HeartbeatReply> HeartbeatAsync(NodeHeartbeat heartbeat, CancellationToken cancellationToken)
    {
        var known = _session is { IsOpen: true } session && session.Id == heartbeat.SessionId;
        if (!known)
            return new HeartbeatReply { Known = false };
        _lastHeartbeat = time.GetUtcNow();
        if (_lastHeartbeat - _leaseWritten >= LeaseWriteInterval)
            await WriteLeaseAsync(cancellationToken);
        return new HeartbeatReply { Known = true, StatusWanted = IsShownUnreachable() };
    }

    /// <inheritdoc/>
    public async Task DisconnectAsync(string sessionId, CancellationToken cancellationToken)
    {
        if (_session is { } session && session.Id == sessionId)
        {
            _session = null;
            await session.DisposeAsync();
        }
    }

    /// <inheritdoc/>
    public Task<DateTimeOffset?> GetLastHeartbeatAsync(CancellationToken cancellationToken) => Task.FromResult<DateTimeOffset?>(_lastHeartbeat);

    /// <summary>
    /// Takes expired promises back. The bind of one may still be on its way (a call that timed out, a silo that pauses), so its place is given to
    /// another only after the fence has moved: then that bind can no longer commit, or it has committed and is seen. Promises that are still
    /// good keep their place; their binds meet the new fence, are refused and decided again. Expiry means that a decision died: rare.
    /// </summary>
    private async Task VoidExpiredAsync(CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        List<string>? expired = null;
        foreach (var (uid, promise) in _promises)
        {
            if (nodePods.Has(Name, uid))
                _promises.Remove(uid); // Seen bound: no promise any more.
            else if (promise.Until < now)
                (expired ??= []).Add(uid);
        }
        if (expired is null)
            return;
        await TakeNewEpochAsync(cancellationToken);
        expired.ForEach(uid => _promises.Remove(uid));
        Log.PromisesVoided(logger, Name, expired.Count);
    }

    /// <summary>
    /// Becomes the node's authority again: another activation, or the store itself at a change of its own epoch, has moved the fence, or this grain must. What
    /// was bound under an older epoch is read before the next promise. If anybody else has moved the fence meanwhile, he may have given the places promised here
    /// to others: all promises are void then, and each is asked for anew.
    /// </summary>
    private async Task TakeNewEpochAsync(CancellationToken cancellationToken)
    {
        var old = _epoch;
        var next = await store.AdvanceFenceAsync("pods", Fence, cancellationToken);
        await nodePods.GetLatestAsync(Name, cancellationToken);
        if (next != old + 1)
            _promises.Clear();
        // Last: if the reading fails, nothing is promised under an epoch whose pods are not known.
        _epoch = next;
        Log.NewEpoch(logger, Name, old, _epoch);
    }

    /// <summary>
    /// Takes promises back whose pods are gone, bound and deleted or deleted before: no bind of theirs can commit any more, a uid never comes back. Asked
    /// of the store's newest revision, and only when a place is about to be refused. True if there was one.
    /// </summary>
    private async Task<bool> VoidGoneAsync(CancellationToken cancellationToken)
    {
        if (_promises.Count == 0)
            return false;
        var pods = await caches.Get("pods").GetLatestAsync(cancellationToken);
        List<string>? gone = null;
        foreach (var (uid, promise) in _promises)
        {
            var key = ObjectKey.FromStorageKey("pods", promise.PodKey);
            if (pods.Find(key.Namespace, key.Name)?.Uid != uid)
                (gone ??= []).Add(uid);
        }
        gone?.ForEach(uid => _promises.Remove(uid));
        return gone is not null;
    }

    /// <summary>What is taken: bound pods, and promises that are not seen bound yet.</summary>
    private NodeUsage Usage()
    {
        // The promises first: one that is seen bound in between counts twice for this once, never not at all.
        List<PodRequirements>? promised = null;
        foreach (var (uid, promise) in _promises)
        {
            if (!nodePods.Has(Name, uid))
                (promised ??= []).Add(promise.Pod);
        }
        var usage = nodePods.Usage(Name);
        foreach (var pod in promised ?? [])
            usage = usage.With(pod);
        return usage;
    }

    /// <summary>
    /// Asked with each heartbeat and not remembered: the node controller may mark the node a moment after the agent is back, and this may be another activation
    /// than the one that was not heard.
    /// </summary>
    private bool IsShownUnreachable()
    {
        if (caches.Get("nodes").Current?.Find("", Name) is not { } node)
            return false;
        foreach (var taint in NodeReader.Of(node).Taints)
        {
            if (taint.Key == NodeLifecycleController.Unreachable)
                return true;
        }
        return false;
    }

    // Best effort: a heartbeat counts whether or not its Lease could be written.
    private async Task WriteLeaseAsync(CancellationToken cancellationToken)
    {
        var key = new ObjectKey("leases.coordination.k8s.io", "kube-node-lease", Name);
        if (registry.Find(key.Resource) is not { } leases)
            return;
        _leaseWritten = _lastHeartbeat;
        var spec = new JsonObject
        {
            ["holderIdentity"] = Name,
            ["leaseDurationSeconds"] = 40,
            ["renewTime"] = _lastHeartbeat.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"),
        };
        var writer = new ObjectWriter(grains, time, UserInfo.ControlPlane, random);
        try
        {
            if (caches.Get(key.Resource).Current?.Find(key.Namespace, key.Name) is not null)
            {
                await writer.PatchAsync(key, new JsonObject { ["spec"] = spec }, "", cancellationToken);
                return;
            }
            var metadata = new JsonObject { ["name"] = key.Name, ["namespace"] = key.Namespace };
            if (caches.Get("nodes").Current?.Find("", Name) is { } node)
            {
                metadata["ownerReferences"] = new JsonArray(new JsonObject
                {
                    ["apiVersion"] = "v1",
                    ["kind"] = "Node",
                    ["name"] = Name,
                    ["uid"] = node.Uid,
                });
            }
            var lease = new JsonObject { ["kind"] = "Lease", ["apiVersion"] = "coordination.k8s.io/v1", ["metadata"] = metadata, ["spec"] = spec };
            await writer.CreateAsync(leases, lease, cancellationToken);
        }
        catch (StatusException error)
        {
            // Its namespace may not be there yet, or somebody was faster; the next turn writes it.
            Log.LeaseNotRenewed(logger, Name, error.Message);
        }
    }

    private ReserveReply Admitted() => new() { Admitted = true, Epoch = _epoch };

    private static ReserveReply Refused(params string[] reasons) => new() { Admitted = false, Reasons = reasons };

    private sealed record Promise(PodRequirements Pod, string PodKey, DateTimeOffset Until);

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "Node {Node}: {Count} promises were not bound in time and are void")]
        public static partial void PromisesVoided(ILogger logger, string node, int count);

        [LoggerMessage(LogLevel.Information, "Node {Node}: epoch {Old} is over, {New} begins")]
        public static partial void NewEpoch(ILogger logger, string node, long old, long @new);

        [LoggerMessage(LogLevel.Information, "Node {Node}: the lease was not renewed: {Error}")]
        public static partial void LeaseNotRenewed(ILogger logger, string node, string error);

        [LoggerMessage(LogLevel.Information, "Node {Node}: agent connected, session {Session}")]
        public static partial void Connected(ILogger logger, string node, string session);
    }
}
