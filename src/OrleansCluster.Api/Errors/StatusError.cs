using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>One cause inside a Status: what is wrong at which field (wire: `details.causes[]`).</summary>
/// <param name="Reason">Machine-readable type, e.g. `FieldValueInvalid`.</param>
/// <param name="Message">Text for people.</param>
/// <param name="Field">JSON path such as `spec.containers[0].image`, or null.</param>
public sealed record StatusCause(string Reason, string Message, string? Field);

/// <summary>
/// A Kubernetes Status of failure: the one form in which every error leaves the system. Factories word each error as the wire contract does.
/// </summary>
public sealed record StatusError(int Code, string Reason, string Message)
{
    /// <summary>Object name the error is about, or null.</summary>
    public string? Name { get; init; }

    /// <summary>API group, or null for the core group.</summary>
    public string? Group { get; init; }

    /// <summary>Plural resource, or the Kind where the reason is Invalid.</summary>
    public string? Kind { get; init; }

    /// <summary>Uid of the object, or null.</summary>
    public string? Uid { get; init; }

    /// <summary>Single causes, mostly of an Invalid.</summary>
    public IReadOnlyList<StatusCause> Causes { get; init; } = [];

    /// <summary>After how many seconds a client may try again; 0 for none.</summary>
    public int RetryAfterSeconds { get; init; }

    /// <summary>400: the request cannot be understood.</summary>
    public static StatusError BadRequest(string message) => new(400, "BadRequest", message);

    /// <summary>401: no valid credential.</summary>
    public static StatusError Unauthorized() => new(401, "Unauthorized", "Unauthorized");

    /// <summary>404 for an object.</summary>
    public static StatusError NotFound(string resource, string group, string name) =>
        new(404, "NotFound", $"{Qualified(resource, group)} \"{name}\" not found") { Name = name, Group = NullIfEmpty(group), Kind = resource };

    /// <summary>404 for a path that names no resource.</summary>
    public static StatusError NoSuchPath() =>
        new(404, "NotFound", "the server could not find the requested resource");

    /// <summary>405: the resource has no such verb.</summary>
    public static StatusError MethodNotAllowed() =>
        new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");

    /// <summary>409: an object of that name exists.</summary>
    public static StatusError AlreadyExists(string resource, string group, string name) =>
        new(409, "AlreadyExists", $"{Qualified(resource, group)} \"{name}\" already exists") { Name = name, Group = NullIfEmpty(group), Kind = resource };

    /// <summary>409: the object changed, or a precondition does not hold.</summary>
    public static StatusError Conflict(string resource, string group, string name, string why) =>
        new(409, "Conflict", $"Operation cannot be fulfilled on {Qualified(resource, group)} \"{name}\": {why}")
        { Name = name, Group = NullIfEmpty(group), Kind = resource };

    /// <summary>409 with the field's text for a stale resourceVersion.</summary>
    public static StatusError Modified(string resource, string group, string name) =>
        Conflict(resource, group, name, "the object has been modified; please apply your changes to the latest version and try again");

    /// <summary>403 for an object or, with an empty name, a resource.</summary>
    public static StatusError Forbidden(string resource, string group, string name, string why) =>
        new(403, "Forbidden", name.Length == 0
            ? $"{Qualified(resource, group)} is forbidden: {why}"
            : $"{Qualified(resource, group)} \"{name}\" is forbidden: {why}")
        { Name = NullIfEmpty(name), Group = NullIfEmpty(group), Kind = resource };

    /// <summary>410: the revision asked for has been compacted.</summary>
    public static StatusError Expired(string message) => new(410, "Expired", message);

    /// <summary>415: the body's media type is not supported.</summary>
    public static StatusError UnsupportedMediaType(string message) => new(415, "UnsupportedMediaType", message);

    /// <summary>429: the server sheds load.</summary>
    public static StatusError TooManyRequests(string message, int retryAfterSeconds) =>
        new(429, "TooManyRequests", message) { RetryAfterSeconds = retryAfterSeconds };

    /// <summary>500: our fault; the message must not leak internals.</summary>
    public static StatusError InternalError(string message) =>
        new(500, "InternalError", "Internal error occurred: " + message) { Causes = [new StatusCause("", message, null)] };

    /// <summary>503: a part that must answer is away.</summary>
    public static StatusError ServiceUnavailable(string message) => new(503, "ServiceUnavailable", message) { RetryAfterSeconds = 1 };

    /// <summary>504: the outcome is unknown or the wait was too long.</summary>
    public static StatusError Timeout(string message) => new(504, "Timeout", message) { RetryAfterSeconds = 1 };

    /// <summary>The Status object on the wire.</summary>
    public JsonObject ToJson()
    {
        var status = new JsonObject
        {
            ["kind"] = "Status",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject(),
            ["status"] = "Failure",
            ["message"] = Message,
            ["reason"] = Reason,
        };
        var details = new JsonObject();
        if (Name is { Length: > 0 })
            details["name"] = Name;
        if (Group is { Length: > 0 })
            details["group"] = Group;
        if (Kind is { Length: > 0 })
            details["kind"] = Kind;
        if (Uid is { Length: > 0 })
            details["uid"] = Uid;
        if (Causes.Count > 0)
        {
            var causes = new JsonArray();
            foreach (var cause in Causes)
            {
                var item = new JsonObject();
                if (cause.Reason.Length > 0)
                    item["reason"] = cause.Reason;
                item["message"] = cause.Message;
                if (cause.Field is not null)
                    item["field"] = cause.Field;
                causes.Add((JsonNode)item);
            }
            details["causes"] = causes;
        }
        if (RetryAfterSeconds > 0)
            details["retryAfterSeconds"] = RetryAfterSeconds;
        // A path that does not exist has empty details: `kubectl debug` looks for a name in them and breaks where there are none.
        if (details.Count > 0 || Reason == "NotFound")
            status["details"] = details;
        status["code"] = Code;
        return status;
    }

    /// <summary>Reads a Status of failure written by <see cref="ToJson"/>.</summary>
    public static StatusError FromJson(JsonObject status)
    {
        var details = status["details"] as JsonObject;
        var causes = new List<StatusCause>();
        foreach (var node in details?["causes"] as JsonArray ?? [])
        {
            if (node is JsonObject cause)
                causes.Add(new StatusCause((string?)cause["reason"] ?? "", (string?)cause["message"] ?? "", (string?)cause["field"]));
        }
        return new StatusError((int?)status["code"] ?? 500, (string?)status["reason"] ?? "", (string?)status["message"] ?? "")
        {
            Name = (string?)details?["name"],
            Group = (string?)details?["group"],
            Kind = (string?)details?["kind"],
            Uid = (string?)details?["uid"],
            Causes = causes,
            RetryAfterSeconds = (int?)details?["retryAfterSeconds"] ?? 0,
        };
    }

    private static string Qualified(string resource, string group) => group.Length == 0 ? resource : $"{resource}.{group}";

    private static string? NullIfEmpty(string text) => text.Length == 0 ? null : text;
}

/// <summary>Carries a <see cref="StatusError"/> out of code that cannot return it. Every border turns it back into the Status.</summary>
public sealed class StatusException(StatusError status) : Exception(status.Message)
{
    /// <summary>The error to answer with.</summary>
    public StatusError Status { get; } = status;
}
