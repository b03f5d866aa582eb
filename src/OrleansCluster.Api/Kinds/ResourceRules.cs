using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Rules of resource names and amounts: of nodes, and of containers' requests and limits.</summary>
internal static class ResourceRules
{
    public const string Negative = "must be greater than or equal to 0";

    /// <summary>Amounts that are whole numbers and not negative, under qualified names.</summary>
    public static void ValidateAmounts(JsonObject? amounts, FieldPath path, FieldErrors errors)
    {
        foreach (var (name, value) in amounts ?? [])
        {
            errors.InvalidIf(NameSyntax.QualifiedName(name), path, name);
            if (TryRead(value, out var quantity) && quantity.Sign < 0)
                errors.Invalid(path.Key(name), quantity.ToString(), Negative);
        }
    }

    /// <summary>Requests and limits of one container.</summary>
    public static void ValidateRequirements(JsonObject? requirements, FieldPath path, FieldErrors errors)
    {
        var limits = requirements.GetObject("limits");
        var requests = requirements.GetObject("requests");
        ValidateNames(limits, path.Child("limits"), errors);
        ValidateNames(requests, path.Child("requests"), errors);
        foreach (var (name, value) in requests ?? [])
        {
            if (!TryRead(value, out var request))
                continue;
            var overcommits = !name.StartsWith("hugepages-", StringComparison.Ordinal) && IsNative(name);
            if (!TryRead(limits?[name], out var limit))
            {
                if (!overcommits)
                    errors.Required(path.Child("limits"), "Limit must be set for non overcommitable resources");
            }
            else if (!overcommits && request != limit)
            {
                errors.Invalid(path.Child("requests"), request.ToString(), $"must be equal to {name} limit of {limit}");
            }
            else if (request > limit)
            {
                errors.Invalid(path.Child("requests"), request.ToString(), $"must be less than or equal to {name} limit of {limit}");
            }
        }
    }

    /// <summary>Reads an amount, which JSON may also give as a number.</summary>
    public static bool TryRead(JsonNode? node, out Quantity quantity)
    {
        quantity = default;
        return node is JsonValue && Quantity.TryParse(JsonReading.AsString(node) ?? node.ToJsonString(), out quantity);
    }

    private static void ValidateNames(JsonObject? amounts, FieldPath path, FieldErrors errors)
    {
        foreach (var (name, value) in amounts ?? [])
        {
            var key = path.Key(name);
            if (NameSyntax.QualifiedName(name) is { } wrong)
            {
                errors.Invalid(key, name, wrong);
            }
            else if (IsNative(name) && name is not ("cpu" or "memory" or "ephemeral-storage") && !name.StartsWith("hugepages-", StringComparison.Ordinal))
            {
                errors.Invalid(key, name, name.Contains('/', StringComparison.Ordinal)
                    ? "must be a standard resource for containers"
                    : "must be a standard resource type or fully qualified");
            }
            if (TryRead(value, out var quantity))
            {
                if (quantity.Sign < 0)
                    errors.Invalid(key, quantity.ToString(), Negative);
                else if (!IsNative(name) && quantity.MilliValue % 1000 != 0)
                    errors.Invalid(key, quantity.ToString(), "must be an integer");
            }
        }
    }

    // Native resources have no domain, or one of kubernetes.io; all others are extended ones, counted in whole units.
    private static bool IsNative(string name)
    {
        var slash = name.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 || name.AsSpan(0, slash).EndsWith("kubernetes.io", StringComparison.Ordinal);
    }
}
