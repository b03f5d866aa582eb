using Orleans.Concurrency;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>Serves reads of Orleans clients from this silo's cache: consistent, without a grain hop of its own and without parsing.</summary>
[StatelessWorker, Reentrant]
public sealed class ResourceReaderGrain(IResourceCaches caches) : Grain, IResourceReaderGrain
{
    /// <summary>Most changes of one page: bounds a message to some megabytes.</summary>
    private const int MaxChanges = 500;

    private IResourceCache Cache => caches.Get(this.GetPrimaryKeyString());

    /// <inheritdoc/>
    public async Task<byte[]?> GetAsync(string @namespace, string name, CancellationToken cancellationToken)
    {
        var snapshot = await Cache.GetLatestAsync(cancellationToken);
        return snapshot.Find(@namespace, name)?.Bytes.ToArray();
    }

    /// <inheritdoc/>
    public async Task<ObjectPage> ListAsync(ListQuery query, CancellationToken cancellationToken)
    {
        var matcher = ObjectMatcher.Parse(query.Namespace, query.LabelSelector, query.FieldSelector, Cache.Definition);
        var snapshot = await Cache.GetLatestAsync(cancellationToken);
        var objects = new List<byte[]>();
        string? last = null;
        string? next = null;
        foreach (var obj in snapshot.Enumerate(query.Namespace.Length == 0 ? null : query.Namespace, query.After))
        {
            if (!matcher.Matches(obj))
                continue;
            if (query.Limit > 0 && objects.Count == query.Limit)
            {
                next = last;
                break;
            }
            objects.Add(obj.Bytes.ToArray());
            last = obj.Key.StorageKey;
        }
        return new ObjectPage { Revision = snapshot.Revision, Objects = [.. objects], Next = next };
    }

    /// <inheritdoc/>
    public async Task<ChangePage> ReadChangesAsync(ListQuery query, long afterRevision, TimeSpan wait, CancellationToken cancellationToken)
    {
        var matcher = ObjectMatcher.Parse(query.Namespace, query.LabelSelector, query.FieldSelector, Cache.Definition);
        var changes = new List<ObjectChange>();
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(wait);
        try
        {
            using var watcher = Cache.Watch(afterRevision);
            try
            {
                while (changes.Count == 0)
                {
                    foreach (var change in await watcher.ReadAsync(timeout.Token))
                    {
                        if (matcher.Transition(change) is { } type)
                            changes.Add(new ObjectChange { Type = WireName(type), Object = change.Object.Bytes.ToArray() });
                        if (changes.Count >= MaxChanges)
                            return new ChangePage { Revision = change.Revision, Changes = [.. changes] };
                    }
                }
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                // Nothing happened in time: an empty page, from which the caller continues.
            }
            return new ChangePage { Revision = watcher.Revision, Changes = [.. changes] };
        }
        catch (CompactedException)
        {
            return new ChangePage { Revision = afterRevision, Changes = [], Expired = true };
        }
    }

    private static string WireName(ChangeType type) => type switch
    {
        ChangeType.Added => "ADDED",
        ChangeType.Modified => "MODIFIED",
        _ => "DELETED",
    };
}
