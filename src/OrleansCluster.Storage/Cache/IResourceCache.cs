using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>
/// An object as one process serves it: bytes with the resourceVersion spliced in, shared by every GET, LIST and watcher, and what selectors
/// and indexes need. Immutable.
/// </summary>
public interface ICachedObject
{
    /// <summary>The object's key.</summary>
    ObjectKey Key { get; }

    /// <summary>Its revision.</summary>
    long Revision { get; }

    /// <summary>UTF-8 JSON with `kind`, `apiVersion` and `metadata.resourceVersion`. Not to be changed.</summary>
    ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>The list item: the same without `kind` and `apiVersion`; to be preceded by `{`.</summary>
    ReadOnlyMemory<byte> ItemBytes { get; }

    /// <summary>Labels, parsed once.</summary>
    IReadOnlyList<KeyValuePair<string, string>> Labels { get; }

    /// <summary>`metadata.uid`.</summary>
    string Uid { get; }

    /// <summary>Uid of the owner reference with `controller: true`, or null.</summary>
    string? ControllerUid { get; }

    /// <summary>True once `metadata.deletionTimestamp` is set.</summary>
    bool IsDeleting { get; }

    /// <summary>Value of a selectable field of the kind (`metadata.name`, `spec.nodeName`, ...), the empty string if absent, null if unknown.</summary>
    string? Field(string label);
}

/// <summary>What a change did.</summary>
public enum ChangeType
{
    /// <summary>The object is new.</summary>
    Added,

    /// <summary>The object changed.</summary>
    Modified,

    /// <summary>The object is gone; its revision is that of the removal.</summary>
    Deleted,
}

/// <summary>A change as a cache hands it on.</summary>
/// <param name="Type">What it did.</param>
/// <param name="Object">The object after the change, or its last state.</param>
/// <param name="Previous">The object before the change, or null. Selectors need it to tell entering from leaving.</param>
public sealed record CacheChange(ChangeType Type, ICachedObject Object, ICachedObject? Previous)
{
    /// <summary>The change's revision.</summary>
    public long Revision => Object.Revision;
}

/// <summary>All objects of a resource at one revision; immutable, cheap to hold, sorted by namespace and name bytewise.</summary>
public interface ICacheSnapshot
{
    /// <summary>Revision of the snapshot.</summary>
    long Revision { get; }

    /// <summary>Number of objects.</summary>
    int Count { get; }

    /// <summary>One object, or null.</summary>
    ICachedObject? Find(string @namespace, string name);

    /// <summary>
    /// Objects in order: all of them, or one namespace's, from the first key strictly after <paramref name="afterStorageKey"/> if given.
    /// </summary>
    /// <param name="namespace">A namespace, or null for all.</param>
    /// <param name="afterStorageKey">`namespace/name` of the last object seen, or null.</param>
    IEnumerable<ICachedObject> Enumerate(string? @namespace = null, string? afterStorageKey = null);
}

/// <summary>
/// One resource as this process sees it: follows the store's change log, serves consistent reads from memory and fans changes out.
/// </summary>
public interface IResourceCache
{
    /// <summary>The resource.</summary>
    ResourceDefinition Definition { get; }

    /// <summary>The newest state this process has applied, or null while the cache is still filling. For callers that cannot wait.</summary>
    ICacheSnapshot? Current { get; }

    /// <summary>The newest state this process has applied. Waits only while the cache is still filling.</summary>
    ValueTask<ICacheSnapshot> GetSnapshotAsync(CancellationToken cancellationToken);

    /// <summary>
    /// A state not older than the store's newest commit at the time of the call: a linearizable read. The question to the store is shared by all
    /// callers then waiting.
    /// </summary>
    ValueTask<ICacheSnapshot> GetLatestAsync(CancellationToken cancellationToken);

    /// <summary>A state at least as new as a revision.</summary>
    /// <exception cref="TimeoutException">The cache did not get there within <paramref name="timeout"/> (a revision from the future).</exception>
    ValueTask<ICacheSnapshot> WaitForAsync(long revision, TimeSpan timeout, CancellationToken cancellationToken);

    /// <summary>
    /// The state at a revision that has been reached, made from the newest one by taking the changes since back, newest first; null if the history no
    /// longer reaches back to it. Every process that follows the resource can so go on with a list that another one began. Costs what has changed since.
    /// </summary>
    ICacheSnapshot? FindEarlier(long revision);

    /// <summary>
    /// Starts reading changes after a revision. The watcher pulls: a slow one falls behind the bounded history and is told so, it never holds
    /// memory of its own.
    /// </summary>
    /// <exception cref="CompactedException">The history no longer reaches back to that revision.</exception>
    ICacheWatcher Watch(long afterRevision);

    /// <summary>
    /// Calls <paramref name="sink"/> with every batch of changes in order, on the cache's own loop: it must be quick, must not block and must not
    /// throw. The batch is empty and <paramref name="sink"/>'s second argument true when the cache was filled anew and readers must look at the
    /// whole snapshot. The first call is such a one.
    /// </summary>
    IDisposable Subscribe(Action<IReadOnlyList<CacheChange>, bool> sink);
}

/// <summary>A reader of one cache's changes.</summary>
public interface ICacheWatcher : IDisposable
{
    /// <summary>Revision up to which everything has been handed out: a bookmark may say it.</summary>
    long Revision { get; }

    /// <summary>The next changes in order; waits for the first.</summary>
    /// <exception cref="CompactedException">The watcher was too slow and its place in the history is gone.</exception>
    ValueTask<IReadOnlyList<CacheChange>> ReadAsync(CancellationToken cancellationToken);
}

/// <summary>The caches of this process; a cache starts to follow its resource when first asked for.</summary>
public interface IResourceCaches
{
    /// <summary>The cache of a resource.</summary>
    /// <exception cref="KeyNotFoundException">The resource is not registered.</exception>
    IResourceCache Get(string resource);
}
