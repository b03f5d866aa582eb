using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.ControlPlane;

namespace OrleansCluster.Kubelet.Tests.Support;

/// <summary>
/// A control plane of one process and no storage: takes status patches (conditions merge by type), creates and deletions, and pushes pods to the nodes
/// that are connected. <see cref="Down"/> makes every call fail.
/// </summary>
internal sealed class FakeControlPlane : IControlPlane
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, JsonObject> _objects = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (string Session, INodeObserver Observer)> _sessions = new(StringComparer.Ordinal);
    private readonly List<TaskCompletionSource> _waiters = [];

    // Pushes come one after another, as a node's grain makes them: a set that was read before a pod came may not arrive after it.
    private readonly SemaphoreSlim _pushing = new(1, 1);
    private long _revision;

    public bool Down { get; set; }

    /// <summary>False: events are taken and forgotten.</summary>
    public bool KeepEvents { get; set; } = true;

    public TimeSpan HeartbeatInterval { get; set; } = TimeSpan.FromSeconds(1);

    public ConcurrentDictionary<string, int> Calls { get; } = new(StringComparer.Ordinal);

    public JsonObject? Find(string resource, string @namespace, string name)
    {
        lock (_gate)
            return _objects.GetValueOrDefault(new ObjectKey(resource, @namespace, name).ToString())?.DeepClone() as JsonObject;
    }

    public IReadOnlyList<JsonObject> All(string resource)
    {
        lock (_gate)
            return [.. _objects.Where(pair => pair.Key.StartsWith(resource + "/", StringComparison.Ordinal)).Select(pair => (JsonObject)pair.Value.DeepClone())];
    }

    /// <summary>Events as `reason: message`.</summary>
    public IReadOnlyList<string> Events() => [.. All("events").Select(e => $"{e["reason"]}: {e["message"]}")];

    public void Put(string resource, JsonObject obj)
    {
        lock (_gate)
        {
            var key = new ObjectKey(resource, (string?)obj["metadata"]!["namespace"] ?? "", (string)obj["metadata"]!["name"]!);
            Stamp(obj);
            _objects[key.ToString()] = obj;
        }
        Changed();
    }

    /// <summary>Stores a pod and pushes it to its node.</summary>
    public async Task PushAsync(JsonObject pod)
    {
        Put("pods", pod);
        await PushAsync((string)pod["spec"]!["nodeName"]!, complete: false, [pod], []);
    }

    /// <summary>Marks a pod as being deleted and pushes it.</summary>
    public async Task DeleteAsync(string name, int grace = 30, string @namespace = "default")
    {
        var pod = Find("pods", @namespace, name) ?? throw new InvalidOperationException($"no pod {name}");
        await PushAsync(pod.Deleted(grace));
    }

    /// <summary>Removes a pod at once, as a deletion without grace does.</summary>
    public async Task RemoveAsync(string name, string @namespace = "default")
    {
        var pod = Find("pods", @namespace, name)!;
        lock (_gate)
            _objects.Remove(new ObjectKey("pods", @namespace, name).ToString());
        await PushAsync((string)pod["spec"]!["nodeName"]!, complete: false, [], [(string)pod["metadata"]!["uid"]!]);
    }

    /// <summary>Pushes the complete set of a node.</summary>
    public Task PushAllAsync(string node) =>
        PushAsync(node, complete: true, () => All("pods").Where(pod => (string?)pod["spec"]!["nodeName"] == node), []);

    /// <summary>Forgets all sessions, as a restarted node grain does.</summary>
    public void ForgetSessions()
    {
        lock (_gate)
            _sessions.Clear();
    }

    /// <summary>Waits until the state satisfies the condition; fails with what there was instead.</summary>
    public async Task WaitAsync(Func<bool> condition, string what, TimeSpan? limit = null)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        timeout.CancelAfter(limit ?? TimeSpan.FromSeconds(30));
        while (true)
        {
            var changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (_gate)
                _waiters.Add(changed);
            if (condition())
                return;
            try
            {
                await changed.Task.WaitAsync(timeout.Token);
            }
            catch (OperationCanceledException)
            {
                Assert.Fail($"Waited for {what}.\nPods:\n{string.Join('\n', All("pods").Select(pod => pod.ToJsonString()))}\nEvents:\n{string.Join('\n', Events())}");
            }
        }
    }

    public Task WaitForPodAsync(string name, Func<JsonObject, bool> condition, string what, TimeSpan? limit = null) =>
        WaitAsync(() => Find("pods", "default", name) is { } pod && condition(pod), $"pod {name} {what}", limit);

    public Task WaitForPhaseAsync(string name, string phase, TimeSpan? limit = null) =>
        WaitForPodAsync(name, pod => (string?)pod["status"]!["phase"] == phase, "to be " + phase, limit);

    public Task WaitForReadyAsync(string name, TimeSpan? limit = null) =>
        WaitForPodAsync(name, pod => IsReady(pod), "to be ready", limit);

    public static bool IsReady(JsonObject pod) => pod["status"]!["conditions"] is JsonArray conditions
        && conditions.Any(condition => (string?)condition!["type"] == "Ready" && (string?)condition["status"] == "True");

    public Task<NodeConnection> ConnectAsync(string node, string sessionId, INodeObserver observer, CancellationToken cancellationToken)
    {
        Count("connect");
        lock (_gate)
            _sessions[node] = (sessionId, observer);
        Pushing = PushAllAsync(node);
        return Task.FromResult(new NodeConnection(HeartbeatInterval, new Nothing()));
    }

    /// <summary>The push that follows a connect.</summary>
    public Task Pushing { get; private set; } = Task.CompletedTask;

    public Task<HeartbeatReply> HeartbeatAsync(string node, string sessionId, CancellationToken cancellationToken)
    {
        Count("heartbeat");
        lock (_gate)
        {
            return Task.FromResult(new HeartbeatReply
            {
                Known = _sessions.TryGetValue(node, out var session) && session.Session == sessionId,
                StatusWanted = StatusWanted,
            });
        }
    }

    /// <summary>What heartbeats are answered with: the Node was marked as not heard.</summary>
    public bool StatusWanted { get; set; }

    public Task DisconnectAsync(string node, string sessionId, CancellationToken cancellationToken)
    {
        Count("disconnect");
        lock (_gate)
            _sessions.Remove(node);
        return Task.CompletedTask;
    }

    public async Task<ObjectReply> ExecuteAsync(ObjectKey key, ObjectRequest request, CancellationToken cancellationToken)
    {
        Count($"{request.Verb}:{key.Resource}{(request.Subresource.Length > 0 ? "/" + request.Subresource : "")}");
        if (key.Resource == "events" && !KeepEvents)
            return new ObjectReply { Code = 201, Object = request.Body };
        var (reply, gone) = Execute(key, request);
        Changed();
        // As the node's grain does, every change of a pod is pushed, the agent's own ones included.
        if (reply.IsSuccess && request.Verb == ObjectVerb.Patch && key.Resource == "pods")
        {
            var pod = CanonicalJson.Parse(reply.Object);
            await PushAsync((string)pod["spec"]!["nodeName"]!, complete: false, [pod], []);
        }
        if (gone is not null)
            await PushAsync((string)gone["spec"]!["nodeName"]!, complete: false, [], [(string)gone["metadata"]!["uid"]!]);
        return reply;
    }

    public Task<byte[]?> GetAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        Count("get:" + key.Resource);
        return Task.FromResult(Find(key.Resource, key.Namespace, key.Name)?.Bytes());
    }

    public Task<byte[][]> ListAsync(string resource, string @namespace, CancellationToken cancellationToken)
    {
        Count("list:" + resource);
        return Task.FromResult<byte[][]>([.. All(resource).Where(obj => (string?)obj["metadata"]!["namespace"] == @namespace).Select(obj => obj.Bytes())]);
    }

    private (ObjectReply Reply, JsonObject? Gone) Execute(ObjectKey key, ObjectRequest request)
    {
        lock (_gate)
        {
            var found = _objects.GetValueOrDefault(key.ToString());
            switch (request.Verb)
            {
                case ObjectVerb.Create when found is not null:
                    return (Fail(StatusError.AlreadyExists(key.Resource, "", key.Name)), null);
                case ObjectVerb.Create:
                    var created = CanonicalJson.Parse(request.Body);
                    created["metadata"]!["uid"] = request.NewUid.ToString();
                    Stamp(created);
                    _objects[key.ToString()] = created;
                    return (Success(created), null);
                case var _ when found is null:
                    return (Fail(StatusError.NotFound(key.Resource, "", key.Name)), null);
                case ObjectVerb.Patch:
                    var patch = CanonicalJson.Parse(request.Body);
                    if (patch["metadata"]?["uid"] is { } uid && (string?)uid != (string?)found["metadata"]!["uid"])
                        return (Fail(StatusError.Conflict(key.Resource, "", key.Name, "uid mismatch")), null);
                    Merge(found, patch);
                    Stamp(found);
                    return (Success(found), null);
                case ObjectVerb.Delete:
                    var wanted = (string?)CanonicalJson.Parse(request.Body)["preconditions"]?["uid"];
                    if (wanted is not null && wanted != (string?)found["metadata"]!["uid"])
                        return (Fail(StatusError.Conflict(key.Resource, "", key.Name, "uid mismatch")), null);
                    _objects.Remove(key.ToString());
                    return (Success(found), key.Resource == "pods" ? found : null);
                default:
                    throw new NotSupportedException(request.Verb.ToString());
            }
        }
    }

    private static void Merge(JsonObject target, JsonObject patch)
    {
        foreach (var (name, value) in patch)
        {
            switch (value)
            {
                case null:
                    target.Remove(name);
                    break;
                case JsonObject inner when target[name] is JsonObject existing && name is "status" or "metadata" or "labels":
                    Merge((JsonObject)target[name]!, (JsonObject)value);
                    break;
                case JsonArray list when name == "conditions":
                    var merged = target[name] as JsonArray ?? [];
                    foreach (var item in list.Cast<JsonObject>())
                    {
                        var old = merged.FirstOrDefault(candidate => (string?)candidate!["type"] == (string?)item["type"]);
                        if (old is not null)
                            merged.Remove(old);
                        var copy = (JsonObject)item.DeepClone();
                        foreach (var empty in copy.Where(pair => pair.Value is null).Select(pair => pair.Key).ToList())
                            copy.Remove(empty);
                        merged.Add((JsonNode)copy);
                    }
                    target[name] = merged.DeepClone();
                    break;
                case JsonArray list when name is "podIPs" or "hostIPs":
                    target[name] = new JsonArray([.. list.Where(item => item!["$patch"] is null).Select(item => item!.DeepClone())]);
                    break;
                default:
                    target[name] = value.DeepClone();
                    break;
            }
        }
    }

    private Task PushAsync(string node, bool complete, IEnumerable<JsonObject> pods, string[] removed) =>
        PushAsync(node, complete, () => pods, removed);

    private async Task PushAsync(string node, bool complete, Func<IEnumerable<JsonObject>> pods, string[] removed)
    {
        await _pushing.WaitAsync();
        try
        {
            INodeObserver? observer;
            lock (_gate)
                observer = Down ? null : _sessions.TryGetValue(node, out var session) ? session.Observer : null;
            if (observer is not null)
                await observer.SyncPodsAsync(new PodSync { Node = node, Complete = complete, Pods = [.. pods().Select(pod => pod.Bytes())], RemovedUids = removed });
        }
        finally
        {
            _pushing.Release();
        }
    }

    private void Count(string call)
    {
        Calls.AddOrUpdate(call, 1, static (_, count) => count + 1);
        if (Down)
            throw new TimeoutException("the control plane is down");
        Changed();
    }

    private void Changed()
    {
        List<TaskCompletionSource> waiters;
        lock (_gate)
        {
            waiters = [.. _waiters];
            _waiters.Clear();
        }
        foreach (var waiter in waiters)
            waiter.TrySetResult();
    }

    private void Stamp(JsonObject obj) =>
        obj["metadata"]!["resourceVersion"] = (++_revision).ToString(System.Globalization.CultureInfo.InvariantCulture);

    private static ObjectReply Success(JsonObject obj) => new() { Code = 200, Object = obj.Bytes() };

    private static ObjectReply Fail(StatusError error) => new() { Code = error.Code, Error = CanonicalJson.SerializeNode(error.ToJson()) };

    private sealed class Nothing : IDisposable
    {
        public void Dispose()
        {
        }
    }
}
