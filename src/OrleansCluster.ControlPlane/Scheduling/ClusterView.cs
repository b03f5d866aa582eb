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
    private readonly Stack<int> _free = new();
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
    internal ReadOnlySpan<Slot?> Slots
    {
        get
        {
            // The count first: the array that is read after it is at least as long.
            var count = Volatile.Read(ref _count);
            return Volatile.Read(ref _slots).AsSpan(0, count);
        }
    }

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
                if (_placements.TryGetValue(oldest.Uid, out var stale) && stale.Assumed && stale.AssumedUntil <= oldest.Until)
                    Take(oldest.Uid);
            }
            if (_placements.TryGetValue(pod.Uid, out var placement))
            {
                if (!placement.Assumed)
                    return; // Seen bound.
                Take(pod.Uid); // An earlier attempt whose outcome nobody knows.
            }
            var until = now + AssumptionLifetime;
            Put(pod, node, until);
            _assumptions.Enqueue((pod.Uid, until));
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
        var room = whole;
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
                room |= SetFacts(change.Object.Key.Name, change.Type == ChangeType.Deleted ? null : NodeReader.Of(change.Object));
        }
        if (room)
            RoomMayHaveAppeared?.Invoke();
    }

    private void ApplyPods(IResourceCache cache, IReadOnlyList<CacheChange> changes, bool whole)
    {
        var room = whole;
        lock (_gate)
        {
            if (whole)
            {
                foreach (var uid in _placements.Where(p => !p.Value.Assumed).Select(p => p.Key).ToList())
                    Take(uid);
                foreach (var pod in cache.Current?.Enumerate() ?? [])
                    Apply(pod, null, gone: false);
            }
            foreach (var change in changes)
                room |= Apply(change.Object, change.Previous, change.Type == ChangeType.Deleted);
        }
        if (room)
            RoomMayHaveAppeared?.Invoke();
    }

    // Caller holds _gate. True if the pod gave up its place, or waits and asks for something else than before.
    private bool Apply(ICachedObject pod, ICachedObject? previous, bool gone)
    {
        var node = pod.Field("spec.nodeName");
        var known = _placements.TryGetValue(pod.Uid, out var placement);
        var holds = !gone && !string.IsNullOrEmpty(node) && pod.Field("status.phase") is not ("Succeeded" or "Failed");
        if (!holds)
        {
            if (!known || (placement.Assumed && !gone))
            {
                // Not bound yet, as far as this change knows. A pod that waits may be given more tolerations.
                return !gone && string.IsNullOrEmpty(node) && previous is not null
                    && PodReader.Of(pod).Tolerations.Count != PodReader.Of(previous).Tolerations.Count;
            }
            Take(pod.Uid);
            return true;
        }
        if (known && !placement.Assumed && placement.Node == node)
            return false;
        if (known)
            Take(pod.Uid);
        Put(known ? placement.Pod : PodReader.OfBound(pod, previous), node!, assumedUntil: null);
        return false;
    }

    // Caller holds _gate.
    private void Put(PodRequirements pod, string node, DateTimeOffset? assumedUntil)
    {
        _placements[pod.Uid] = new Placement(node, pod, assumedUntil);
        ref var slot = ref SlotOf(node);
        slot = new Slot(slot?.Facts, (slot?.Usage ?? NodeUsage.None).With(pod));
    }

    // Caller holds _gate.
    private void Take(string uid)
    {
        if (!_placements.Remove(uid, out var placement))
            return;
        ref var slot = ref SlotOf(placement.Node);
        slot = new Slot(slot?.Facts, (slot?.Usage ?? NodeUsage.None).Without(placement.Pod));
        FreeIfUnused(placement.Node);
    }

    // Caller holds _gate. True if the change may let a pod fit that did not.
    private bool SetFacts(string node, NodeFacts? facts)
    {
        ref var slot = ref SlotOf(node);
        var before = slot?.Facts;
        slot = new Slot(facts, slot?.Usage ?? NodeUsage.None);
        if (facts is null)
        {
            FreeIfUnused(node);
            return false;
        }
        return before is null || !LooksTheSame(before, facts);
    }

    // Most changes of a node (heartbeat times, images) mean nothing to pods that wait.
    private static bool LooksTheSame(NodeFacts a, NodeFacts b) =>
        a.Unschedulable == b.Unschedulable && a.Allocatable == b.Allocatable && a.AllocatablePods == b.AllocatablePods
        && a.Taints.SequenceEqual(b.Taints) && Same(a.Labels, b.Labels) && Same(a.Extended, b.Extended);

    private static bool Same<T>(IReadOnlyDictionary<string, T> a, IReadOnlyDictionary<string, T> b)
    {
        if (a.Count != b.Count)
            return false;
        foreach (var (key, value) in a)
        {
            if (!b.TryGetValue(key, out var other) || !EqualityComparer<T>.Default.Equals(value, other))
                return false;
        }
        return true;
    }

    // Caller holds _gate. Slots of nodes that are gone are given to the next new node: names come and go, the arrays stay as long as the cluster was large.
    private void FreeIfUnused(string node)
    {
        var index = _index[node];
        if (_slots[index] is { Facts: null, Usage.Pods: 0 })
        {
            Volatile.Write(ref _slots[index], null);
            _index.Remove(node);
            _free.Push(index);
        }
    }

    // Caller holds _gate.
    private ref Slot? SlotOf(string node)
    {
        if (!_index.TryGetValue(node, out var index))
        {
            if (_free.TryPop(out index))
            {
                _index.Add(node, index);
                return ref _slots[index];
            }
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
    /// <param name="Facts">The node's facts; null while only pods are known that name it.</param>
    /// <param name="Usage">What its pods take, assumed ones included.</param>
    internal sealed record Slot(NodeFacts? Facts, NodeUsage Usage)
    {
        public NodeView View => Usage.View(Facts!);
    }

    private readonly record struct Placement(string Node, PodRequirements Pod, DateTimeOffset? AssumedUntil)
    {
        public bool Assumed => AssumedUntil is not null;
    }
}
