using System.Collections.Frozen;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>Who may do what, by subject. Immutable.</summary>
internal sealed class RbacIndex
{
    private readonly FrozenDictionary<string, Grant[]> _byUser;
    private readonly FrozenDictionary<string, Grant[]> _byGroup;
    private readonly FrozenDictionary<string, IReadOnlyList<PolicyRule>> _roles;

    private RbacIndex(
        Dictionary<string, List<Grant>> byUser, Dictionary<string, List<Grant>> byGroup, Dictionary<string, IReadOnlyList<PolicyRule>> roles)
    {
        _byUser = byUser.ToFrozenDictionary(p => p.Key, p => p.Value.ToArray(), StringComparer.Ordinal);
        _byGroup = byGroup.ToFrozenDictionary(p => p.Key, p => p.Value.ToArray(), StringComparer.Ordinal);
        _roles = roles.ToFrozenDictionary(StringComparer.Ordinal);
    }

    /// <summary>The index of the default roles and bindings alone.</summary>
    public static RbacIndex FromDefaults() =>
        Compile(
            [], [.. DefaultRoles.ClusterRoles().Select(r => new RoleObject("", r))],
            [], [.. DefaultRoles.ClusterRoleBindings().Select(b => new RoleObject("", b))]);

    /// <summary>Compiles the objects of four caches.</summary>
    public static RbacIndex Compile(ICacheSnapshot roles, ICacheSnapshot clusterRoles, ICacheSnapshot roleBindings, ICacheSnapshot clusterRoleBindings) =>
        Compile(Parse(roles), Parse(clusterRoles), Parse(roleBindings), Parse(clusterRoleBindings));

    /// <summary>Decides.</summary>
    public AccessDecision Authorize(UserInfo user, in AccessAttributes access)
    {
        if (_byUser.TryGetValue(user.Name, out var own) && Find(own, access) is { } byName)
            return new AccessDecision(true, byName.Reason);
        foreach (var group in user.Groups)
        {
            if (_byGroup.TryGetValue(group, out var grants) && Find(grants, access) is { } byGroup)
                return new AccessDecision(true, byGroup.Reason);
        }
        return new AccessDecision(false);
    }

    /// <summary>All rules a user holds in a namespace or, with the empty string, cluster-wide.</summary>
    public IReadOnlyList<PolicyRule> RulesFor(UserInfo user, string @namespace)
    {
        var rules = new List<PolicyRule>();
        Add(_byUser.GetValueOrDefault(user.Name));
        foreach (var group in user.Groups)
            Add(_byGroup.GetValueOrDefault(group));
        return rules;

        void Add(Grant[]? grants)
        {
            foreach (var grant in grants ?? [])
            {
                if (grant.Namespace.Length == 0 || grant.Namespace == @namespace)
                    rules.AddRange(grant.Rules);
            }
        }
    }

    /// <summary>The rules of a role, or null.</summary>
    public IReadOnlyList<PolicyRule>? RulesOfRole(string kind, string @namespace, string name) =>
        _roles.GetValueOrDefault(RoleKey(kind, @namespace, name));

    private static Grant? Find(Grant[] grants, in AccessAttributes access)
    {
        foreach (var grant in grants)
        {
            // A grant inside a namespace says nothing about paths or other namespaces.
            if (grant.Namespace.Length > 0 && (access.Path is not null || grant.Namespace != access.Namespace))
                continue;
            foreach (var rule in grant.Rules)
            {
                if (rule.Allows(access))
                    return grant;
            }
        }
        return null;
    }

