using System.Runtime.InteropServices;

namespace OrleansCluster.Storage;

/// <summary>
/// What memory holds of one resource. The published part is guarded by <see cref="Gate"/> and shows only what is durable. The staged part belongs
/// to the writer alone: it is what the open transaction would change, becomes published after the COMMIT, and is thrown away if that fails, so
/// memory never has to be undone. No other lock is ever taken inside <see cref="Gate"/>.
/// </summary>
internal sealed class ResourceState(string name, int id, int windowCount, long windowBytes, long firstLeaseId)
{
    public string Name { get; } = name;

    /// <summary>Number of the resource in the file.</summary>
    public int Id { get; } = id;

    public Lock Gate { get; } = new();

    /// <summary>Pulsed after changes were published.</summary>
    public AsyncSignal Changed { get; } = new();

    // Published: guarded by Gate.
    public long Revision { get; private set; }
    public long Compacted { get; private set; }
    public Dictionary<string, long> Objects { get; private set; } = new(StringComparer.Ordinal);
    public Dictionary<string, string> ClaimOwners { get; private set; } = new(StringComparer.Ordinal);
    public Dictionary<string, string[]> ClaimsOf { get; private set; } = new(StringComparer.Ordinal);
    public Dictionary<string, long> Fences { get; private set; } = new(StringComparer.Ordinal);
    public Dictionary<string, LeaseQueue> Queues { get; } = new(StringComparer.Ordinal);
    public Dictionary<string, long> Acknowledged { get; private set; } = new(StringComparer.Ordinal);
    public ChangeWindow Window { get; } = new(windowCount, windowBytes);

    /// <summary>Bytes ever appended by this process: the byte rule of compaction reads differences of it.</summary>
    public long BytesWritten { get; private set; }

