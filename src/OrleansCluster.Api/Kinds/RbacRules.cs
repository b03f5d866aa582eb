using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>What the four RBAC kinds share: rules, subjects, and the reference to a role.</summary>
internal static class RbacRules
{
    public const string Group = "rbac.authorization.k8s.io";

    /// <summary>Columns of both bindings.</summary>
    public static IReadOnlyList<TableColumn> BindingColumns { get; } =
    [
        new("Name", Format: "name"), new("Role"), new("Age"), new("Users", Priority: 1), new("Groups", Priority: 1), new("ServiceAccounts", Priority: 1),
    ];

    /// <summary>Checks the rules of a role.</summary>
    public static void ValidateRules(JsonObject obj, bool namespaced, FieldErrors errors)
    {
        foreach (var (index, rule) in obj.Items("rules"))
        {
            var path = FieldPath.Root("rules").Index(index);
            if (IsEmpty(rule, "verbs"))
                errors.Required(path.Child("verbs"), "verbs must contain at least one value");
            if (!IsEmpty(rule, "nonResourceURLs"))
            {
                var urls = GoText.List(rule.Strings("nonResourceURLs"));
                if (namespaced)
                    errors.Invalid(path.Child("nonResourceURLs"), urls, "namespaced rules cannot apply to non-resource URLs");
                if (!IsEmpty(rule, "apiGroups") || !IsEmpty(rule, "resources") || !IsEmpty(rule, "resourceNames"))
                    errors.Invalid(path.Child("nonResourceURLs"), urls, "rules cannot apply to both regular resources and non-resource URLs");
                continue;
            }
            if (IsEmpty(rule, "apiGroups"))
                errors.Required(path.Child("apiGroups"), "resource rules must supply at least one api group");
            if (IsEmpty(rule, "resources"))
                errors.Required(path.Child("resources"), "resource rules must supply at least one resource");
        }
    }

    /// <summary>Fills the API groups of a binding's role and subjects.</summary>
    public static void DefaultBinding(JsonObject obj)
    {
        obj.GetObject("roleRef")?.SetDefault("apiGroup", Group);
        foreach (var (_, subject) in obj.Items("subjects"))
        {
            if (subject.GetString("kind") is "User" or "Group")
                subject.SetDefault("apiGroup", Group);
        }
    }

    /// <summary>Checks a binding.</summary>
    public static void ValidateBinding(JsonObject obj, bool namespaced, FieldErrors errors)
    {
        var role = obj.GetObject("roleRef");
        var path = FieldPath.Root("roleRef");
        if (role.GetString("apiGroup") is not Group and var group)
            errors.NotSupported(path.Child("apiGroup"), group ?? "", [Group]);
        string[] kinds = namespaced ? ["ClusterRole", "Role"] : ["ClusterRole"];
        var kind = role.GetString("kind") ?? "";
        if (!kinds.Contains(kind, StringComparer.Ordinal))
            errors.NotSupported(path.Child("kind"), kind, kinds);
        if (role.GetString("name") is not { Length: > 0 } name)
            errors.Required(path.Child("name"));
        else
            errors.InvalidIf(NameSyntax.PathSegment(name), path.Child("name"), name);
        foreach (var (index, subject) in obj.Items("subjects"))
            ValidateSubject(subject, namespaced, FieldPath.Root("subjects").Index(index), errors);
    }

    /// <summary>A binding's role is fixed: whoever may change the subjects may not thereby raise what they get.</summary>
    public static void ValidateBindingUpdate(JsonObject obj, JsonObject old, FieldErrors errors)
    {
        if (JsonNode.DeepEquals(obj["roleRef"], old["roleRef"]))
            return;
        var role = obj.GetObject("roleRef");
        errors.Invalid(FieldPath.Root("roleRef"),
            GoText.Bare($"rbac.RoleRef{{APIGroup:\"{role.GetString("apiGroup")}\", Kind:\"{role.GetString("kind")}\", Name:\"{role.GetString("name")}\"}}"),
            "cannot change roleRef");
    }

    /// <summary>Writes a binding's row.</summary>
    public static void WriteBindingRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add($"{obj.Text("roleRef", "kind")}/{obj.Text("roleRef", "name")}");
        row.AddAge(obj, now);
        row.Add(Subjects("User"));
        row.Add(Subjects("Group"));
        row.Add(Subjects("ServiceAccount"));

        string Subjects(string kind) => string.Join(", ", obj.Items("subjects").Where(s => s.Text("kind") == kind)
            .Select(s => kind == "ServiceAccount" ? $"{s.Text("namespace")}/{s.Text("name")}" : s.Text("name")));
    }

    private static void ValidateSubject(JsonObject subject, bool namespaced, FieldPath path, FieldErrors errors)
    {
        var name = subject.GetString("name") ?? "";
        if (name.Length == 0)
            errors.Required(path.Child("name"));
        var kind = subject.GetString("kind") ?? "";
        var group = subject.GetString("apiGroup") ?? "";
        switch (kind)
        {
            case "ServiceAccount":
                if (name.Length > 0)
                    errors.InvalidIf(NameSyntax.Subdomain(name), path.Child("name"), name);
                if (group.Length > 0)
                    errors.NotSupported(path.Child("apiGroup"), group, [""]);
                if (!namespaced && subject.GetString("namespace") is null or "")
                    errors.Required(path.Child("namespace"));
                break;
            case "User" or "Group":
                if (group != Group)
                    errors.NotSupported(path.Child("apiGroup"), group, [Group]);
                break;
            default:
                errors.NotSupported(path.Child("kind"), kind, ["Group", "ServiceAccount", "User"]);
                break;
        }
    }

    private static bool IsEmpty(JsonObject rule, string member) => rule.GetArray(member) is null or { Count: 0 };
}
