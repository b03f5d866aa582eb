using k8s;
using k8s.Models;

namespace OrleansCluster.Testing.Tests.Support;

/// <summary>Objects as a user would write them, and questions about what came of them.</summary>
internal static class Manifests
{
    public static V1ConfigMap ConfigMap(string name) => new() { Metadata = new V1ObjectMeta { Name = name } };

    public static V1Pod Pod(string name, string cpu = "10m", IDictionary<string, string>? labels = null) => new()
    {
        Metadata = new V1ObjectMeta { Name = name, Labels = labels },
        Spec = PodSpec(cpu),
    };

    public static V1ReplicationController Controller(string name, int replicas, string cpu = "10m", int? evictAfterSeconds = null) => new()
    {
        Metadata = new V1ObjectMeta { Name = name },
        Spec = new V1ReplicationControllerSpec
        {
            Replicas = replicas,
            Selector = Labels(name),
            Template = new V1PodTemplateSpec
            {
                Metadata = new V1ObjectMeta { Labels = Labels(name) },
                Spec = PodSpec(cpu, evictAfterSeconds),
            },
        },
    };

    public static V1Service Service(string name, string app) => new()
    {
        Metadata = new V1ObjectMeta { Name = name },
        Spec = new V1ServiceSpec { Selector = Labels(app), Ports = [new V1ServicePort { Port = 80, TargetPort = 8080 }] },
    };

    public static IDictionary<string, string> Labels(string app) => new Dictionary<string, string>(StringComparer.Ordinal) { ["app"] = app };

    /// <summary>How many pods of an app run and are not about to end.</summary>
    public static int Running(this IEnumerable<V1Pod> pods, string app) => pods.Count(p => p.IsOf(app) && p.IsRunning());

    public static bool IsOf(this V1Pod pod, string app) =>
        pod.Metadata.Labels?.TryGetValue("app", out var value) == true && value == app;

    public static bool IsRunning(this V1Pod pod) => pod.Status?.Phase == "Running" && pod.Metadata.DeletionTimestamp is null
        && pod.Status.Conditions?.Any(c => c is { Type: "Ready", Status: "True" }) == true;

    /// <summary>Scales as kubectl does: a merge patch of the scale subresource.</summary>
    public static Task ScaleAsync(this TestCluster cluster, string controller, int replicas, CancellationToken cancellationToken) =>
        cluster.Kubernetes.PatchNamespacedReplicationControllerScaleAsync(
            new V1Patch($$$"""{"spec":{"replicas":{{{replicas}}}}}""", V1Patch.PatchType.MergePatch), controller, "default", cancellationToken: cancellationToken);

    private static V1PodSpec PodSpec(string cpu, int? evictAfterSeconds = null) => new()
    {
        Containers =
        [
            new V1Container
            {
                Name = "app",
                Image = "hello:1",
                Ports = [new V1ContainerPort { ContainerPort = 8080 }],
                Resources = new V1ResourceRequirements
                {
                    Requests = new Dictionary<string, ResourceQuantity>(StringComparer.Ordinal) { ["cpu"] = new(cpu), ["memory"] = new("16Mi") },
                },
            },
        ],
        TerminationGracePeriodSeconds = 1,
        Tolerations = evictAfterSeconds is { } seconds
            ?
            [
                new V1Toleration { Key = "node.kubernetes.io/unreachable", OperatorProperty = "Exists", Effect = "NoExecute", TolerationSeconds = seconds },
                new V1Toleration { Key = "node.kubernetes.io/not-ready", OperatorProperty = "Exists", Effect = "NoExecute", TolerationSeconds = seconds },
            ]
            : null,
    };
}
