using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// Outcome of a patch: a new object, or the error to answer with. The new object is not canonical yet (a patch may bring unknown members, odd
/// quantities, any order): pass it through <see cref="ObjectDecoder.Canonicalize"/>.
/// </summary>
public sealed class PatchResult
{
    internal PatchResult(JsonObject obj, IReadOnlyList<string>? strictErrors = null)
    {
        Object = obj;
        StrictErrors = strictErrors ?? [];
    }

    internal PatchResult(StatusError error)
    {
        Error = error;
        StrictErrors = [];
    }

    /// <summary>The patched object, which shares nothing with the original; null where <see cref="Error"/> is set.</summary>
    public JsonObject? Object { get; }

    /// <summary>Duplicate members of the patch itself, e.g. `duplicate field "spec.replicas"`.</summary>
    public IReadOnlyList<string> StrictErrors { get; }

    /// <summary>400 for a patch that cannot be understood, 413 for one too large, 422 for one that does not fit the object; else null.</summary>
    public StatusError? Error { get; }

    /// <summary>True where there is an object.</summary>
    [MemberNotNullWhen(true, nameof(Object))]
    [MemberNotNullWhen(false, nameof(Error))]
    public bool Succeeded => Object is not null;
}

/// <summary>Ends a patch from within; never leaves this folder.</summary>
internal sealed class PatchException(StatusError error) : Exception(error.Message)
{
    public StatusError Error { get; } = error;

    public static PatchException BadRequest(string message) => new(StatusError.BadRequest(DecodeResult.Shorten(message)));

    public static PatchException Invalid(string message) => new(new StatusError(422, "Invalid", DecodeResult.Shorten(message)));

    public static PatchException TooLarge(string message) => new(new StatusError(413, "RequestEntityTooLarge", message));
}
