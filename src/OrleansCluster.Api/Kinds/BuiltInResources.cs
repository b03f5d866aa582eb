namespace OrleansCluster.Api;

/// <summary>The built-in kinds: one line each. Order is discovery's (wire contract, section 3).</summary>
public static class BuiltInResources
{
    /// <summary>All built-in resources.</summary>
    public static IReadOnlyList<ResourceDefinition> All { get; } =
    [
        ConfigMapStrategy.Definition,
        NamespaceStrategy.Definition,
        NodeStrategy.Definition,
        PodStrategy.Definition,
    ];
}