    private static RbacIndex Compile(
        IReadOnlyList<RoleObject> roles, IReadOnlyList<RoleObject> clusterRoles, IReadOnlyList<RoleObject> roleBindings,
        IReadOnlyList<RoleObject> clusterRoleBindings)
    {
        var rules = new Dictionary<string, IReadOnlyList<PolicyRule>>(StringComparer.Ordinal);
        foreach (var role in roles)
            rules[RoleKey("Role", role.Namespace, role.Name)] = PolicyRule.ReadAll(role.Object["rules"]);
        foreach (var role in clusterRoles)
            rules[RoleKey("ClusterRole", "", role.Name)] = RulesOf(role, clusterRoles);

        var byUser = new Dictionary<string, List<Grant>>(StringComparer.Ordinal);
        var byGroup = new Dictionary<string, List<Grant>>(StringComparer.Ordinal);
        foreach (var binding in clusterRoleBindings)
            Bind(binding, "ClusterRoleBinding");
        foreach (var binding in roleBindings)
            Bind(binding, "RoleBinding");
        return new RbacIndex(byUser, byGroup, rules);

        void Bind(RoleObject binding, string kind)
        {
            if (binding.Object["roleRef"] is not JsonObject reference || binding.Object["subjects"] is not JsonArray subjects)
                return;
            var roleKind = Text(reference, "kind");
            // A ClusterRoleBinding cannot name a Role: it would have no namespace to be looked up in.
            if (roleKind is not ("Role" or "ClusterRole") || (roleKind == "Role" && binding.Namespace.Length == 0))
                return;
            var roleName = Text(reference, "name");
            if (!rules.TryGetValue(RoleKey(roleKind, binding.Namespace, roleName), out var roleRules) || roleRules.Count == 0)
                return;
            foreach (var node in subjects)
            {
                if (node is not JsonObject subject)
                    continue;
                var subjectKind = Text(subject, "kind");
                var name = Text(subject, "name");
                var reason = $"RBAC: allowed by {kind} \"{binding.QualifiedName}\" of {roleKind} \"{roleName}\" to {subjectKind} \"{name}\"";
                var grant = new Grant(binding.Namespace, roleRules, reason);
                switch (subjectKind)
                {
                    case "User":
                        Add(byUser, name, grant);
                        break;
                    case "Group":
                        Add(byGroup, name, grant);
                        break;
                    case "ServiceAccount":
                        var ns = Text(subject, "namespace") is { Length: > 0 } given ? given : binding.Namespace;
                        if (ns.Length > 0)
                            Add(byUser, $"system:serviceaccount:{ns}:{name}", grant);
                        break;
                }
            }
        }
    }

    private static IReadOnlyList<PolicyRule> RulesOf(RoleObject role, IReadOnlyList<RoleObject> clusterRoles)
    {
        if (role.Object["aggregationRule"] is null)
            return PolicyRule.ReadAll(role.Object["rules"]);
        // Aggregated roles hold the rules of the roles they select, also through each other (admin selects edit, which selects view),
        // whether or not somebody has written them down yet.
        var union = new List<PolicyRule>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        Collect(role);
        return union;

        void Collect(RoleObject one)
        {
            if (!seen.Add(one.Name))
                return;
            union.AddRange(PolicyRule.ReadAll(one.Object["rules"]));
            foreach (var node in one.Object["aggregationRule"]?["clusterRoleSelectors"] as JsonArray ?? [])
            {
                var selector = LabelSelector.FromObject(node as JsonObject, FieldPath.Root("clusterRoleSelectors"), new FieldErrors());
                foreach (var other in clusterRoles)
                {
                    if (selector.Matches(other.Object["metadata"]?["labels"] as JsonObject))
                        Collect(other);
                }
            }
        }
    }

    private static List<RoleObject> Parse(ICacheSnapshot snapshot)
    {
        var objects = new List<RoleObject>(snapshot.Count);
        foreach (var item in snapshot.Enumerate())
            objects.Add(new RoleObject(item.Key.Namespace, CanonicalJson.Parse(item.Bytes.Span)));
        return objects;
    }

    private static string RoleKey(string kind, string @namespace, string name) => kind == "Role" ? $"{@namespace}/{name}" : "/" + name;

    private static void Add(Dictionary<string, List<Grant>> index, string subject, Grant grant)
    {
        if (!index.TryGetValue(subject, out var grants))
            index.Add(subject, grants = []);
        grants.Add(grant);
    }

    private static string Text(JsonObject obj, string member) =>
        obj[member] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";

    private sealed record Grant(string Namespace, IReadOnlyList<PolicyRule> Rules, string Reason);

    private sealed record RoleObject(string Namespace, JsonObject Object)
    {
        public string Name { get; } = (string?)Object["metadata"]?["name"] ?? "";

        public string QualifiedName => Namespace.Length == 0 ? Name : $"{Name}/{Namespace}";
    }
}
