namespace OrleansCluster.Api;

/// <summary>Who makes a request, as authentication found it (wire name: `authentication.k8s.io/v1 UserInfo`).</summary>
/// <param name="Name">User name, e.g. `kubernetes-admin` or `system:serviceaccount:ns:name`.</param>
/// <param name="Groups">Groups, `system:authenticated` or `system:unauthenticated` included.</param>
/// <param name="Uid">Stable id where the authenticator knows one, else empty.</param>
public sealed record UserInfo(string Name, IReadOnlyList<string> Groups, string Uid = "")
{
    /// <summary>The group that passes every authorization check.</summary>
    public const string MastersGroup = "system:masters";

    /// <summary>An unauthenticated caller.</summary>
    public static UserInfo Anonymous { get; } = new("system:anonymous", ["system:unauthenticated"]);

    /// <summary>The control plane itself: its controllers, its scheduler and its node grains.</summary>
    public static UserInfo ControlPlane { get; } = new("system:kube-controller-manager", [MastersGroup, "system:authenticated"]);

    /// <summary>The node agent of one node.</summary>
    public static UserInfo Node(string node) => new("system:node:" + node, ["system:nodes", "system:authenticated"]);
}
