using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;
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
/// bound before is in what this one reads.
/// </para>
/// </summary>
[KeepAlive]
public sealed partial class NodeGrain(
    IObjectStore store,
    IResourceCaches caches,
    NodePods nodePods,
    IGrainFactory grains,
    ResourceRegistry registry,
    IOptions<ControlPlaneOptions> options,
    TimeProvider time,
    ILogger<NodeGrain> logger) : Grain, INodeGrain
{
    /// <summary>A promise not seen bound by then is void: its decision died. Longer than any decision takes.</summary>
    private static readonly TimeSpan PromiseLifetime = TimeSpan.FromSeconds(30);

    private static readonly IFilterPlugin[] Rules = [new NodePorts(), new NodeResourcesFit()];

    private readonly Dictionary<string, Promise> _promises = new(StringComparer.Ordinal);
    private NodeSession? _session;
    private DateTimeOffset _lastHeartbeat;
    private long _epoch;

    private string Name => this.GetPrimaryKeyString();

    /// <inheritdoc/>
    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // An agent that has not been heard since this activation gets the whole grace period from now on.
        _lastHeartbeat = time.GetUtcNow();
        _epoch = await store.AdvanceFenceAsync("pods", "node/" + Name, cancellationToken);
        await nodePods.GetLatestAsync(Name, cancellationToken);
    }

    /// <inheritdoc/>
    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        if (_session is { } session)
            await session.DisposeAsync();
    }

    /// <inheritdoc/>
    public async Task<ReserveReply> ReserveAsync(ReserveRequest request, CancellationToken cancellationToken)
    {
        if (_promises.TryGetValue(request.PodUid, out var promise))
        {
            _promises[request.PodUid] = promise with { Until = time.GetUtcNow() + PromiseLifetime };
            return Admitted();
        }
        var node = caches.Get("nodes").Current?.Find("", Name) ?? (await caches.Get("nodes").GetLatestAsync(cancellationToken)).Find("", Name);
        if (node is null)
            return Refused("node is gone");
        var pod = PodReader.Read(request.Pod);
        var view = View(NodeReader.Of(node), pod.Uid);
        var reasons = Rules.Where(r => r.AppliesTo(pod)).Select(r => r.Refuse(pod, view)).OfType<string>().ToArray();
        if (reasons.Length > 0)
            return Refused(reasons);
        _promises[request.PodUid] = new Promise(pod, time.GetUtcNow() + PromiseLifetime);
        return Admitted();
    }

    /// <inheritdoc/>
    public Task ReleaseAsync(string podUid, CancellationToken cancellationToken)
    {
        _promises.Remove(podUid);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<ConnectReply> ConnectAsync(INodeObserver observer, NodeHello hello, CancellationToken cancellationToken)
    {
        if (_session is { } old)
            await old.DisposeAsync();
        // The complete set must not be older than this call, or pods bound a moment ago would look removed.
        await nodePods.GetLatestAsync(Name, cancellationToken);
        _session = NodeSession.Open(hello.SessionId, Name, observer, nodePods, time, logger);
        _lastHeartbeat = time.GetUtcNow();
        await EnsureLeaseAsync(cancellationToken);
        Log.Connected(logger, Name, hello.SessionId);
        return new ConnectReply { HeartbeatInterval = options.Value.NodeHeartbeatInterval };
    }

    /// <inheritdoc/>
    public Task<HeartbeatReply> HeartbeatAsync(NodeHeartbeat heartbeat, CancellationToken cancellationToken)
    {
        var known = _session is { IsOpen: true } session && session.Id == heartbeat.SessionId;
        if (known)
            _lastHeartbeat = time.GetUtcNow();
        return Task.FromResult(new HeartbeatReply { Known = known });
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

    /// <summary>What is taken: bound pods, and promises that are not seen bound yet.</summary>
    private NodeView View(NodeFacts facts, string exceptUid)
    {
        ResourceAmounts requested = default;
        var count = 0;
        List<HostPort>? ports = null;
        var bound = new HashSet<string>(StringComparer.Ordinal);
        void Add(PodRequirements pod)
        {
            requested += pod.Requests;
            count++;
            if (pod.HostPorts.Count > 0)
                (ports ??= []).AddRange(pod.HostPorts);
        }

        foreach (var pod in nodePods.Get(Name))
        {
            bound.Add(pod.Uid);
            if (pod.Uid != exceptUid && pod.Field("status.phase") is not ("Succeeded" or "Failed"))
                Add(PodReader.Of(pod));
        }
        var now = time.GetUtcNow();
        foreach (var (uid, promise) in _promises)
        {
            if (bound.Contains(uid) || promise.Until < now)
                _promises.Remove(uid);
            else
                Add(promise.Pod);
        }
        return new NodeView(facts, requested, count, ports);
    }

    // The Lease object exists so that tools find it; its times are the heartbeats', which are in memory.
    private async Task EnsureLeaseAsync(CancellationToken cancellationToken)
    {
        var key = new ObjectKey("leases.coordination.k8s.io", "kube-node-lease", Name);
        if (registry.Find(key.Resource) is not { } leases || caches.Get(key.Resource).Current?.Find(key.Namespace, key.Name) is not null)
            return;
        var node = caches.Get("nodes").Current?.Find("", Name);
        var lease = new JsonObject
        {
            ["kind"] = "Lease",
            ["apiVersion"] = "coordination.k8s.io/v1",
            ["metadata"] = new JsonObject
            {
                ["name"] = key.Name,
                ["namespace"] = key.Namespace,
                ["ownerReferences"] = node is null ? null : new JsonArray(new JsonObject
                {
                    ["apiVersion"] = "v1",
                    ["kind"] = "Node",
                    ["name"] = Name,
                    ["uid"] = node.Uid,
                }),
            },
            ["spec"] = new JsonObject
            {
                ["holderIdentity"] = Name,
                ["leaseDurationSeconds"] = 40,
                ["renewTime"] = time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"),
            },
        };
        try
        {
            await new ObjectWriter(grains, time, UserInfo.ControlPlane).CreateAsync(leases, lease, cancellationToken);
        }
        catch (StatusException error) when (error.Status.Code is 409 or 404 or 403)
        {
            // There already, or its namespace is not yet: the next session makes it.
        }
    }

    private ReserveReply Admitted() => new() { Admitted = true, Epoch = _epoch };

    private static ReserveReply Refused(params string[] reasons) => new() { Admitted = false, Reasons = reasons };

    private sealed record Promise(PodRequirements Pod, DateTimeOffset Until);

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "Node {Node}: agent connected, session {Session}")]
        public static partial void Connected(ILogger logger, string node, string session);
    }
}
