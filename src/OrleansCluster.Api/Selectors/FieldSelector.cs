using System.Text;

namespace OrleansCluster.Api;

/// <summary>One term of a <see cref="FieldSelector"/>.</summary>
/// <param name="Label">Field, e.g. `spec.nodeName`.</param>
/// <param name="Value">Value to compare with.</param>
/// <param name="Equal">True for `=`, false for `!=`.</param>
public readonly record struct FieldRequirement(string Label, string Value, bool Equal);

/// <summary>
/// A field selector: `field=value`, `field==value` or `field!=value`, joined by commas, all of which must hold. A backslash escapes comma, equals
/// sign and backslash in a value. The empty text selects everything. Immutable.
/// </summary>
public sealed class FieldSelector
{
    private readonly FieldRequirement[] _requirements;

    private FieldSelector(FieldRequirement[] requirements) => _requirements = requirements;

    /// <summary>Matches every object.</summary>
    public static FieldSelector Everything { get; } = new([]);

    /// <summary>The terms in the order given.</summary>
    public IReadOnlyList<FieldRequirement> Requirements => _requirements;

    /// <summary>True if it matches every object.</summary>
    public bool IsEverything => _requirements.Length == 0;

    /// <summary>Reads a selector on a kind.</summary>
    /// <exception cref="StatusException">400: it cannot be understood, or names a field that the kind does not select by.</exception>
    public static FieldSelector Parse(string text, ResourceDefinition definition) =>
        TryParse(text, definition, out var selector, out var error) ? selector : throw new StatusException(StatusError.BadRequest(error));

    /// <summary>Reads a selector on a kind; the error is the message for a 400.</summary>
    public static bool TryParse(string text, ResourceDefinition definition, out FieldSelector selector, out string error)
    {
        selector = Everything;
        error = "";
        var requirements = new List<FieldRequirement>();
        foreach (var term in SplitTerms(text))
        {
            if (term.Length == 0)
                continue;
            if (ReadTerm(term) is not { } requirement)
            {
                error = $"invalid selector: '{text}'; can't understand '{term}'";
                return false;
            }
            var label = Alias(requirement.Label, definition);
            if (label is not ("metadata.name" or "metadata.namespace")
                && !definition.Strategy.SelectableFields.Any(f => f.Label == label))
            {
                error = $"field label not supported: {requirement.Label}";
                return false;
            }
            requirements.Add(requirement with { Label = label });
        }
        if (requirements.Count > 0)
            selector = new FieldSelector([.. requirements]);
        return true;
    }

    /// <summary>True if every term holds.</summary>
    /// <param name="source">Where the fields are read from.</param>
    /// <param name="read">Reads one field; the empty text if absent.</param>
    public bool Matches<T>(T source, Func<T, string, string?> read)
    {
        foreach (var requirement in _requirements)
        {
            if (((read(source, requirement.Label) ?? "") == requirement.Value) != requirement.Equal)
                return false;
        }
        return true;
    }

    /// <summary>True if every term holds for an object's header.</summary>
    public bool Matches(ObjectHeader header) => Matches(header, static (h, label) => h.Field(label));

    /// <summary>The value to which the selector narrows a field, if it does: what an index or a single read may be asked for.</summary>
    public bool RequiresExactMatch(string label, out string value)
    {
        foreach (var requirement in _requirements)
        {
            if (requirement.Equal && requirement.Label == label)
            {
                value = requirement.Value;
                return true;
            }
        }
        value = "";
        return false;
    }

    /// <summary>The text form, terms in the order given.</summary>
    public override string ToString() => string.Join(',', _requirements.Select(r => $"{r.Label}{(r.Equal ? "=" : "!=")}{Escape(r.Value)}"));

    // The name of the pod's node in the first version of the API, still accepted.
    private static string Alias(string label, ResourceDefinition definition) =>
        label == "spec.host" && definition is { Group: "", Kind: "Pod" } ? "spec.nodeName" : label;

    private static IEnumerable<string> SplitTerms(string text)
    {
        var start = 0;
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\\')
            {
                i++;
            }
            else if (text[i] == ',')
            {
                yield return text[start..i];
                start = i + 1;
            }
        }
        yield return text[start..];
    }

    private static FieldRequirement? ReadTerm(string term)
    {
        for (var i = 0; i < term.Length; i++)
        {
            switch (term[i])
            {
                case '\\':
                    i++;
                    break;
                case '!' when i + 1 < term.Length && term[i + 1] == '=':
                    return Make(term[..i], term[(i + 2)..], equal: false);
                case '=':
                    return Make(term[..i], term[(i + (i + 1 < term.Length && term[i + 1] == '=' ? 2 : 1))..], equal: true);
                default:
                    break;
            }
        }
        return null;
    }

    private static FieldRequirement? Make(string label, string escaped, bool equal)
    {
        var value = new StringBuilder(escaped.Length);
        for (var i = 0; i < escaped.Length; i++)
        {
            if (escaped[i] == '\\')
            {
                if (++i == escaped.Length || escaped[i] is not ('\\' or ',' or '='))
                    return null;
            }
            else if (escaped[i] is '=')
            {
                return null;
            }
            value.Append(escaped[i]);
        }
        return new FieldRequirement(label, value.ToString(), equal);
    }

    private static string Escape(string value) =>
        value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace(",", "\\,", StringComparison.Ordinal).Replace("=", "\\=", StringComparison.Ordinal);
}
