using StackExchange.Redis;

namespace OrleansCluster.Storage;

// Reads of more than one object: the log, and all objects at one revision.
public sealed partial class RedisObjectStore
{
    /// <summary>Most changes fetched by one script call.</summary>
    private const int MaxPage = 256;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<StoredChange>> ReadChangesAsync(
        string resource, long afterRevision, int maxCount, TimeSpan wait, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxCount);
        ArgumentOutOfRangeException.ThrowIfNegative(afterRevision);
        var target = Resource(resource);
        var start = _time.GetTimestamp();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var tail = await _tails.GetAsync(target, cancellationToken);
            // Before the look, so that a change between look and wait still wakes us.
            var changed = tail.Signal(target.Log).NextAsync();
            ThrowIfDisposed();
            var (changes, revision) = await ReadPagesAsync(target, afterRevision, maxCount, cancellationToken);
            if (changes.Count > 0)
            {
                _metrics.TailRead(resource, revision - changes[^1].Revision);
                return changes;
            }
            var left = wait - _time.GetElapsedTime(start);
            if (left <= TimeSpan.Zero)
                return [];
            _tails.Follow(tail, target.Log, revision);
            await AsyncSignal.WaitAsync(changed, left < MaxWait ? left : MaxWait, _time, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public async ValueTask<StoreSnapshot> GetSnapshotAsync(string resource, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        for (var attempt = 0; attempt < MaxSnapshotAttempts; attempt++)
        {
            try
            {
                return await ReadSnapshotAsync(target, cancellationToken);
            }
            catch (CompactedException)
            {
                // Compaction or a new epoch came between its beginning and its end.
            }
        }
        throw new StoreUnavailableException($"{resource} is compacted faster than it can be read.");
    }

    /// <summary>
    /// All objects in pages while writes go on, then the log from before the first page to after the last: what the scan saw of a key is older than its
    /// last change in that piece of the log, or the key did not change in it.
    /// </summary>
    private async ValueTask<StoreSnapshot> ReadSnapshotAsync(RedisResource target, CancellationToken cancellationToken)
    {
        const int smallPage = 64, largePage = 1024, pageBytes = 1 << 20;
        var objects = new Dictionary<string, StoredObject>(StringComparer.Ordinal);
        RedisValue cursor = "0";
        var count = smallPage;
        long first = -1, last;
        var session = target.Session;
        do
        {
            var result = await ReadAsync(target, RedisScript.Page, target.Reading, [cursor, count], cancellationToken);
            session = first < 0 ? target.Session : session;
            last = (long)result[1];
            if (first < 0)
                first = last;
            cursor = (RedisValue)result[2];
            var found = result[3];
            var values = result[4];
            long bytes = 0;
            for (var i = 0; i < values.Length; i++)
            {
                var key = (string)found[2 * i]!;
                var revision = (long)found[(2 * i) + 1];
                var value = Value(target, revision, values[i]);
                bytes += value.Length;
                // A scan may show a key twice, and the later one is not older.
                objects[key] = new StoredObject(key, revision, value);
            }
            // By size, so that neither the server nor the connection is held up by one page.
            count = bytes < pageBytes / 2 ? Math.Min(count * 2, largePage) : bytes > pageBytes ? Math.Max(count / 2, 1) : count;
        }
        while (cursor != "0");
        for (var after = first; after < last;)
        {
            var (changes, _) = await ReadPagesAsync(target, after, (int)Math.Min(last - after, 4096), cancellationToken);
            if (changes.Count == 0)
                throw new CompactedException(last);
            foreach (var change in changes)
            {
                if (change.Kind == CommitKind.Put)
                    objects[change.Key] = new StoredObject(change.Key, change.Revision, change.Value);
                else
                    objects.Remove(change.Key);
            }
            after = changes[^1].Revision;
        }
        // Pages of two epochs are of two histories.
        if (target.Session?.Epoch != session?.Epoch)
            throw new CompactedException(last);
        return new StoreSnapshot(last, [.. objects.Values]);
    }

    private async ValueTask<(List<StoredChange> Changes, long Revision)> ReadPagesAsync(
        RedisResource target, long after, int maxCount, CancellationToken cancellationToken)
    {
        var changes = new List<StoredChange>();
        while (true)
        {
            var result = await ReadAsync(target, RedisScript.Changes, target.Reading, [after, Math.Min(maxCount - changes.Count, MaxPage)], cancellationToken);
            var (revision, compacted) = ((long)result[1], (long)result[2]);
            if (after < compacted)
                return changes.Count > 0 ? (changes, revision) : throw new CompactedException(compacted);
            if (after >= revision)
                return (changes, revision);
            // A log that does not go on with the next revision is not the one the caller has read so far.
            if (result.Length < 6 || (long)result[3] != after + 1)
                return changes.Count > 0 ? (changes, revision) : throw new CompactedException(revision);
            var found = result[4];
            var values = result[5];
            for (var i = 0; i < values.Length; i++)
            {
                after++;
                var kind = ((string)found[(2 * i) + 1]!)[0] == 'p' ? CommitKind.Put : CommitKind.Delete;
                changes.Add(new StoredChange(after, (string)found[2 * i]!, kind, Value(target, after, values[i])));
            }
            if (changes.Count >= maxCount || after >= revision)
                return (changes, revision);
        }
    }
}
