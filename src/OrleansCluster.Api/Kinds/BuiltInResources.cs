namespace OrleansCluster.Api;

/// <summary>The built-in kinds: one line each. Order is discovery's (wire contract, section 3): groups in its order, plural names within one.</summary>
public static class BuiltInResources
{
    /// <summary>All built-in resources.</summary>
    public static IReadOnlyList<ResourceDefinition> All { get; } =
    [
        ConfigMapStrategy.Definition,
        EndpointsStrategy.Definition,
        EventStrategy.Definition,
        NamespaceStrategy.Definition,
        NodeStrategy.Definition,
        PodStrategy.Definition,
        ReplicationControllerStrategy.Definition,
        SecretStrategy.Definition,
        ServiceAccountStrategy.Definition,
        ServiceStrategy.Definition,
        ClusterRoleBindingStrategy.Definition,
        ClusterRoleStrategy.Definition,
        RoleBindingStrategy.Definition,
        RoleStrategy.Definition,
        LeaseStrategy.Definition,
        EndpointSliceStrategy.Definition,
    ];
}
