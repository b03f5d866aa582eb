using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>Makes cached objects of changes that were read from the log rather than from a cache.</summary>
public static class CachedObjects
{
    /// <summary>The object of one log entry.</summary>
    public static ICachedObject Create(ResourceDefinition definition, StoredChange change) =>
        new CachedObjectReader(definition).Read(change.Key, change.Revision, change.Value, previous: null);
}
