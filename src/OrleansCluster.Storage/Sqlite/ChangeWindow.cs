namespace OrleansCluster.Storage;

/// <summary>
/// The newest changes of one resource, in memory, so that tails do not read the file. Entries are contiguous: entry i has revision
/// <see cref="First"/> + i. Bounded by count and by bytes; the values are the committed arrays themselves. Callers hold the resource's lock.
/// </summary>
internal sealed class ChangeWindow(int maxCount, long maxBytes)
{
    // A ring that grows to maxCount (a power of two at every size, so that the index is a mask).
    private StoredChange[] _ring = [];
    private int _head;
    private long _bytes;

    /// <summary>Number of entries.</summary>
    public int Count { get; private set; }

    /// <summary>Revision of the oldest entry; meaningless while empty.</summary>
    public long First => _ring[_head].Revision;

    public void Append(StoredChange change)
    {
        if (maxCount == 0)
            return;
        if (Count == _ring.Length)
            Grow();
        _ring[(_head + Count) & (_ring.Length - 1)] = change;
        Count++;
        _bytes += change.Value.Length;
        while (Count > maxCount || (_bytes > maxBytes && Count > 0))
            DropOldest();
    }

    /// <summary>True if every entry after a revision up to the newest is here.</summary>
    public bool Covers(long afterRevision) => Count > 0 && afterRevision + 1 >= First;

    /// <summary>The entry with a revision, or null.</summary>
    public StoredChange? Find(long revision)
    {
        if (Count == 0)
            return null;
        var offset = revision - First;
        return offset < 0 || offset >= Count ? null : _ring[(_head + (int)offset) & (_ring.Length - 1)];
    }

    /// <summary>Entries after a revision, oldest first.</summary>
    public StoredChange[] Read(long afterRevision, int maxCountToRead)
    {
        var skip = (int)Math.Max(0, afterRevision + 1 - First);
        var result = new StoredChange[Math.Max(0, Math.Min(maxCountToRead, Count - skip))];
        for (var i = 0; i < result.Length; i++)
            result[i] = _ring[(_head + skip + i) & (_ring.Length - 1)];
        return result;
    }

    public void Clear()
    {
        _ring = [];
        _head = 0;
        Count = 0;
        _bytes = 0;
    }

    private void DropOldest()
    {
        _bytes -= _ring[_head].Value.Length;
        _ring[_head] = null!;
        _head = (_head + 1) & (_ring.Length - 1);
        Count--;
    }

    private void Grow()
    {
        var bigger = new StoredChange[Math.Max(16, _ring.Length * 2)];
        for (var i = 0; i < Count; i++)
            bigger[i] = _ring[(_head + i) & (_ring.Length - 1)];
        _ring = bigger;
        _head = 0;
    }
}
