using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>ClusterRoleBindings (rbac.authorization.k8s.io/v1): who has a role everywhere.</summary>
internal sealed class ClusterRoleBindingStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = RbacRules.Group,
        Version = "v1",
        Kind = "ClusterRoleBinding",
        Plural = "clusterrolebindings",
        Singular = "clusterrolebinding",
        Namespaced = false,
        Columns = RbacRules.BindingColumns,
        AllowCreateOnUpdate = true,
        Strategy = new ClusterRoleBindingStrategy(),
    };

    public override NameRule NameRule => NameRule.PathSegment;

    public override void Default(JsonObject obj) => RbacRules.DefaultBinding(obj);

    public override void Validate(JsonObject obj, FieldErrors errors) => RbacRules.ValidateBinding(obj, namespaced: false, errors);

    public override void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors) => RbacRules.ValidateBindingUpdate(obj, old, errors);

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row) => RbacRules.WriteBindingRow(obj, now, row);
}
