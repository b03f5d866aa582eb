using System.Runtime.CompilerServices;
using OrleansCluster.Proxy;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>Feeds the service proxy from this process's caches of services and endpoint slices.</summary>
internal sealed class CacheServiceFeed(IResourceCaches caches) : IServiceFeed
{
    public async IAsyncEnumerable<ServiceFeedBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var services = caches.Get(ServiceFeedBatches.Services);
        var slices = caches.Get(ServiceFeedBatches.Slices);
        var serviceState = await services.GetSnapshotAsync(cancellationToken);
        var sliceState = await slices.GetSnapshotAsync(cancellationToken);
        using var serviceWatcher = services.Watch(serviceState.Revision);
        using var sliceWatcher = slices.Watch(sliceState.Revision);
        await foreach (var batch in ServiceFeedBatches.ReadAsync(
            [.. serviceState.Enumerate().Select(s => Item(ServiceFeedResource.Service, s, deleted: false)),
             .. sliceState.Enumerate().Select(s => Item(ServiceFeedResource.EndpointSlice, s, deleted: false))],
            [token => ReadAsync(serviceWatcher, ServiceFeedResource.Service, token), token => ReadAsync(sliceWatcher, ServiceFeedResource.EndpointSlice, token)],
            cancellationToken))
        {
            yield return batch;
        }
    }

    private static async Task<IReadOnlyList<ServiceFeedItem>> ReadAsync(ICacheWatcher watcher, ServiceFeedResource resource, CancellationToken cancellationToken) =>
        [.. (await watcher.ReadAsync(cancellationToken)).Select(c => Item(resource, c.Object, c.Type == ChangeType.Deleted))];

    private static ServiceFeedItem Item(ServiceFeedResource resource, ICachedObject obj, bool deleted) =>
        new(resource, obj.Key.Namespace, obj.Key.Name, deleted ? default : obj.Bytes);
}