    // Staged: the writer's own.
    private readonly List<StoredChange> _stagedChanges = [];
    private readonly Dictionary<string, long> _stagedObjects = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string?> _stagedClaimOwners = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string[]> _stagedClaimsOf = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _stagedFences = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Queue, string Key), QueueRow?> _stagedQueue = [];
    private long? _stagedCompacted;

    /// <summary>Writer: true once the file has the resource's row.</summary>
    public bool IsInFile { get; set; }

    /// <summary>Writer: true while the resource takes part in the open transaction.</summary>
    public bool IsStaged { get; set; }

    // The writer is the only one who changes the published part, so it reads it without the lock.

    /// <summary>Writer: the revision the next commit gets.</summary>
    public long NextRevision => Revision + _stagedChanges.Count + 1;

    /// <summary>Writer: an object's revision as the next commit sees it; 0 if absent.</summary>
    public long CurrentRevision(string key) =>
        _stagedObjects.TryGetValue(key, out var staged) ? staged : Objects.GetValueOrDefault(key);

    public string? CurrentClaimOwner(string claim) =>
        _stagedClaimOwners.TryGetValue(claim, out var staged) ? staged : ClaimOwners.GetValueOrDefault(claim);

    public string[] CurrentClaims(string key) =>
        _stagedClaimsOf.TryGetValue(key, out var staged) ? staged : ClaimsOf.GetValueOrDefault(key, []);

    public long CurrentFence(string fence) =>
        _stagedFences.TryGetValue(fence, out var staged) ? staged : Fences.GetValueOrDefault(fence);

    public QueueRow? CurrentQueueRow(string queue, string key)
    {
        if (_stagedQueue.TryGetValue((queue, key), out var staged))
            return staged;
        // Workers that ask for an unknown queue add it, so unlike the rest this is not the writer's alone.
        lock (Gate)
            return Queues.GetValueOrDefault(queue)?.Find(key);
    }

    public void StageChange(StoredChange change)
    {
        _stagedChanges.Add(change);
        _stagedObjects[change.Key] = change.Kind == CommitKind.Put ? change.Revision : 0;
    }

    public void StageClaims(string key, string[] before, string[] after)
    {
        foreach (var claim in before)
            _stagedClaimOwners[claim] = null;
        foreach (var claim in after)
            _stagedClaimOwners[claim] = key;
        _stagedClaimsOf[key] = after;
    }

    public void StageFence(string fence, long value) => _stagedFences[fence] = value;

    public void StageQueueRow(string queue, string key, QueueRow? row) => _stagedQueue[(queue, key)] = row;

    public void StageCompacted(long through) => _stagedCompacted = through;

    /// <summary>Writer, after the COMMIT: shows everything staged at once and wakes who waits for it.</summary>
    public void Publish()
    {
        var queues = new HashSet<LeaseQueue>();
        lock (Gate)
        {
            foreach (var change in _stagedChanges)
            {
                Window.Append(change);
                BytesWritten += change.Value.Length;
            }
            Revision += _stagedChanges.Count;
            foreach (var (key, revision) in _stagedObjects)
            {
                if (revision == 0)
                    Objects.Remove(key);
                else
                    Objects[key] = revision;
            }
            foreach (var (claim, owner) in _stagedClaimOwners)
            {
                if (owner is null)
                    ClaimOwners.Remove(claim);
                else
                    ClaimOwners[claim] = owner;
            }
            foreach (var (key, claims) in _stagedClaimsOf)
            {
                if (claims.Length == 0)
                    ClaimsOf.Remove(key);
                else
                    ClaimsOf[key] = claims;
            }
            foreach (var (fence, value) in _stagedFences)
                Fences[fence] = value;
            foreach (var ((queue, key), row) in _stagedQueue)
            {
                var target = QueueLocked(queue);
                // Removed and queued again within one transaction: it is a new item, without the old one's lease.
                if (target.Find(key) is { } present && present.Sequence != row?.Sequence)
                    target.Remove(key);
                if (row is null)
                    continue;
                target.Add(row);
                queues.Add(target);
            }
            Compacted = _stagedCompacted ?? Compacted;
            IsInFile = true;
        }
        if (_stagedChanges.Count > 0 || _stagedCompacted is not null)
            Changed.Pulse(); // Watch event, step 1 (docs/architecture.md): the commit is in the log, its readers wake.
        foreach (var queue in queues)
            queue.Changed.Pulse();
        Discard();
    }

    /// <summary>Writer: forgets everything staged.</summary>
    public void Discard()
    {
        IsStaged = false;
        _stagedChanges.Clear();
        _stagedObjects.Clear();
        _stagedClaimOwners.Clear();
        _stagedClaimsOf.Clear();
        _stagedFences.Clear();
        _stagedQueue.Clear();
        _stagedCompacted = null;
    }

    /// <summary>Writer: replaces the published part by what the file holds, and sends tails to the file for what they have not read.</summary>
    public void Reset(LoadedResource loaded)
    {
        lock (Gate)
        {
            IsInFile = true;
            Revision = loaded.Revision;
            Compacted = loaded.Compacted;
            Objects = loaded.Objects;
            Fences = loaded.Fences;
            foreach (var (group, revision) in Acknowledged)
                loaded.Acknowledged[group] = Math.Max(revision, loaded.Acknowledged.GetValueOrDefault(group));
            Acknowledged = loaded.Acknowledged;
            ClaimsOf = loaded.ClaimsOf;
            ClaimOwners = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var (key, claims) in ClaimsOf)
            {
                foreach (var claim in claims)
                    ClaimOwners[claim] = key;
            }
            foreach (var (queue, rows) in loaded.Queues)
                QueueLocked(queue).Reset(rows);
            foreach (var (queue, target) in Queues)
            {
                if (!loaded.Queues.ContainsKey(queue))
                    target.Reset([]);
            }
            Window.Clear();
        }
        WakeAll();
    }

    /// <summary>Wakes everybody who waits, so that they see that the store is closing.</summary>
    public void WakeAll()
    {
        LeaseQueue[] queues;
        lock (Gate)
            queues = [.. Queues.Values];
        Changed.Pulse();
        foreach (var queue in queues)
            queue.Changed.Pulse();
    }

    /// <summary>A queue, made if need be. The caller holds <see cref="Gate"/>.</summary>
    public LeaseQueue QueueLocked(string queue)
    {
        ref var slot = ref CollectionsMarshal.GetValueRefOrAddDefault(Queues, queue, out _);
        return slot ??= new LeaseQueue(firstLeaseId);
    }
}

/// <summary>One resource as read from the file.</summary>
internal sealed class LoadedResource(string name, int id)
{
    public string Name { get; } = name;
    public int Id { get; } = id;
    public long Revision { get; set; }
    public long Compacted { get; set; }
    public Dictionary<string, long> Objects { get; } = new(StringComparer.Ordinal);
    public Dictionary<string, string[]> ClaimsOf { get; } = new(StringComparer.Ordinal);
    public Dictionary<string, long> Fences { get; } = new(StringComparer.Ordinal);
    public Dictionary<string, long> Acknowledged { get; } = new(StringComparer.Ordinal);
    public Dictionary<string, List<QueueRow>> Queues { get; } = new(StringComparer.Ordinal);
}
