using System.Globalization;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>Options of get, list, watch and deletecollection, parsed and checked once (wire contract, sections 5 and 7).</summary>
internal sealed record ListOptions
{
    /// <summary>No option given: the newest state of everything.</summary>
    public static ListOptions None { get; } = new();

    public string LabelSelector { get; init; } = "";
    public string FieldSelector { get; init; } = "";
    public long Limit { get; init; }
    public string Continue { get; init; } = "";

    /// <summary>The revision asked for, or null if none was.</summary>
    public long? ResourceVersion { get; init; }

    /// <summary>Empty, `NotOlderThan` or `Exact`.</summary>
    public string ResourceVersionMatch { get; init; } = "";
    public bool AllowWatchBookmarks { get; init; }
    public bool? SendInitialEvents { get; init; }
    public TimeSpan? Timeout { get; init; }

    /// <summary>`includeObject` of a Table: `None`, `Metadata` or `Object`.</summary>
    public string IncludeObject { get; init; } = "Metadata";

    /// <summary>Reads the options.</summary>
    /// <exception cref="StatusException">An option has no valid value.</exception>
    public static ListOptions Parse(HttpRequest request, bool watch)
    {
        if (!request.QueryString.HasValue)
            return None;
        var query = request.Query;
        var options = new ListOptions
        {
            LabelSelector = QueryValues.Text(query, "labelSelector"),
            FieldSelector = QueryValues.Text(query, "fieldSelector"),
            Limit = QueryValues.Integer(query, "limit") ?? 0,
            Continue = QueryValues.Text(query, "continue"),
            ResourceVersion = ParseRevision(QueryValues.Text(query, "resourceVersion")),
            ResourceVersionMatch = QueryValues.Text(query, "resourceVersionMatch"),
            AllowWatchBookmarks = QueryValues.Flag(query, "allowWatchBookmarks") ?? false,
            SendInitialEvents = QueryValues.Flag(query, "sendInitialEvents"),
            Timeout = QueryValues.Integer(query, "timeoutSeconds") is { } seconds and > 0 ? TimeSpan.FromSeconds(Math.Min(seconds, 86_400)) : null,
            IncludeObject = QueryValues.Text(query, "includeObject") is { Length: > 0 } include ? include : "Metadata",
        };
        options.Check(watch);
        return options;
    }

