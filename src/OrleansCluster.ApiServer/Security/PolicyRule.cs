using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer;

/// <summary>What somebody wants to do: the question to the authorizer.</summary>
/// <param name="Verb">RBAC verb, or the lower-case HTTP method for a path.</param>
/// <param name="Group">API group.</param>
/// <param name="Resource">`resource` or `resource/subresource`.</param>
/// <param name="Namespace">Namespace, empty for cluster scope.</param>
/// <param name="Name">Object name, empty for all.</param>
/// <param name="Path">Set for a path that is no resource.</param>
internal readonly record struct AccessAttributes(
    string Verb, string Group, string Resource, string Namespace, string Name, string? Path = null)
{
    /// <summary>A path that is no resource.</summary>
    public static AccessAttributes ForPath(string verb, string path) => new(verb, "", "", "", "", path);
}

/// <summary>One rule of a role (wire: `PolicyRule`). Immutable.</summary>
internal sealed record PolicyRule
{
    public IReadOnlyList<string> Verbs { get; init; } = [];
    public IReadOnlyList<string> ApiGroups { get; init; } = [];
    public IReadOnlyList<string> Resources { get; init; } = [];
    public IReadOnlyList<string> ResourceNames { get; init; } = [];
    public IReadOnlyList<string> NonResourceUrls { get; init; } = [];

    /// <summary>True if the rule permits it.</summary>
    public bool Allows(in AccessAttributes access)
    {
        if (!Has(Verbs, access.Verb))
            return false;
        if (access.Path is { } path)
            return AllowsPath(path);
        return Has(ApiGroups, access.Group)
            && AllowsResource(access.Resource)
            && (ResourceNames.Count == 0 || Contains(ResourceNames, access.Name));
    }

    /// <summary>
    /// True if this rule permits everything that <paramref name="other"/> does, where that is a rule with one verb, group, resource (or URL) and at
    /// most one name, as <see cref="Split"/> makes them.
    /// </summary>
    public bool Covers(PolicyRule other)
    {
        if (!Has(Verbs, other.Verbs[0]))
            return false;
        if (other.NonResourceUrls.Count > 0)
            return AllowsPath(other.NonResourceUrls[0]);
        return NonResourceUrls.Count == 0
            && Has(ApiGroups, other.ApiGroups[0])
            && AllowsResource(other.Resources[0])
            && (ResourceNames.Count == 0 || (other.ResourceNames.Count > 0 && Contains(ResourceNames, other.ResourceNames[0])));
    }

    /// <summary>The rule as single permissions.</summary>
    public IEnumerable<PolicyRule> Split()
    {
        foreach (var verb in Verbs)
        {
            foreach (var url in NonResourceUrls)
                yield return new PolicyRule { Verbs = [verb], NonResourceUrls = [url] };
            foreach (var group in ApiGroups)
            {
                foreach (var resource in Resources)
                {
                    if (ResourceNames.Count == 0)
                        yield return new PolicyRule { Verbs = [verb], ApiGroups = [group], Resources = [resource] };
                    foreach (var name in ResourceNames)
                        yield return new PolicyRule { Verbs = [verb], ApiGroups = [group], Resources = [resource], ResourceNames = [name] };
                }
            }
        }
    }

    /// <summary>The rules of a role object; what has a wrong form grants nothing.</summary>
    public static IReadOnlyList<PolicyRule> ReadAll(JsonNode? rules)
    {
        if (rules is not JsonArray array)
            return [];
        var result = new List<PolicyRule>(array.Count);
        foreach (var node in array)
        {
            if (node is not JsonObject rule)
                continue;
            result.Add(new PolicyRule
            {
                Verbs = Strings(rule["verbs"]),
                ApiGroups = Strings(rule["apiGroups"]),
                Resources = Strings(rule["resources"]),
                ResourceNames = Strings(rule["resourceNames"]),
                NonResourceUrls = Strings(rule["nonResourceURLs"]),
            });
        }
        return result;
    }

    /// <summary>The rule as it stands in a role.</summary>
    public JsonObject ToJson()
    {
        var rule = new JsonObject { ["verbs"] = Array(Verbs) };
        if (ApiGroups.Count > 0)
            rule["apiGroups"] = Array(ApiGroups);
        if (Resources.Count > 0)
            rule["resources"] = Array(Resources);
        if (ResourceNames.Count > 0)
            rule["resourceNames"] = Array(ResourceNames);
        if (NonResourceUrls.Count > 0)
            rule["nonResourceURLs"] = Array(NonResourceUrls);
        return rule;
    }

    /// <summary>The form in which a refusal names the rule.</summary>
    public override string ToString()
    {
        var parts = new List<string>();
        Add("APIGroups", ApiGroups);
        Add("Resources", Resources);
        Add("ResourceNames", ResourceNames);
        Add("NonResourceURLs", NonResourceUrls);
        Add("Verbs", Verbs);
        return $"{{{string.Join(", ", parts)}}}";

        void Add(string name, IReadOnlyList<string> values)
        {
            if (values.Count > 0)
                parts.Add($"{name}:[{string.Join(" ", values.Select(v => $"\"{v}\""))}]");
        }
    }

    private bool AllowsResource(string resource)
    {
        foreach (var candidate in Resources)
        {
            if (candidate == "*" || candidate == resource)
                return true;
            // `*/scale` is that subresource of every resource.
            if (candidate.StartsWith("*/", StringComparison.Ordinal) && resource.EndsWith(candidate[1..], StringComparison.Ordinal)
                && resource.IndexOf('/', StringComparison.Ordinal) == resource.Length - candidate.Length + 1)
            {
                return true;
            }
        }
        return false;
    }

    private bool AllowsPath(string path)
    {
        foreach (var url in NonResourceUrls)
        {
            if (url == "*" || url == path || (url.EndsWith('*') && path.StartsWith(url[..^1], StringComparison.Ordinal)))
                return true;
        }
        return false;
    }

    private static bool Has(IReadOnlyList<string> values, string value)
    {
        foreach (var candidate in values)
        {
            if (candidate == "*" || candidate == value)
                return true;
        }
        return false;
    }

    private static bool Contains(IReadOnlyList<string> values, string value)
    {
        foreach (var candidate in values)
        {
            if (candidate == value)
                return true;
        }
        return false;
    }

    private static List<string> Strings(JsonNode? node)
    {
        var result = new List<string>();
        foreach (var item in node as JsonArray ?? [])
        {
            if (item is JsonValue value && value.TryGetValue<string>(out var text))
                result.Add(text);
        }
        return result;
    }

    private static JsonArray Array(IReadOnlyList<string> values)
    {
        var array = new JsonArray();
        foreach (var value in values)
            array.Add((JsonNode)value);
        return array;
    }
}
