using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>ClusterRoles (rbac.authorization.k8s.io/v1): what may be done anywhere, or, bound by a RoleBinding, in one namespace.</summary>
internal sealed class ClusterRoleStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = RbacRules.Group,
        Version = "v1",
        Kind = "ClusterRole",
        Plural = "clusterroles",
        Singular = "clusterrole",
        Namespaced = false,
        AllowCreateOnUpdate = true,
        Strategy = new ClusterRoleStrategy(),
    };

    public override NameRule NameRule => NameRule.PathSegment;

    public override void Validate(JsonObject obj, FieldErrors errors)
    {
        RbacRules.ValidateRules(obj, namespaced: false, errors);
        if (obj.GetObject("aggregationRule") is not { } aggregation)
            return;
        var path = FieldPath.Root("aggregationRule").Child("clusterRoleSelectors");
        if (aggregation.GetArray("clusterRoleSelectors") is null or { Count: 0 })
            errors.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        foreach (var (index, selector) in aggregation.Items("clusterRoleSelectors"))
            LabelSelector.FromObject(selector, path.Index(index), errors);
    }
}
