using System.Runtime.CompilerServices;
using System.Threading.Channels;
using OrleansCluster.Proxy;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>Feeds the service proxy from this process's caches of services and endpoint slices.</summary>
internal sealed class CacheServiceFeed(IResourceCaches caches) : IServiceFeed
{
    private const string Services = "services";
    private const string Slices = "endpointslices.discovery.k8s.io";

    public async IAsyncEnumerable<ServiceFeedBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var services = caches.Get(Services);
        var slices = caches.Get(Slices);
        var serviceState = await services.GetSnapshotAsync(cancellationToken);
        var sliceState = await slices.GetSnapshotAsync(cancellationToken);
        using var serviceWatcher = services.Watch(serviceState.Revision);
        using var sliceWatcher = slices.Watch(sliceState.Revision);
        yield return new ServiceFeedBatch(
            IsComplete: true,
            [.. serviceState.Enumerate().Select(s => Item(ServiceFeedResource.Service, s, deleted: false)),
             .. sliceState.Enumerate().Select(s => Item(ServiceFeedResource.EndpointSlice, s, deleted: false))]);

        // One batch at most waits for the proxy; the watchers pull, so nothing else piles up.
        var batches = Channel.CreateBounded<ServiceFeedBatch>(1);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] readers =
        [
            PumpAsync(serviceWatcher, ServiceFeedResource.Service, batches.Writer, stop.Token),
            PumpAsync(sliceWatcher, ServiceFeedResource.EndpointSlice, batches.Writer, stop.Token),
        ];
        try
        {
            await foreach (var batch in batches.Reader.ReadAllAsync(cancellationToken))
                yield return batch;
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAll(readers);
        }
    }

    private static async Task PumpAsync(ICacheWatcher watcher, ServiceFeedResource resource, ChannelWriter<ServiceFeedBatch> batches, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                var changes = await watcher.ReadAsync(cancellationToken);
                await batches.WriteAsync(
                    new ServiceFeedBatch(IsComplete: false, [.. changes.Select(c => Item(resource, c.Object, c.Type == ChangeType.Deleted))]), cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The proxy reads no more.
        }
        catch (Exception error)
        {
            batches.TryComplete(error); // Fallen behind: the proxy reads anew, beginning with all there is.
        }
    }

    private static ServiceFeedItem Item(ServiceFeedResource resource, ICachedObject obj, bool deleted) =>
        new(resource, obj.Key.Namespace, obj.Key.Name, deleted ? default : obj.Bytes);
}
