using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Why a body could not be decoded at all.</summary>
public enum DecodeErrorKind
{
    /// <summary>Not well-formed, not an object, too deep or too large: the kind could not even be read.</summary>
    Syntax,

    /// <summary>Well-formed, but a value does not have its field's type.</summary>
    Type,

    /// <summary>A protobuf body of a kind that the API does not know.</summary>
    UnknownKind,
}

/// <summary>A body that cannot be decoded.</summary>
/// <param name="Kind">What is wrong in general.</param>
/// <param name="Message">What is wrong in particular, in the API's words.</param>
public sealed record DecodeError(DecodeErrorKind Kind, string Message);

/// <summary>
/// Outcome of decoding: the object in canonical form and what was dropped on the way, or an error. What to do about dropped members
/// (`fieldValidation=Ignore|Warn|Strict`) is the caller's choice.
/// </summary>
public sealed class DecodeResult
{
    internal DecodeResult(JsonObject obj, IReadOnlyList<string> strictErrors)
    {
        Object = obj;
        StrictErrors = strictErrors;
    }

    internal DecodeResult(DecodeError error)
    {
        Error = error with { Message = Shorten(error.Message) };
        StrictErrors = [];
    }

    /// <summary>Cuts a text that quotes the body, so that an answer is never as large as the request.</summary>
    internal static string Shorten(string text)
    {
        const int Longest = 1024;
        return text.Length <= Longest ? text : text[..Longest] + "...";
    }

    /// <summary>The object; null where <see cref="Error"/> is set.</summary>
    public JsonObject? Object { get; }

    /// <summary>Unknown and duplicate members, e.g. `unknown field "spec.foo"`, at most 100; each is also the text of a Warning header.</summary>
    public IReadOnlyList<string> StrictErrors { get; }

    /// <summary>Why nothing was decoded; null where <see cref="Object"/> is set.</summary>
    public DecodeError? Error { get; }

    /// <summary>True where there is an object.</summary>
    [MemberNotNullWhen(true, nameof(Object))]
    [MemberNotNullWhen(false, nameof(Error))]
    public bool Succeeded => Object is not null;

    /// <summary>The 400 answer for <see cref="Error"/>, worded as the API does.</summary>
    /// <param name="version">Version without the group, e.g. `v1`.</param>
    /// <param name="kind">Kind that was expected.</param>
    /// <param name="body">The body; its beginning is quoted where it could not be recognised.</param>
    public StatusError ToStatus(string version, string kind, ReadOnlySpan<byte> body)
    {
        if (Succeeded)
            throw new InvalidOperationException("The body was decoded.");
        return StatusError.BadRequest(Error.Kind switch
        {
            DecodeErrorKind.Type => $"{kind} in version \"{version}\" cannot be handled as a {kind}: {Error.Message}",
            DecodeErrorKind.UnknownKind => Error.Message,
            _ => $"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {Error.Message} ({Summarize(body)})",
        });
    }

    /// <summary>The 400 answer for <see cref="StrictErrors"/> under `fieldValidation=Strict`; null if there are none.</summary>
    /// <param name="version">Version without the group, e.g. `v1`.</param>
    /// <param name="kind">Kind that was expected.</param>
    public StatusError? ToStrictStatus(string version, string kind) => StrictErrors.Count == 0
        ? null
        : StatusError.BadRequest($"{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {string.Join(", ", StrictErrors)}");

    private static string Summarize(ReadOnlySpan<byte> body)
    {
        const int Shown = 30;
        if (body.Length == 0)
            return "<empty>";
        var text = new StringBuilder(Convert.ToHexStringLower(body[..Math.Min(Shown, body.Length)]));
        return body.Length > Shown ? text.Append(" ...").ToString() : text.ToString();
    }
}

/// <summary>Ends a decoding from within; never leaves <see cref="ObjectDecoder"/>.</summary>
internal sealed class DecodeException(DecodeErrorKind kind, string message) : Exception(message)
{
    public DecodeErrorKind Kind { get; } = kind;
}
