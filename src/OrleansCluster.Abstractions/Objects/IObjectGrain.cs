using Orleans.Concurrency;
using OrleansCluster.Api;

namespace OrleansCluster;

/// <summary>
/// One API object: its single writer. Keyed by <see cref="ObjectKey"/>'s text form, also while the object does not exist. Errors are values:
/// a reply carries a Status instead of an exception. A call that times out has an unknown outcome; <see cref="IObjectClient"/> knows how to
/// find out.
/// </summary>
[Alias("OrleansCluster.IObjectGrain")]
public interface IObjectGrain : IGrainWithStringKey
{
    /// <summary>Runs one write.</summary>
    [Alias("Execute")]
    Task<ObjectReply> ExecuteAsync([Immutable] ObjectRequest request, CancellationToken cancellationToken = default);

    /// <summary>The last committed state; does not wait for a commit under way.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<ObjectReply> GetAsync(CancellationToken cancellationToken = default);

    /// <summary>
    /// W3C `traceparent` of the recorded request that created the object, while its grain remembers; else null. It is kept in memory and is no part of the
    /// object.
    /// </summary>
    [Alias("GetTraceParent"), AlwaysInterleave]
    Task<string?> GetTraceParentAsync(CancellationToken cancellationToken = default);
}

/// <summary>What to do with an object.</summary>
public enum ObjectVerb
{
    /// <summary>Create it.</summary>
    Create,

    /// <summary>Replace it (PUT).</summary>
    Update,

    /// <summary>Patch it; the media type says how.</summary>
    Patch,

    /// <summary>Delete it.</summary>
    Delete,

    /// <summary>Bind a pod to a node (the scheduler, or POST of a Binding).</summary>
    Bind,
}

/// <summary>A write. Bodies are JSON bytes as the client sent them (YAML and protobuf are converted at the border).</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ObjectRequest")]
public sealed record ObjectRequest
{
    /// <summary>What to do.</summary>
    [Id(0)] public required ObjectVerb Verb { get; init; }

    /// <summary>Subresource, or the empty string.</summary>
    [Id(1)] public string Subresource { get; init; } = "";

    /// <summary>JSON body: the object, the patch, the Binding, or DeleteOptions; may be empty for a deletion.</summary>
    [Id(2)] public byte[] Body { get; init; } = [];

    /// <summary>Media type of a patch without parameters; else `application/json`.</summary>
    [Id(3)] public string ContentType { get; init; } = "application/json";

    /// <summary>The authenticated and authorized caller.</summary>
    [Id(4)] public string UserName { get; init; } = "";

    /// <summary>The caller's groups.</summary>
    [Id(5)] public string[] UserGroups { get; init; } = [];

    /// <summary>The caller's uid.</summary>
    [Id(6)] public string UserUid { get; init; } = "";

    /// <summary>Do everything but write.</summary>
    [Id(7)] public bool DryRun { get; init; }

    /// <summary>Unknown and duplicate fields: refuse, warn or ignore.</summary>
    [Id(8)] public FieldValidation FieldValidation { get; init; } = FieldValidation.Warn;

    /// <summary>Field manager (`fieldManager`), or the empty string.</summary>
    [Id(9)] public string FieldManager { get; init; } = "";

    /// <summary>`force` of a server-side apply.</summary>
    [Id(10)] public bool Force { get; init; }

    /// <summary>Uid of a new object. The caller makes it, so that a repeated create of unknown outcome is recognised as its own.</summary>
    [Id(11)] public Guid NewUid { get; init; }

    /// <summary>Bind only: the fence of the node's grain that promised the place (0: none, as for an outside scheduler).</summary>
    [Id(12)] public long NodeEpoch { get; init; }

    /// <summary>Identifies the request over its repetitions; empty: it is never repeated.</summary>
    [Id(13)] public Guid RequestId { get; init; }

    /// <summary>An earlier call of this request had no answer: it may have been carried out, or may be yet.</summary>
    [Id(14)] public bool Repeated { get; init; }

    /// <summary>
    /// A revision of the resource at which the request had not been sent yet, so that a repetition can tell whether the object has changed since; -1: unknown.
    /// </summary>
    [Id(15)] public long SentAfter { get; init; } = -1;

    /// <summary>The caller.</summary>
    public UserInfo User => new(UserName, UserGroups, UserUid);
}

/// <summary>How unknown and duplicate fields are treated (`fieldValidation`).</summary>
public enum FieldValidation
{
    /// <summary>Drop them silently.</summary>
    Ignore,

    /// <summary>Drop them and warn.</summary>
    Warn,

    /// <summary>Refuse the request with 400.</summary>
    Strict,
}

/// <summary>Answer of an object grain.</summary>
[GenerateSerializer, Immutable, Alias("OrleansCluster.ObjectReply")]
public sealed record ObjectReply
{
    /// <summary>HTTP status code: 200, 201, or the error's.</summary>
    [Id(0)] public required int Code { get; init; }

    /// <summary>The object with its resourceVersion (its last state after a removal), or null on an error.</summary>
    [Id(1)] public byte[]? Object { get; init; }

    /// <summary>Revision of the object, 0 if there is none.</summary>
    [Id(2)] public long Revision { get; init; }

    /// <summary>The Status of failure as JSON bytes, or null.</summary>
    [Id(3)] public byte[]? Error { get; init; }

    /// <summary>Warnings for the client.</summary>
    [Id(4)] public string[] Warnings { get; init; } = [];

    /// <summary>True if a deletion removed the object at once (rather than marked it).</summary>
    [Id(5)] public bool Removed { get; init; }

    /// <summary>The request has not been looked at; it is to be sent again, and then is no repetition.</summary>
    [Id(6)] public bool NotTried { get; init; }

    /// <summary>True for 2xx.</summary>
    public bool IsSuccess => Error is null;

    /// <summary>The error, or null.</summary>
    public StatusError? GetError() => Error is null ? null : StatusError.FromJson(CanonicalJson.Parse(Error));
}
