using OrleansCluster.Scheduling;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// The cluster as one silo's scheduler sees it: arrays with a slot per node, kept up to date from the change logs of nodes and pods. Decisions read it
/// without locks and may see a state that is some milliseconds old or mixes two moments: they are optimistic, and the node's grain has the
/// last word. What this silo has decided but not yet seen committed is counted as if it were there (<see cref="Assume"/>), so that one silo does
/// not send a hundred pods to one place.
/// </summary>
public sealed class ClusterView : IDisposable
{
    /// <summary>An assumed pod that never shows up bound is forgotten after this; the same time as a node's promise.</summary>
    private static readonly TimeSpan AssumptionLifetime = TimeSpan.FromSeconds(30);

    private readonly TimeProvider _time;
    private readonly List<IDisposable> _subscriptions = [];

    // Writers hold _gate; readers take Slots and Count once and read entries without a lock (entries are immutable and swapped whole).
    private readonly Lock _gate = new();
    private readonly Dictionary<string, int> _index = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Placement> _placements = new(StringComparer.Ordinal);
    private readonly Queue<(string Uid, DateTimeOffset Until)> _assumptions = new();
    private Slot?[] _slots = new Slot?[64];
    private int _count;

    /// <summary>Makes the view and starts to follow nodes and pods.</summary>
    public ClusterView(IResourceCaches caches, TimeProvider time)
    {
        _time = time;
        var nodes = caches.Get("nodes");
        var pods = caches.Get("pods");
        _subscriptions.Add(nodes.Subscribe((changes, whole) => ApplyNodes(nodes, changes, whole)));
        _subscriptions.Add(pods.Subscribe((changes, whole) => ApplyPods(pods, changes, whole)));
    }

    /// <summary>All slots; some are null. Take it once per decision.</summary>
    internal ReadOnlySpan<Slot?> Slots => Volatile.Read(ref _slots).AsSpan(0, Volatile.Read(ref _count));

    /// <summary>Called, on a cache's loop, when something happened that may let a pod fit that did not: a node came or changed, a pod went.</summary>
    internal event Action? RoomMayHaveAppeared;

    /// <summary>Counts a pod on a node before its binding is seen.</summary>
    internal void Assume(PodRequirements pod, string node)
    {
        lock (_gate)
        {
            var now = _time.GetUtcNow();
            while (_assumptions.TryPeek(out var oldest) && oldest.Until < now)
            {
                _assumptions.Dequeue();
                if (_placements.TryGetValue(oldest.Uid, out var stale) && stale.Assumed)
                    Take(oldest.Uid);
            }
            if (_placements.ContainsKey(pod.Uid))
                return;
            Put(pod, node, assumed: true);
            _assumptions.Enqueue((pod.Uid, now + AssumptionLifetime));
        }
    }

