using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster;

/// <summary>
/// <see cref="IObjectClient"/> of a process that has caches: reads from them, after waiting for the revisions of this client's own last writes,
/// so that a controller never acts twice on a state it has already changed.
/// </summary>
public sealed class ObjectClient(ObjectWriter writer, IResourceCaches caches, ResourceRegistry registry) : IObjectClient
{
    /// <summary>How long a cache may take to show an acknowledged write; far above its usual lag of milliseconds.</summary>
    private static readonly TimeSpan FreshnessTimeout = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<string, long> _written = new(StringComparer.Ordinal);

    /// <summary>Makes reads wait until the cache of a resource has reached a revision, as after an own write.</summary>
    public void Observe(string resource, long revision) =>
        _written.AddOrUpdate(resource, revision, (_, known) => Math.Max(known, revision));

    /// <inheritdoc/>
    public async ValueTask<ICachedObject?> GetAsync(ObjectKey key, CancellationToken cancellationToken) =>
        (await ListAsync(key.Resource, cancellationToken)).Find(key.Namespace, key.Name);

    /// <inheritdoc/>
    public ValueTask<ICacheSnapshot> ListAsync(string resource, CancellationToken cancellationToken)
    {
        var cache = caches.Get(resource);
        return _written.TryGetValue(resource, out var revision)
            ? cache.WaitForAsync(revision, FreshnessTimeout, cancellationToken)
            : cache.GetSnapshotAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<JsonObject> CreateAsync(string resource, JsonObject obj, CancellationToken cancellationToken) =>
        Written(resource, await writer.CreateAsync(registry.Get(resource), obj, cancellationToken));

    /// <inheritdoc/>
    public async Task<JsonObject> UpdateAsync(ObjectKey key, JsonObject obj, CancellationToken cancellationToken, string subresource = "") =>
        Written(key.Resource, await writer.UpdateAsync(key, obj, subresource, cancellationToken));

    /// <inheritdoc/>
    public async Task<JsonObject> PatchAsync(ObjectKey key, JsonObject mergePatch, CancellationToken cancellationToken, string subresource = "") =>
        Written(key.Resource, await writer.PatchAsync(key, mergePatch, subresource, cancellationToken));

    /// <inheritdoc/>
    public async Task<bool> DeleteAsync(ObjectKey key, DeleteOptions options, CancellationToken cancellationToken)
    {
        var reply = await writer.DeleteAsync(key, options, cancellationToken);
        if (reply is null)
            return false;
        Observe(key.Resource, reply.Revision);
        return true;
    }

    private JsonObject Written(string resource, ObjectReply reply)
    {
        Observe(resource, reply.Revision);
        return CanonicalJson.Parse(reply.Object);
    }
}
