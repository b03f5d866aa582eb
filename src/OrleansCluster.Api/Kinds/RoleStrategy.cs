using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Roles (rbac.authorization.k8s.io/v1): what may be done in one namespace.</summary>
internal sealed class RoleStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = RbacRules.Group,
        Version = "v1",
        Kind = "Role",
        Plural = "roles",
        Singular = "role",
        Namespaced = true,
        AllowCreateOnUpdate = true,
        Strategy = new RoleStrategy(),
    };

    public override NameRule NameRule => NameRule.PathSegment;

    public override void Validate(JsonObject obj, FieldErrors errors) =>
        RbacRules.ValidateRules(obj, namespaced: true, errors);
}
