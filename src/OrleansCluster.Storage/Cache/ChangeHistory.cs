namespace OrleansCluster.Storage;

/// <summary>
/// The newest changes of a cache, for its watchers. Watchers keep only a revision and read from here, so a slow one costs nothing; when its place is
/// gone it is told so. Sized by rule: the newest <see cref="ResourceCacheOptions.HistoryCount"/> stay, older ones while they are younger than
/// <see cref="ResourceCacheOptions.HistoryAge"/>, and neither past <see cref="ResourceCacheOptions.HistoryBytes"/>. Callers hold the cache's lock.
/// </summary>
internal sealed class ChangeHistory(ResourceCacheOptions options)
{
    private Entry[] _ring = [];
    private int _head;
    private long _bytes;

    /// <summary>Every change after this revision is here.</summary>
    public long Start { get; private set; }

    public int Count { get; private set; }

    /// <summary>Forgets everything; what follows continues after a revision.</summary>
    public void Restart(long revision)
    {
        _ring = [];
        _head = 0;
        _bytes = 0;
        Count = 0;
        Start = revision;
    }

    public void Append(CacheChange change, DateTimeOffset now)
    {
        if (Count == _ring.Length)
            Grow();
        At(Count++) = new Entry(change, now);
        _bytes += Size(change);
        while (Count > 1 && (_bytes > options.HistoryBytes || (Count > options.HistoryCount && now - At(0).At >= options.HistoryAge)))
            DropOldest();
    }

    /// <summary>Changes after a revision in order; the caller has checked it against <see cref="Start"/>.</summary>
    public CacheChange[] Read(long afterRevision, int maxCount)
    {
        // Revisions rise but may have gaps, so the place is searched for.
        var low = 0;
        var high = Count;
        while (low < high)
        {
            var middle = (low + high) >> 1;
            if (At(middle).Change.Revision <= afterRevision)
                low = middle + 1;
            else
                high = middle;
        }
        var result = new CacheChange[Math.Min(maxCount, Count - low)];
        for (var i = 0; i < result.Length; i++)
            result[i] = At(low + i).Change;
        return result;
    }

    private ref Entry At(int index) => ref _ring[(_head + index) & (_ring.Length - 1)];

    private void DropOldest()
    {
        ref var oldest = ref At(0);
        _bytes -= Size(oldest.Change);
        Start = oldest.Change.Revision;
        oldest = default;
        _head = (_head + 1) & (_ring.Length - 1);
        Count--;
    }

    private void Grow()
    {
        var bigger = new Entry[Math.Max(16, _ring.Length * 2)];
        for (var i = 0; i < Count; i++)
            bigger[i] = At(i);
        _ring = bigger;
        _head = 0;
    }

    /// <summary>What a change keeps alive at most: the object, and the version before it.</summary>
    private static long Size(CacheChange change) => change.Object.Bytes.Length + (change.Previous?.Bytes.Length ?? 0) + 256;

    private readonly record struct Entry(CacheChange Change, DateTimeOffset At);
}
