using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>How a requirement compares a label.</summary>
public enum LabelOperator
{
    /// <summary>`k=v`: there and equal.</summary>
    Equal,

    /// <summary>`k!=v`: absent or different.</summary>
    NotEqual,

    /// <summary>`k in (a,b)`: there and one of them.</summary>
    In,

    /// <summary>`k notin (a,b)`: absent or none of them.</summary>
    NotIn,

    /// <summary>`k`: there.</summary>
    Exists,

    /// <summary>`!k`: absent.</summary>
    DoesNotExist,

    /// <summary>`k&gt;5`: there, a whole number, and greater.</summary>
    GreaterThan,

    /// <summary>`k&lt;5`: there, a whole number, and less.</summary>
    LessThan,
}

/// <summary>One term of a <see cref="LabelSelector"/>. Valid by construction, so matching cannot fail.</summary>
/// <param name="Key">Label key.</param>
/// <param name="Operator">Comparison.</param>
/// <param name="Values">Values, sorted; empty for existence. A list: there are few, and a walk beats hashing.</param>
public sealed record LabelRequirement(string Key, LabelOperator Operator, IReadOnlyList<string> Values)
{
    private readonly long _number = Operator is LabelOperator.GreaterThan or LabelOperator.LessThan
        ? long.Parse(Values[0], CultureInfo.InvariantCulture)
        : 0;

    /// <summary>True if the requirement holds for a label's value, null meaning that the label is absent.</summary>
    public bool Matches(string? value) => Operator switch
    {
        LabelOperator.Equal => value is not null && value == Values[0],
        LabelOperator.NotEqual => value is null || value != Values[0],
        LabelOperator.In => value is not null && Contains(value),
        LabelOperator.NotIn => value is null || !Contains(value),
        LabelOperator.Exists => value is not null,
        LabelOperator.DoesNotExist => value is null,
        LabelOperator.GreaterThan => long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) && n > _number,
        _ => long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) && n < _number,
    };

    /// <summary>The text form of the term.</summary>
    public override string ToString() => Operator switch
    {
        LabelOperator.Equal => $"{Key}={Values[0]}",
        LabelOperator.NotEqual => $"{Key}!={Values[0]}",
        LabelOperator.In => $"{Key} in ({string.Join(',', Values)})",
        LabelOperator.NotIn => $"{Key} notin ({string.Join(',', Values)})",
        LabelOperator.Exists => Key,
        LabelOperator.DoesNotExist => "!" + Key,
        LabelOperator.GreaterThan => $"{Key}>{Values[0]}",
        _ => $"{Key}<{Values[0]}",
    };

    private bool Contains(string value)
    {
        // By index: an enumerator over the interface would allocate at every match.
        for (var i = 0; i < Values.Count; i++)
        {
            if (Values[i] == value)
                return true;
        }
        return false;
    }
}

/// <summary>
/// A label selector: terms that must all hold. Immutable; its terms are sorted by key, so that equal selectors print equal.
/// </summary>
public sealed class LabelSelector
{
    private readonly LabelRequirement[] _requirements;
    private readonly bool _nothing;

    private LabelSelector(IEnumerable<LabelRequirement> requirements, bool nothing = false)
    {
        _requirements = [.. requirements.OrderBy(r => r.Key, StringComparer.Ordinal)];
        _nothing = nothing;
    }

    /// <summary>Matches every object.</summary>
    public static LabelSelector Everything { get; } = new([]);

    /// <summary>Matches no object. Prints as the empty text, as on the wire; <see cref="IsNothing"/> tells it from everything.</summary>
    public static LabelSelector Nothing { get; } = new([], nothing: true);

    /// <summary>The terms, sorted by key.</summary>
    public IReadOnlyList<LabelRequirement> Requirements => _requirements;

    /// <summary>True if it matches every object.</summary>
    public bool IsEverything => _requirements.Length == 0 && !_nothing;

    /// <summary>True if it matches no object by construction.</summary>
    public bool IsNothing => _nothing;

    /// <summary>Reads the text form (grammar: <see cref="LabelSelectorParser"/>). The empty text selects everything.</summary>
    /// <exception cref="StatusException">400 with what cannot be understood.</exception>
    public static LabelSelector Parse(ReadOnlySpan<char> text) =>
        TryParse(text, out var selector, out var error) ? selector : throw new StatusException(StatusError.BadRequest(error));

    /// <summary>Reads the text form; the error is the message for a 400.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out LabelSelector selector, out string error)
    {
        if (text.IsWhiteSpace())
        {
            (selector, error) = (Everything, "");
            return true;
        }
        var requirements = new List<LabelRequirement>();
        var failure = new LabelSelectorParser(text).Run(requirements);
        selector = failure is null ? new LabelSelector(requirements) : Nothing;
        error = failure is null ? "" : "unable to parse requirement: " + failure;
        return failure is null;
    }

