using k8s;

namespace OrleansCluster.Client;

/// <summary>Which objects to read.</summary>
public sealed record ObjectQuery
{
    /// <summary>Namespace, or the empty string for all.</summary>
    public string Namespace { get; init; } = "";

    /// <summary>Label selector as kubectl takes it, e.g. `app=web,tier in (front,back)`.</summary>
    public string LabelSelector { get; init; } = "";

    /// <summary>Field selector, e.g. `spec.nodeName=node-1`.</summary>
    public string FieldSelector { get; init; } = "";
}

/// <summary>Objects of a list.</summary>
/// <typeparam name="T">Model type.</typeparam>
/// <param name="Items">The objects.</param>
/// <param name="Revision">Revision of the state that the first page was read from.</param>
public sealed record ObjectList<T>(IReadOnlyList<T> Items, long Revision);

/// <summary>A change that a watch tells.</summary>
/// <typeparam name="T">Model type.</typeparam>
/// <param name="Type">Added, Modified or Deleted, as seen through the query: leaving the selection is Deleted.</param>
/// <param name="Object">The object after the change; of a deleted one the last state known.</param>
public sealed record ObjectEvent<T>(WatchEventType Type, T Object);
