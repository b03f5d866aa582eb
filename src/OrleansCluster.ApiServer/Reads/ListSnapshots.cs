using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Keeps the snapshots that paged lists go on from, so that every page of a list shows one moment. Bounded in number and age. What is not kept here, because
/// another API server began the list, is made anew from the cache's history; a list older than that is told to start anew (410), as with a compacted kube-apiserver. Snapshots share their objects with the cache, so one costs what has
/// changed since. Thread-safe.
/// </summary>
internal sealed class ListSnapshots(TimeProvider time)
{
    /// <summary>Most snapshots held; the least recently used go first.</summary>
    public const int Capacity = 64;

    /// <summary>How long an unused snapshot is kept: the compaction interval of kube-apiserver.</summary>
    public static readonly TimeSpan MaxAge = TimeSpan.FromMinutes(5);

    private readonly Lock _lock = new();
    private readonly Dictionary<(string Resource, long Revision), Held> _held = [];

    /// <summary>Remembers a snapshot of which a further page may be asked for.</summary>
    public void Keep(string resource, ICacheSnapshot snapshot)
    {
        var now = time.GetUtcNow();
        lock (_lock)
        {
            _held[(resource, snapshot.Revision)] = new Held(snapshot, now);
            if (_held.Count <= Capacity)
                return;
            foreach (var (key, held) in _held.ToArray())
            {
                if (now - held.UsedAt > MaxAge)
                    _held.Remove(key);
            }
            while (_held.Count > Capacity)
                _held.Remove(_held.MinBy(pair => pair.Value.UsedAt).Key);
        }
    }

    /// <summary>The snapshot of a revision, or null if it is no longer held.</summary>
    public ICacheSnapshot? Find(string resource, long revision)
    {
        var now = time.GetUtcNow();
        lock (_lock)
        {
            if (!_held.TryGetValue((resource, revision), out var held))
                return null;
            if (now - held.UsedAt > MaxAge)
            {
                _held.Remove((resource, revision));
                return null;
            }
            _held[(resource, revision)] = held with { UsedAt = now };
            return held.Snapshot;
        }
    }

    private sealed record Held(ICacheSnapshot Snapshot, DateTimeOffset UsedAt);
}

/// <summary>Finds the state a read is to be answered from: the resourceVersion rules of the wire contract, section 7.</summary>
internal sealed class ReadStates(ListSnapshots snapshots)
{
    /// <summary>How long a read waits for a revision this process has not seen yet.</summary>
    public static readonly TimeSpan FutureRevisionWait = TimeSpan.FromSeconds(3);

    /// <summary>The state for a GET: newest, any, or not older than N.</summary>
    public static ValueTask<ICacheSnapshot> ForGetAsync(IResourceCache cache, long? revision, CancellationToken cancellationToken) => revision switch
    {
        null => cache.GetLatestAsync(cancellationToken),
        0 => cache.GetSnapshotAsync(cancellationToken),
        { } n => NotOlderThanAsync(cache, n, cancellationToken),
    };

    /// <summary>The state for a LIST.</summary>
    /// <param name="cache">The resource's cache.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="token">The decoded continue token, if one was sent.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="StatusException">410 or 504: the revision asked for is gone or not there yet.</exception>
    public async ValueTask<ICacheSnapshot> ForListAsync(
        IResourceCache cache, ListOptions options, ContinueToken? token, CancellationToken cancellationToken)
    {
        var resource = cache.Definition.Resource;
        if (token is { } continued)
        {
            if (continued.Revision < 0)
                return await cache.GetLatestAsync(cancellationToken);
            if (snapshots.Find(resource, continued.Revision) is { } held)
                return held;
            // Another API server may have begun the list, and may be ahead of this one.
            await NotOlderThanAsync(cache, continued.Revision, cancellationToken);
            return cache.FindEarlier(continued.Revision) ?? throw ExpiredPage(continued);
        }
        if (options.ResourceVersion is not { } revision)
            return await cache.GetLatestAsync(cancellationToken);
        if (revision == 0)
            return await cache.GetSnapshotAsync(cancellationToken);
        var exact = options.ResourceVersionMatch == "Exact" || (options.ResourceVersionMatch.Length == 0 && options.Limit > 0);
        if (!exact)
            return await NotOlderThanAsync(cache, revision, cancellationToken);
        if (snapshots.Find(resource, revision) is { } kept)
            return kept;
        await NotOlderThanAsync(cache, revision, cancellationToken);
        return cache.FindEarlier(revision)
            ?? throw new StatusException(StatusError.Expired("The resourceVersion for the provided list is too old."));
    }

    /// <summary>A state not older than a revision.</summary>
    /// <exception cref="StatusException">504: the revision did not come about in time.</exception>
    public static async ValueTask<ICacheSnapshot> NotOlderThanAsync(IResourceCache cache, long revision, CancellationToken cancellationToken)
    {
        try
        {
            return await cache.WaitForAsync(revision, FutureRevisionWait, cancellationToken);
        }
        catch (TimeoutException)
        {
            var current = await cache.GetSnapshotAsync(cancellationToken);
            throw new StatusException(StatusError.Timeout($"Timeout: Too large resource version: {revision}, current: {current.Revision}") with
            {
                Causes = [new StatusCause("ResourceVersionTooLarge", "Too large resource version", null)],
            });
        }
    }

    private static ExpiredPageException ExpiredPage(ContinueToken token) => new(
        StatusError.Expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, "
            + "or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an "
            + "inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."),
        (token with { Revision = -1 }).Encode());
}

/// <summary>410 for a page whose snapshot is gone, with the token of an inconsistent continuation.</summary>
internal sealed class ExpiredPageException(StatusError status, string continueToken) : Exception(status.Message)
{
    public StatusError Status { get; } = status;

    public string ContinueToken { get; } = continueToken;
}