    /// <summary>Takes an assumption back.</summary>
    internal void Forget(string podUid)
    {
        lock (_gate)
        {
            if (_placements.TryGetValue(podUid, out var placement) && placement.Assumed)
                Take(podUid);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _subscriptions.ForEach(s => s.Dispose());

    private void ApplyNodes(IResourceCache cache, IReadOnlyList<CacheChange> changes, bool whole)
    {
        lock (_gate)
        {
            if (whole)
            {
                var present = cache.Current?.Enumerate().ToList() ?? [];
                foreach (var name in _index.Keys.Except(present.Select(n => n.Key.Name), StringComparer.Ordinal).ToList())
                    SetFacts(name, null);
                foreach (var node in present)
                    SetFacts(node.Key.Name, NodeReader.Of(node));
            }
            foreach (var change in changes)
                SetFacts(change.Object.Key.Name, change.Type == ChangeType.Deleted ? null : NodeReader.Of(change.Object));
        }
        RoomMayHaveAppeared?.Invoke();
    }

    private void ApplyPods(IResourceCache cache, IReadOnlyList<CacheChange> changes, bool whole)
    {
        var freed = whole;
        lock (_gate)
        {
            if (whole)
            {
                foreach (var uid in _placements.Where(p => !p.Value.Assumed).Select(p => p.Key).ToList())
                    Take(uid);
                foreach (var pod in cache.Current?.Enumerate() ?? [])
                    freed |= Apply(pod, gone: false);
            }
            foreach (var change in changes)
                freed |= Apply(change.Object, change.Type == ChangeType.Deleted);
        }
        if (freed)
            RoomMayHaveAppeared?.Invoke();
    }

    // Caller holds _gate. True if the pod gave up its place.
    private bool Apply(ICachedObject pod, bool gone)
    {
        var node = pod.Field("spec.nodeName");
        var known = _placements.TryGetValue(pod.Uid, out var placement);
        var holds = !gone && !string.IsNullOrEmpty(node) && pod.Field("status.phase") is not ("Succeeded" or "Failed");
        if (!holds)
        {
            if (!known || (placement.Assumed && !gone))
                return false; // Not bound yet, as far as this change knows.
            Take(pod.Uid);
            return true;
        }
        if (known && !placement.Assumed && placement.Node == node)
            return false;
        if (known)
            Take(pod.Uid);
        Put(PodReader.Of(pod), node!, assumed: false);
        return false;
    }

    // Caller holds _gate.
    private void Put(PodRequirements pod, string node, bool assumed)
    {
        _placements[pod.Uid] = new Placement(node, pod, assumed);
        ref var slot = ref SlotOf(node);
        slot = (slot ?? Slot.Empty) with
        {
            Requested = (slot ?? Slot.Empty).Requested + pod.Requests,
            Pods = (slot ?? Slot.Empty).Pods + 1,
            HostPorts = pod.HostPorts.Count == 0 ? slot?.HostPorts : [.. slot?.HostPorts ?? [], .. pod.HostPorts],
        };
    }

    // Caller holds _gate.
    private void Take(string uid)
    {
        if (!_placements.Remove(uid, out var placement))
            return;
        ref var slot = ref SlotOf(placement.Node);
        if (slot is null)
            return;
        var ports = slot.HostPorts;
        if (placement.Pod.HostPorts.Count > 0 && ports is not null)
        {
            var left = ports.ToList();
            foreach (var port in placement.Pod.HostPorts)
                left.Remove(port);
            ports = left.Count == 0 ? null : [.. left];
        }
        slot = slot with { Requested = slot.Requested - placement.Pod.Requests, Pods = slot.Pods - 1, HostPorts = ports };
    }

    // Caller holds _gate.
    private void SetFacts(string node, NodeFacts? facts)
    {
        ref var slot = ref SlotOf(node);
        slot = (slot ?? Slot.Empty) with { Facts = facts };
    }

    // Caller holds _gate. A node keeps its slot for ever; names that come back get it again.
    private ref Slot? SlotOf(string node)
    {
        if (!_index.TryGetValue(node, out var index))
        {
            index = _count;
            if (index == _slots.Length)
            {
                var larger = new Slot?[_slots.Length * 2];
                Array.Copy(_slots, larger, _count);
                Volatile.Write(ref _slots, larger);
            }
            _index.Add(node, index);
            Volatile.Write(ref _count, index + 1);
        }
        return ref _slots[index];
    }

    /// <summary>One node in the arrays. Immutable; replaced as a whole.</summary>
    internal sealed record Slot
    {
        public static readonly Slot Empty = new();

        /// <summary>The node's facts; null while only pods are known that name it.</summary>
        public NodeFacts? Facts { get; init; }

        public ResourceAmounts Requested { get; init; }

        public int Pods { get; init; }

        public IReadOnlyCollection<HostPort>? HostPorts { get; init; }

        public NodeView View => new(Facts!, Requested, Pods, HostPorts);
    }

    private readonly record struct Placement(string Node, PodRequirements Pod, bool Assumed);
}
