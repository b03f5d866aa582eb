namespace OrleansCluster.Storage;

/// <summary><see cref="ICacheSnapshot"/>: a revision and the root of a persistent tree.</summary>
internal sealed class CacheSnapshot(long revision, ObjectTree tree) : ICacheSnapshot
{
    public long Revision { get; } = revision;

    public ObjectTree Tree { get; } = tree;

    public int Count => Tree.Count;

    public ICachedObject? Find(string @namespace, string name) => Tree.Find(new SortKey(@namespace, name));

    public IEnumerable<ICachedObject> Enumerate(string? @namespace = null, string? afterStorageKey = null)
    {
        var from = new SortKey(@namespace ?? "", "");
        var inclusive = true;
        if (afterStorageKey is not null)
        {
            var slash = afterStorageKey.IndexOf('/', StringComparison.Ordinal);
            var after = slash < 0 ? new SortKey("", afterStorageKey) : new SortKey(afterStorageKey[..slash], afterStorageKey[(slash + 1)..]);
            if (after.CompareTo(from) >= 0)
            {
                from = after;
                inclusive = false;
            }
        }
        return @namespace is null ? Tree.From(from, inclusive) : InNamespace(@namespace, from, inclusive);
    }

    private IEnumerable<ICachedObject> InNamespace(string @namespace, SortKey from, bool inclusive)
    {
        foreach (var obj in Tree.From(from, inclusive))
        {
            // The order is by namespace first, so the first other one ends it.
            if (!string.Equals(obj.Key.Namespace, @namespace, StringComparison.Ordinal))
                yield break;
            yield return obj;
        }
    }
}
