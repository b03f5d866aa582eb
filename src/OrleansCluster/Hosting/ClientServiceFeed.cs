using System.Runtime.CompilerServices;
using System.Text.Json;
using k8s;
using OrleansCluster.Client;
using OrleansCluster.Proxy;

namespace OrleansCluster.Hosting;

/// <summary>
/// Feeds a service proxy in a process of its own through the silos' reader grains. The followers bridge dying silos and lost history by themselves;
/// each keeps one copy of what it follows.
/// </summary>
internal sealed class ClientServiceFeed(IGrainFactory grains, TimeProvider time) : IServiceFeed
{
    public async IAsyncEnumerable<ServiceFeedBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var services = new ResourceFollower(grains.GetGrain<IResourceReaderGrain>(ServiceFeedBatches.Services), new ListQuery(), time);
        var slices = new ResourceFollower(grains.GetGrain<IResourceReaderGrain>(ServiceFeedBatches.Slices), new ListQuery(), time);
        // Both lists are whole before the first batch goes out: rules without endpoints would refuse connections that work now.
        var first = await Task.WhenAll(services.ListAsync(cancellationToken), slices.ListAsync(cancellationToken));
        var all = first[0].Select(e => Item(ServiceFeedResource.Service, e)).Concat(first[1].Select(e => Item(ServiceFeedResource.EndpointSlice, e)));
        await foreach (var batch in ServiceFeedBatches.ReadAsync(
            [.. all],
            [
                async token => [.. (await services.ReadAsync(token)).Select(c => Item(ServiceFeedResource.Service, c))],
                async token => [.. (await slices.ReadAsync(token)).Select(c => Item(ServiceFeedResource.EndpointSlice, c))],
            ],
            cancellationToken))
        {
            yield return batch;
        }
    }

    private static ServiceFeedItem Item(ServiceFeedResource resource, (WatchEventType Type, byte[] Object) change)
    {
        using var document = JsonDocument.Parse(change.Object);
        var metadata = document.RootElement.GetProperty("metadata");
        return new ServiceFeedItem(
            resource,
            metadata.TryGetProperty("namespace", out var @namespace) ? @namespace.GetString() ?? "" : "",
            metadata.GetProperty("name").GetString() ?? "",
            change.Type == WatchEventType.Deleted ? default : change.Object);
    }
}
