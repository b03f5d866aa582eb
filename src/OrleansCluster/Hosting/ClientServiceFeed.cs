using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Threading.Channels;
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
    private const string Services = "services";
    private const string Slices = "endpointslices.discovery.k8s.io";

    public async IAsyncEnumerable<ServiceFeedBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var services = new ResourceFollower(grains.GetGrain<IResourceReaderGrain>(Services), new ListQuery(), time);
        var slices = new ResourceFollower(grains.GetGrain<IResourceReaderGrain>(Slices), new ListQuery(), time);
        // Both lists are whole before the first batch goes out: rules without endpoints would refuse connections that work now.
        var first = await Task.WhenAll(services.ListAsync(cancellationToken), slices.ListAsync(cancellationToken));
        yield return new ServiceFeedBatch(
            IsComplete: true,
            [.. first[0].Select(e => Item(ServiceFeedResource.Service, e)), .. first[1].Select(e => Item(ServiceFeedResource.EndpointSlice, e))]);

        // One batch at most waits for the proxy; the followers pull, so nothing else piles up.
        var batches = Channel.CreateBounded<ServiceFeedBatch>(1);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] readers =
        [
            PumpAsync(services, ServiceFeedResource.Service, batches.Writer, stop.Token),
            PumpAsync(slices, ServiceFeedResource.EndpointSlice, batches.Writer, stop.Token),
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

    private static async Task PumpAsync(ResourceFollower follower, ServiceFeedResource resource, ChannelWriter<ServiceFeedBatch> batches, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                var changes = await follower.ReadAsync(cancellationToken);
                await batches.WriteAsync(new ServiceFeedBatch(IsComplete: false, [.. changes.Select(c => Item(resource, c))]), cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The proxy reads no more.
        }
        catch (Exception error)
        {
            batches.TryComplete(error); // The proxy reads anew, beginning with all there is.
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
