using Orleans.Concurrency;

namespace OrleansCluster;

/// <summary>
/// Reads of one resource for Orleans clients (node agents, the SDK), served from the silo's cache. Keyed by resource; a stateless worker.
/// </summary>
[Alias("OrleansCluster.IResourceReaderGrain")]
public interface IResourceReaderGrain : IGrainWithStringKey
{
    /// <summary>One object with its resourceVersion, or null. Consistent: not older than the call.</summary>
    [Alias("Get")]
    Task<byte[]?> GetAsync(string @namespace, string name, CancellationToken cancellationToken = default);

    /// <summary>A page of objects.</summary>
    [Alias("List")]
    Task<ObjectPage> ListAsync([Immutable] ListQuery query, CancellationToken cancellationToken = default);

    /// <summary>
    /// Changes after a revision, in order; waits up to <paramref name="wait"/> for the first. A page with <see cref="ChangePage.Expired"/> tells
    /// the caller to list again.
    /// </summary>
    [Alias("ReadChanges"), AlwaysInterleave]
    Task<ChangePage> ReadChangesAsync(
        [Immutable] ListQuery query, long afterRevision, TimeSpan wait, CancellationToken cancellationToken = default);
}

/// <summary>Which objects to read.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ListQuery")]
public sealed record ListQuery
{
    /// <summary>Namespace, or the empty string for all.</summary>
    [Id(0)] public string Namespace { get; init; } = "";

    /// <summary>Label selector in its text form.</summary>
    [Id(1)] public string LabelSelector { get; init; } = "";

    /// <summary>Field selector in its text form.</summary>
    [Id(2)] public string FieldSelector { get; init; } = "";

    /// <summary>Most objects of a page; 0 for all.</summary>
    [Id(3)] public int Limit { get; init; }

    /// <summary>Storage key after which the page starts, or null.</summary>
    [Id(4)] public string? After { get; init; }
}

/// <summary>A page of objects.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ObjectPage")]
public sealed record ObjectPage
{
    /// <summary>Revision of the state the page was read from; changes may be read from here.</summary>
    [Id(0)] public required long Revision { get; init; }

    /// <summary>Whole objects as JSON bytes.</summary>
    [Id(1)] public required byte[][] Objects { get; init; }

    /// <summary>Where the next page starts, or null after the last.</summary>
    [Id(2)] public string? Next { get; init; }
}

/// <summary>Changes of a resource.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ChangePage")]
public sealed record ChangePage
{
    /// <summary>Continue from here.</summary>
    [Id(0)] public required long Revision { get; init; }

    /// <summary>The changes in order.</summary>
    [Id(1)] public required ObjectChange[] Changes { get; init; }

    /// <summary>The history no longer reaches back; list again.</summary>
    [Id(2)] public bool Expired { get; init; }
}

/// <summary>One change.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ObjectChange")]
public sealed record ObjectChange
{
    /// <summary>`ADDED`, `MODIFIED` or `DELETED`, after the selectors.</summary>
    [Id(0)] public required string Type { get; init; }

    /// <summary>The object.</summary>
    [Id(1)] public required byte[] Object { get; init; }
}
