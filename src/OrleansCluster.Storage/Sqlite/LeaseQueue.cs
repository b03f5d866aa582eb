namespace OrleansCluster.Storage;

/// <summary>
/// One work queue in memory. Its rows (what is queued, since when, how urgent) are durable; leases, attempts and delays are not, because the
/// process that holds them is the only one that can use the file: when it dies, every lease has died with it and every item is due again.
/// An item is in exactly one of three sets: ready (by priority, then age), delayed (by due time) or leased (by end of lease). Callers hold the
/// resource's lock.
/// </summary>
/// <param name="firstLeaseId">Lease ids count from here: the number of this start in the upper half keeps them apart from those of an earlier process.</param>
internal sealed class LeaseQueue(long firstLeaseId)
{
    private long _lastLeaseId = firstLeaseId;
    private readonly Dictionary<string, Item> _items = new(StringComparer.Ordinal);
    private readonly SortedSet<Item> _ready = new(Comparer<Item>.Create(static (x, y) =>
        x.Priority != y.Priority ? y.Priority.CompareTo(x.Priority) : x.Sequence.CompareTo(y.Sequence)));
    private readonly SortedSet<Item> _delayed = new(ByTime);
    private readonly SortedSet<Item> _leased = new(ByTime);

    private static readonly Comparer<Item> ByTime = Comparer<Item>.Create(static (x, y) =>
        x.At != y.At ? x.At.CompareTo(y.At) : x.Sequence.CompareTo(y.Sequence));

    /// <summary>Pulsed when an item may have become ready or may become so sooner.</summary>
    public AsyncSignal Changed { get; } = new();

    /// <summary>The durable row of a key, or null.</summary>
    public QueueRow? Find(string key) => _items.TryGetValue(key, out var item) ? item.Row : null;

    public void Add(QueueRow row)
    {
        var item = new Item(row);
        if (_items.TryAdd(row.Key, item))
            _ready.Add(item);
    }

    public void Remove(string key)
    {
        if (_items.Remove(key, out var item))
            SetOf(item).Remove(item);
    }

    /// <summary>True if the lease is the item's present one and has not run out.</summary>
    public bool Holds(string key, long leaseId, DateTimeOffset now)
    {
        Advance(now);
        return _items.TryGetValue(key, out var item) && item.State == ItemState.Leased && item.LeaseId == leaseId;
    }

    public List<QueueItem> Lease(int maxCount, DateTimeOffset now, TimeSpan lease)
    {
        Advance(now);
        var result = new List<QueueItem>(Math.Min(maxCount, _ready.Count));
        while (result.Count < maxCount && _ready.Min is { } item)
        {
            _ready.Remove(item);
            item.LeaseId = ++_lastLeaseId;
            item.Attempt++;
            Move(item, ItemState.Leased, End(now, lease));
            result.Add(new QueueItem(item.Row.Key, item.Priority, item.Attempt, item.Row.EnqueuedAt, item.LeaseId));
        }
        return result;
    }

    public void Release(string key, long leaseId, DateTimeOffset now, TimeSpan delay)
    {
        if (!Holds(key, leaseId, now))
            return;
        var item = _items[key];
        _leased.Remove(item);
        if (delay <= TimeSpan.Zero)
            Move(item, ItemState.Ready, default);
        else
            Move(item, ItemState.Delayed, End(now, delay));
    }

    public void Wake(IReadOnlyCollection<string>? keys)
    {
        Item[] woken = keys is null
            ? [.. _delayed]
            : [.. keys.Distinct(StringComparer.Ordinal).Select(k => _items.GetValueOrDefault(k)).OfType<Item>().Where(i => i.State == ItemState.Delayed)];
        foreach (var item in woken)
        {
            _delayed.Remove(item);
            Move(item, ItemState.Ready, default);
        }
    }

    /// <summary>When the next delayed or leased item becomes due by itself, or null.</summary>
    public DateTimeOffset? NextDue()
    {
        var delayed = _delayed.Min?.At;
        var leased = _leased.Min?.At;
        return delayed is null || leased < delayed ? leased ?? delayed : delayed;
    }

    public QueueStatistics Statistics(DateTimeOffset now)
    {
        Advance(now);
        var oldest = _items.Count == 0 ? now : _items.Values.Min(i => i.Row.EnqueuedAt);
        return new QueueStatistics(_ready.Count, _leased.Count, _delayed.Count, oldest < now ? now - oldest : TimeSpan.Zero);
    }

    /// <summary>Takes over what the file holds, after the file was opened anew; items that are still the same keep their state.</summary>
    public void Reset(IReadOnlyCollection<QueueRow> rows)
    {
        var sequences = rows.Select(r => r.Sequence).ToHashSet();
        foreach (var item in _items.Values.Where(i => !sequences.Contains(i.Sequence)).ToArray())
            Remove(item.Row.Key);
        foreach (var row in rows)
            Add(row);
    }

    private void Advance(DateTimeOffset now)
    {
        while (_delayed.Min is { } item && item.At <= now)
        {
            _delayed.Remove(item);
            Move(item, ItemState.Ready, default);
        }
        while (_leased.Min is { } item && item.At <= now)
        {
            _leased.Remove(item);
            Move(item, ItemState.Ready, default);
        }
    }

    /// <summary>The item must be in no set: its place in one depends on what changes here.</summary>
    private void Move(Item item, ItemState state, DateTimeOffset at)
    {
        item.State = state;
        item.At = at;
        SetOf(item).Add(item);
    }

    private static DateTimeOffset End(DateTimeOffset now, TimeSpan span) =>
        span >= DateTimeOffset.MaxValue - now ? DateTimeOffset.MaxValue : now + span;

    private SortedSet<Item> SetOf(Item item) => item.State switch
    {
        ItemState.Ready => _ready,
        ItemState.Delayed => _delayed,
        _ => _leased,
    };

    private enum ItemState
    {
        Ready,
        Delayed,
        Leased,
    }

    private sealed class Item(QueueRow row)
    {
        public QueueRow Row { get; } = row;
        public long Priority => Row.Priority;
        public long Sequence => Row.Sequence;
        public ItemState State { get; set; }
        public DateTimeOffset At { get; set; }
        public int Attempt { get; set; }
        public long LeaseId { get; set; }
    }
}

/// <summary>The durable part of a queue item; the sequence is its age rank and its row number.</summary>
internal sealed record QueueRow(long Sequence, string Key, long Priority, DateTimeOffset EnqueuedAt);