    /// <summary>
    /// Reads the object form (`matchLabels`, `matchExpressions`), collecting errors. Null selects nothing, the empty object everything.
    /// </summary>
    public static LabelSelector FromObject(JsonObject? selector, FieldPath path, FieldErrors errors)
    {
        if (selector is null)
            return Nothing;
        var requirements = new List<LabelRequirement>();
        if (selector.GetObject("matchLabels") is { } labels)
        {
            MetadataRules.ValidateLabels(labels, path.Child("matchLabels"), errors);
            foreach (var (key, value) in labels)
                requirements.Add(new LabelRequirement(key, LabelOperator.Equal, [JsonReading.AsString(value) ?? ""]));
        }
        foreach (var (index, expression) in selector.Items("matchExpressions"))
        {
            if (ReadExpression(expression, path.Child("matchExpressions").Index(index), errors) is { } requirement)
                requirements.Add(requirement);
        }
        return requirements.Count == 0 ? Everything : new LabelSelector(requirements);
    }

    /// <summary>Equality with every label of a map. An empty or absent map selects nothing, as for Services and ReplicationControllers.</summary>
    public static LabelSelector FromLabels(JsonObject? labels) => labels is null or { Count: 0 }
        ? Nothing
        : new LabelSelector(labels.Select(l => new LabelRequirement(l.Key, LabelOperator.Equal, [JsonReading.AsString(l.Value) ?? ""])));

    /// <summary>True if every term holds for labels in their cached form.</summary>
    public bool Matches(IReadOnlyList<KeyValuePair<string, string>> labels)
    {
        foreach (var requirement in _requirements)
        {
            if (!requirement.Matches(Find(labels, requirement.Key)))
                return false;
        }
        return !_nothing;
    }

    /// <summary>True if every term holds for a map of labels; null is a map without labels.</summary>
    public bool Matches(JsonObject? labels)
    {
        foreach (var requirement in _requirements)
        {
            if (!requirement.Matches(labels.GetString(requirement.Key)))
                return false;
        }
        return !_nothing;
    }

    /// <summary>The value to which the selector narrows a label, if it does: what an index may be asked for.</summary>
    public bool RequiresExactMatch(string key, out string value)
    {
        foreach (var requirement in _requirements)
        {
            if (requirement.Key == key && requirement.Operator is (LabelOperator.Equal or LabelOperator.In) && requirement.Values.Count == 1)
            {
                value = requirement.Values[0];
                return true;
            }
        }
        value = "";
        return false;
    }

    /// <summary>The canonical text form, e.g. `a=b,c in (d,e),!f,g`.</summary>
    public override string ToString()
    {
        if (_requirements.Length == 1)
            return _requirements[0].ToString();
        var text = new StringBuilder();
        foreach (var requirement in _requirements)
            text.Append(text.Length == 0 ? "" : ",").Append(requirement);
        return text.ToString();
    }

    internal static string? Find(IReadOnlyList<KeyValuePair<string, string>> labels, string key)
    {
        for (var i = 0; i < labels.Count; i++)
        {
            if (labels[i].Key == key)
                return labels[i].Value;
        }
        return null;
    }

    private static LabelRequirement? ReadExpression(JsonObject expression, FieldPath path, FieldErrors errors)
    {
        var key = expression.GetString("key") ?? "";
        var before = errors.All.Count;
        var values = expression.Strings("values").Order(StringComparer.Ordinal).ToArray();
        LabelOperator? found = null;
        switch (expression.GetString("operator"))
        {
            case "In" or "NotIn":
                found = expression.GetString("operator") == "In" ? LabelOperator.In : LabelOperator.NotIn;
                if (values.Length == 0)
                    errors.Required(path.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                break;
            case "Exists" or "DoesNotExist":
                found = expression.GetString("operator") == "Exists" ? LabelOperator.Exists : LabelOperator.DoesNotExist;
                if (values.Length > 0)
                    errors.Forbidden(path.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                break;
            default:
                errors.Invalid(path.Child("operator"), expression.GetString("operator") ?? "", "not a valid selector operator");
                break;
        }
        errors.InvalidIf(NameSyntax.QualifiedName(key), path.Child("key"), key);
        for (var i = 0; i < values.Length; i++)
            errors.InvalidIf(NameSyntax.LabelValue(values[i]), path.Child("values").Index(i), values[i]);
        return found is { } kind && errors.All.Count == before ? new LabelRequirement(key, kind, values) : null;
    }
}
