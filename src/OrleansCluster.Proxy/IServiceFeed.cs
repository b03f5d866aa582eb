namespace OrleansCluster.Proxy;

/// <summary>Which resource an item of the feed is of.</summary>
public enum ServiceFeedResource
{
    /// <summary><c>v1</c> Service.</summary>
    Service,

    /// <summary><c>discovery.k8s.io/v1</c> EndpointSlice.</summary>
    EndpointSlice,
}

/// <summary>The latest state of one object.</summary>
/// <param name="Resource">Its resource.</param>
/// <param name="Namespace">Its namespace.</param>
/// <param name="Name">Its name.</param>
/// <param name="Object">Its UTF-8 JSON, which must not change afterwards; empty when the object was deleted.</param>
public readonly record struct ServiceFeedItem(ServiceFeedResource Resource, string Namespace, string Name, ReadOnlyMemory<byte> Object)
{
    /// <summary>True when the object does not exist any more.</summary>
    public bool IsDeleted => Object.IsEmpty;
}

/// <summary>Changes that arrived together.</summary>
/// <param name="IsComplete">True when the batch holds every Service and EndpointSlice there is, so that what it does not
/// name is gone; false when it holds changes only.</param>
/// <param name="Items">The objects; the last of several items for one object counts.</param>
public sealed record ServiceFeedBatch(bool IsComplete, IReadOnlyList<ServiceFeedItem> Items);

/// <summary>Where the proxy learns of Services and EndpointSlices. Adapts it to the cluster's watch.</summary>
public interface IServiceFeed
{
    /// <summary>
    /// A complete batch first, then changes as they come; another complete batch may follow at any time (after a list).
    /// Ending or throwing means that the source is lost: the proxy keeps its rules and reads again after a pause.
    /// Intermediate states may be left out, the last state of an object may not.
    /// </summary>
    IAsyncEnumerable<ServiceFeedBatch> ReadAsync(CancellationToken cancellationToken);
}
