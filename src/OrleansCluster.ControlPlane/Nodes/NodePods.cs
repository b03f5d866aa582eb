using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.Scheduling;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Nodes;

/// <summary>
/// The pods of every node, as this process's cache has them, what they take in sum, and who wants to know of their changes. Kept by the cache's own loop,
/// so that a node's grain neither searches all pods, nor watches all changes, nor adds up its pods for every promise.
/// </summary>
public sealed class NodePods : IDisposable
{
    private readonly IResourceCache _pods;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Node> _byNode = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Action<ICachedObject, bool>> _listeners = new(StringComparer.Ordinal);
    private readonly IndexProgress _progress = new();
    private readonly IDisposable _subscription;

    /// <summary>Makes the index and starts to follow the pods.</summary>
    public NodePods(IResourceCaches caches)
    {
        _pods = caches.Get("pods");
        _subscription = _pods.Subscribe(Apply);
    }

    /// <summary>The pods of a node at a revision not older than the store's newest.</summary>
    public async ValueTask<IReadOnlyList<ICachedObject>> GetLatestAsync(string node, CancellationToken cancellationToken)
    {
        var snapshot = await _pods.GetLatestAsync(cancellationToken);
        await _progress.WaitForAsync(snapshot.Revision, cancellationToken);
        return Get(node);
    }

    /// <summary>The pods of a node as known now.</summary>
    public IReadOnlyList<ICachedObject> Get(string node)
    {
        lock (_gate)
            return _byNode.TryGetValue(node, out var known) ? known.List() : [];
    }

    /// <summary>What the pods of a node take, as known now; those that have ended take nothing.</summary>
    internal NodeUsage Usage(string node)
    {
        lock (_gate)
            return _byNode.TryGetValue(node, out var known) ? known.Usage : NodeUsage.None;
    }

    /// <summary>True if a pod is known to be bound to a node, whether or not it has ended.</summary>
    internal bool Has(string node, string podUid)
    {
        lock (_gate)
            return _byNode.TryGetValue(node, out var known) && known.Pods.ContainsKey(podUid);
    }

    /// <summary>
    /// Calls <paramref name="listener"/> for every change of a pod of the node (true: it is gone) and returns the pods it has now, without a gap
    /// between the two. The listener must be quick and must not throw. One listener per node.
    /// </summary>
    public IReadOnlyList<ICachedObject> Listen(string node, Action<ICachedObject, bool> listener)
    {
        lock (_gate)
        {
            _listeners[node] = listener;
            return _byNode.TryGetValue(node, out var known) ? known.List() : [];
        }
    }

    /// <summary>Ends a listener, if it still is the node's.</summary>
    public void Unlisten(string node, Action<ICachedObject, bool> listener)
    {
        lock (_gate)
        {
            if (_listeners.TryGetValue(node, out var present) && present == listener)
                _listeners.Remove(node);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _subscription.Dispose();

    private void Apply(IReadOnlyList<CacheChange> changes, bool whole)
    {
        var revision = whole ? _pods.Current?.Revision ?? 0 : 0; // Taken before the objects, so never ahead of them.
        lock (_gate)
        {
            if (whole)
                Refill();
            foreach (var change in changes)
                Apply(change.Object, change.Previous, change.Type == ChangeType.Deleted);
        }
        _progress.Advance(changes.Count > 0 ? changes[^1].Revision : revision);
    }

    // Caller holds _gate.
    private void Apply(ICachedObject pod, ICachedObject? previous, bool gone)
    {
        if (pod.Field("spec.nodeName") is not { Length: > 0 } node)
            return; // A binding never changes: a pod without node never had one.
        if (!_byNode.TryGetValue(node, out var known))
            _byNode.Add(node, known = new Node());
        if (gone)
            known.Remove(pod.Uid);
        else
            known.Set(pod, previous);
        if (known.Pods.Count == 0)
            _byNode.Remove(node); // Names of nodes come and go.
        if (_listeners.TryGetValue(node, out var listener))
            listener(pod, gone);
    }

    // Caller holds _gate.
    private void Refill()
    {
        var before = _byNode.Values.SelectMany(n => n.Pods.Values).ToDictionary(e => e.Pod.Uid, e => e.Pod, StringComparer.Ordinal);
        foreach (var pod in _pods.Current?.Enumerate() ?? [])
        {
            if (!before.Remove(pod.Uid, out var known) || known.Revision != pod.Revision)
                Apply(pod, known, gone: false);
        }
        foreach (var missing in before.Values)
            Apply(missing, null, gone: true);
    }

    private sealed class Node
    {
        public Dictionary<string, Entry> Pods { get; } = new(StringComparer.Ordinal);

        public NodeUsage Usage { get; private set; } = NodeUsage.None;

        public List<ICachedObject> List() => [.. Pods.Values.Select(e => e.Pod)];

        public void Set(ICachedObject pod, ICachedObject? previous)
        {
            var holds = pod.Field("status.phase") is not ("Succeeded" or "Failed");
            var known = Pods.TryGetValue(pod.Uid, out var entry);
            var requirements = known ? entry.Requirements : PodReader.OfBound(pod, previous);
            if (holds && !(known && entry.Holds))
                Usage = Usage.With(requirements);
            else if (!holds && known && entry.Holds)
                Usage = Usage.Without(requirements);
            Pods[pod.Uid] = new Entry(pod, requirements, holds);
        }

        public void Remove(string uid)
        {
            if (Pods.Remove(uid, out var entry) && entry.Holds)
                Usage = Usage.Without(entry.Requirements);
        }
    }

    private readonly record struct Entry(ICachedObject Pod, PodRequirements Requirements, bool Holds);
}