    /// <summary>A revision from its text; null for the empty string.</summary>
    /// <exception cref="StatusException">It is not a number.</exception>
    public static long? ParseRevision(string text)
    {
        if (text.Length == 0)
            return null;
        if (!ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var revision) || revision > long.MaxValue)
            throw new StatusException(StatusError.BadRequest($"invalid resource version: strconv.ParseUint: parsing \"{text}\": invalid syntax"));
        return (long)revision;
    }

    private void Check(bool watch)
    {
        var errors = new FieldErrors();
        var match = FieldPath.Root("resourceVersionMatch");
        var initial = FieldPath.Root("sendInitialEvents");
        if (ResourceVersionMatch.Length > 0 && ResourceVersionMatch is not ("NotOlderThan" or "Exact"))
            errors.NotSupported(match, ResourceVersionMatch, ["Exact", "NotOlderThan"]);
        if (watch)
        {
            if (SendInitialEvents is not null && ResourceVersionMatch != "NotOlderThan")
                errors.Forbidden(match, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            if (SendInitialEvents is null && ResourceVersionMatch.Length > 0)
                errors.Forbidden(match, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            if (SendInitialEvents == true && !AllowWatchBookmarks)
                errors.Forbidden(initial, "sendInitialEvents requires setting allowWatchBookmarks to true");
        }
        else
        {
            if (SendInitialEvents is not null)
                errors.Forbidden(initial, "sendInitialEvents is forbidden for list");
            if (ResourceVersionMatch.Length > 0 && Continue.Length > 0)
                errors.Forbidden(match, "resourceVersionMatch is forbidden when continue is provided");
            else if (ResourceVersionMatch.Length > 0 && ResourceVersion is null)
                errors.Forbidden(match, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            else if (ResourceVersionMatch == "Exact" && ResourceVersion == 0)
                errors.Forbidden(match, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            if (Continue.Length > 0 && ResourceVersion is > 0)
                throw new StatusException(StatusError.BadRequest("specifying resource version is not allowed when using continue"));
        }
        if (!errors.IsEmpty)
            throw new StatusException(errors.ToStatus("ListOptions", "meta.k8s.io", ""));
    }
}

/// <summary>Options of create, update and patch.</summary>
internal sealed record WriteOptions
{
    private const int MaxManagerLength = 128;

    /// <summary>No option given.</summary>
    public static WriteOptions None { get; } = new();

    public bool DryRun { get; init; }
    public string FieldManager { get; init; } = "";
    public FieldValidation FieldValidation { get; init; } = FieldValidation.Warn;
    public bool Force { get; init; }

    /// <summary>Reads the options.</summary>
    /// <param name="request">The request.</param>
    /// <param name="optionsKind">`CreateOptions`, `UpdateOptions` or `PatchOptions`, for the errors.</param>
    /// <param name="isApply">True for a server-side apply, the only patch that knows `force` and needs a manager.</param>
    /// <exception cref="StatusException">An option has no valid value.</exception>
    public static WriteOptions Parse(HttpRequest request, string optionsKind, bool isApply = false)
    {
        if (!request.QueryString.HasValue && !isApply)
            return None;
        var query = request.Query;
        var errors = new FieldErrors();
        var manager = QueryValues.Text(query, "fieldManager");
        var force = QueryValues.Flag(query, "force");
        if (manager.Length > MaxManagerLength)
            errors.TooLong(FieldPath.Root("fieldManager"), MaxManagerLength);
        if (manager.Any(c => char.IsControl(c)))
            errors.Invalid(FieldPath.Root("fieldManager"), manager, "should only contain printable characters");
        if (optionsKind == "PatchOptions")
        {
            if (isApply && manager.Length == 0)
                errors.Required(FieldPath.Root("fieldManager"), "is required for apply patch");
            if (!isApply && force is not null)
                errors.Forbidden(FieldPath.Root("force"), "may not be specified for non-apply patch");
        }
        var validation = QueryValues.Text(query, "fieldValidation") switch
        {
            "" or "Warn" => FieldValidation.Warn,
            "Strict" => FieldValidation.Strict,
            "Ignore" => FieldValidation.Ignore,
            var other => Unsupported(other),
        };
        var dryRun = QueryValues.DryRun(query, errors);
        if (!errors.IsEmpty)
            throw new StatusException(errors.ToStatus(optionsKind, "meta.k8s.io", ""));
        return new WriteOptions { DryRun = dryRun, FieldManager = manager, FieldValidation = validation, Force = force ?? false };

        FieldValidation Unsupported(string value)
        {
            errors.NotSupported(FieldPath.Root("fieldValidation"), value, ["", "Ignore", "Strict", "Warn"]);
            return FieldValidation.Warn;
        }
    }
}

/// <summary>Reads query values by the rules every client relies on (wire contract, 0.6).</summary>
internal static class QueryValues
{
    /// <summary>The first value, or the empty string.</summary>
    public static string Text(IQueryCollection query, string name) => query.TryGetValue(name, out var values) ? values.ToString() : "";

    /// <summary>Null if absent; false for `0` and `false` in any case; true for everything else, the empty value included.</summary>
    public static bool? Flag(IQueryCollection query, string name)
    {
        if (!query.TryGetValue(name, out var values))
            return null;
        var text = values.Count > 0 ? values[0] ?? "" : "";
        return text != "0" && !string.Equals(text, "false", StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>A whole number, or null if absent or empty.</summary>
    /// <exception cref="StatusException">It is not a number.</exception>
    public static long? Integer(IQueryCollection query, string name)
    {
        var text = Text(query, name);
        if (text.Length == 0)
            return null;
        if (!long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
            throw new StatusException(StatusError.BadRequest($"strconv.ParseInt: parsing \"{text}\": invalid syntax"));
        return number;
    }

    /// <summary>`dryRun`: absent, or exactly `All`.</summary>
    public static bool DryRun(IQueryCollection query, FieldErrors errors)
    {
        if (!query.TryGetValue("dryRun", out var values) || values.Count == 0)
            return false;
        foreach (var value in values)
        {
            if (value != "All")
                errors.NotSupported(FieldPath.Root("dryRun"), value ?? "", ["All"]);
        }
        return true;
    }
}
