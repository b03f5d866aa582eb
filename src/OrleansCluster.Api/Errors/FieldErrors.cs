using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>One invalid field: its path, the wire's cause reason and the text after the path.</summary>
/// <param name="Field">Path such as `spec.replicas`.</param>
/// <param name="Reason">`FieldValueInvalid`, `FieldValueRequired`, ... (the wire contract's cause reasons).</param>
/// <param name="Detail">Text such as `Invalid value: -1: must be greater than or equal to 0`.</param>
public sealed record FieldError(string Field, string Reason, string Detail);

/// <summary>
/// Collects field errors. Validators append and go on; none stops at the first error. One method per error type, worded as on the wire.
/// </summary>
public sealed class FieldErrors
{
    /// <summary>Errors that are kept; nobody reads more, and a body of 3 MiB could cause so many that the answer took a hundred.</summary>
    private const int MaxErrors = 500;

    /// <summary>Characters of a value that are shown.</summary>
    private const int MaxShown = 4096;

    private static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly List<FieldError> _errors = [];

    /// <summary>All errors so far, in the order found.</summary>
    public IReadOnlyList<FieldError> All => _errors;

    /// <summary>True while nothing is wrong.</summary>
    public bool IsEmpty => _errors.Count == 0;

    /// <summary>The value is missing.</summary>
    public void Required(FieldPath field, string detail = "") =>
        Add(field, "FieldValueRequired", Suffix("Required value", detail));

    /// <summary>The value has a wrong form.</summary>
    public void Invalid(FieldPath field, object? value, string detail) =>
        Add(field, "FieldValueInvalid", Suffix("Invalid value: " + Show(value), detail));

    /// <summary>The value is not among the known ones.</summary>
    public void NotSupported(FieldPath field, object? value, IEnumerable<string> supported) =>
        Add(field, "FieldValueNotSupported",
            $"Unsupported value: {Show(value)}: supported values: {string.Join(", ", supported.Order(StringComparer.Ordinal).Select(s => $"\"{s}\""))}");

    /// <summary>The value may not be set here.</summary>
    public void Forbidden(FieldPath field, string detail) =>
        Add(field, "FieldValueForbidden", Suffix("Forbidden", detail));

    /// <summary>The value stands twice where it must be unique.</summary>
    public void Duplicate(FieldPath field, object? value) =>
        Add(field, "FieldValueDuplicate", "Duplicate value: " + Show(value));

    /// <summary>The value refers to something that is not there.</summary>
    public void NotFound(FieldPath field, object? value) =>
        Add(field, "FieldValueNotFound", "Not found: " + Show(value));

    /// <summary>The value has a wrong form, told by a check that answers null where it has not.</summary>
    internal void InvalidIf(string? message, FieldPath field, object? value)
    {
        if (message is not null)
            Invalid(field, value, message);
    }

    /// <summary>The text is too long; the value itself is not repeated.</summary>
    public void TooLong(FieldPath field, int maxLength) =>
        Add(field, "FieldValueTooLong", $"Too long: may not be more than {maxLength} bytes");

    /// <summary>The list has too many items.</summary>
    public void TooMany(FieldPath field, int actual, int max) =>
        Add(field, "FieldValueTooMany", $"Too many: {actual}: must have at most {max} items");

    /// <summary>The 422 Status with all errors as causes.</summary>
    /// <param name="kind">Kind of the object.</param>
    /// <param name="group">Its API group.</param>
    /// <param name="name">Its name, or the empty string.</param>
    public StatusError ToStatus(string kind, string group, string name)
    {
        var qualified = group.Length == 0 ? kind : $"{kind}.{group}";
        var parts = _errors.Select(e => e.Field.Length == 0 ? e.Detail : $"{e.Field}: {e.Detail}").Distinct(StringComparer.Ordinal).ToArray();
        var text = parts.Length == 1 ? parts[0] : $"[{string.Join(", ", parts)}]";
        return new StatusError(422, "Invalid", $"{qualified} \"{name}\" is invalid: {text}")
        {
            Name = name.Length == 0 ? null : name,
            Group = group.Length == 0 ? null : group,
            Kind = kind,
            Causes = [.. _errors.Select(e => new StatusCause(e.Reason, e.Detail, e.Field))],
        };
    }

    private void Add(FieldPath field, string reason, string detail)
    {
        if (_errors.Count < MaxErrors)
            _errors.Add(new FieldError(field.ToString(), reason, detail));
    }

    private static string Suffix(string head, string detail) => detail.Length == 0 ? head : $"{head}: {detail}";

    // Texts are quoted as Go's %q does it, numbers and truth values stand bare, anything bigger is shown as its JSON.
    private static string Show(object? value) => value switch
    {
        null => "null",
        string text => Quote(text),
        bool flag => flag ? "true" : "false",
        JsonValue json when json.TryGetValue(out string? text) => Quote(text),
        JsonNode json => Cut(json.ToJsonString(Readable)),
        _ => value.ToString() ?? "null",
    };

    private static string Cut(string text) => text.Length <= MaxShown ? text : string.Concat(text.AsSpan(0, MaxShown), "...");

    private static string Quote(string text)
    {
        text = Cut(text);
        if (text.AsSpan().IndexOfAnyInRange('\0', '\u001f') < 0 && text.AsSpan().IndexOfAny('"', '\\', '\u007f') < 0)
            return $"\"{text}\"";
        var quoted = new StringBuilder(text.Length + 8).Append('"');
        foreach (var c in text)
        {
            _ = c switch
            {
                '"' => quoted.Append("\\\""),
                '\\' => quoted.Append("\\\\"),
                '\n' => quoted.Append("\\n"),
                '\r' => quoted.Append("\\r"),
                '\t' => quoted.Append("\\t"),
                < ' ' or '\u007f' => quoted.Append(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}"),
                _ => quoted.Append(c),
            };
        }
        return quoted.Append('"').ToString();
    }
}
