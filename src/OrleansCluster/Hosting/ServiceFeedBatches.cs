using System.Runtime.CompilerServices;
using System.Threading.Channels;
using OrleansCluster.Proxy;

namespace OrleansCluster.Hosting;

/// <summary>What all service feeds have in common: everything there is, then the changes of several sources in one stream.</summary>
internal static class ServiceFeedBatches
{
    /// <summary>Plural and group of the resources that rules are made of.</summary>
    public const string Services = "services";

    /// <inheritdoc cref="Services"/>
    public const string Slices = "endpointslices.discovery.k8s.io";

    /// <summary>The first batch, then each source's changes as they come. A source that fails ends the stream; the proxy then reads anew, beginning with all there is.</summary>
    /// <param name="all">Everything there is.</param>
    /// <param name="sources">Each waits for its next changes. They are called one after the other, each by itself.</param>
    /// <param name="cancellationToken">The proxy reads no more.</param>
    public static async IAsyncEnumerable<ServiceFeedBatch> ReadAsync(
        IReadOnlyList<ServiceFeedItem> all,
        IReadOnlyList<Func<CancellationToken, Task<IReadOnlyList<ServiceFeedItem>>>> sources,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        yield return new ServiceFeedBatch(IsComplete: true, all);

        // One batch at most waits for the proxy; the sources pull, so nothing else piles up.
        var batches = Channel.CreateBounded<ServiceFeedBatch>(1);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] readers = [.. sources.Select(source => PumpAsync(source, batches.Writer, stop.Token))];
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

    private static async Task PumpAsync(
        Func<CancellationToken, Task<IReadOnlyList<ServiceFeedItem>>> source, ChannelWriter<ServiceFeedBatch> batches, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
                await batches.WriteAsync(new ServiceFeedBatch(IsComplete: false, await source(cancellationToken)), cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The proxy reads no more.
        }
        catch (Exception error)
        {
            batches.TryComplete(error);
        }
    }
}
