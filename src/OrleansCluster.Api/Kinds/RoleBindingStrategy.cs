using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>RoleBindings (rbac.authorization.k8s.io/v1): who has a role in one namespace.</summary>
internal sealed class RoleBindingStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = RbacRules.Group,
        Version = "v1",
        Kind = "RoleBinding",
        Plural = "rolebindings",
        Singular = "rolebinding",
        Namespaced = true,
        Columns = RbacRules.BindingColumns,
        AllowCreateOnUpdate = true,
        Strategy = new RoleBindingStrategy(),
    };

    public override NameRule NameRule => NameRule.PathSegment;

    public override void Default(JsonObject obj) => RbacRules.DefaultBinding(obj);

    public override void Validate(JsonObject obj, FieldErrors errors) => RbacRules.ValidateBinding(obj, namespaced: true, errors);

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors) => RbacRules.ValidateBindingUpdate(obj, old, errors);

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row) => RbacRules.WriteBindingRow(obj, now, row);
}
