namespace OrleansCluster.EndToEnd.Harness;

/// <summary>Small manifests that several tests use.</summary>
internal static class Manifests
{
    /// <summary>A container's command that ends at once on SIGTERM, which a plain sleep as first process would ignore.</summary>
    public const string RunForever = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

    public static string Pod(string name, string script = RunForever, string extra = "") => $$"""
        apiVersion: v1
        kind: Pod
        metadata:
          name: {{name}}
          labels: {app: {{name}}}
        spec:
          containers:
          - name: main
            image: busybox:1.36
            command: [sh, -c, "{{script}}"]
        {{extra}}
        """;

    public static string ReplicationController(string name, int replicas, string podSpec = "") => $$"""
        apiVersion: v1
        kind: ReplicationController
        metadata:
          name: {{name}}
        spec:
          replicas: {{replicas}}
          selector: {app: {{name}}}
          template:
            metadata:
              labels: {app: {{name}}}
            spec:
              containers:
              - name: main
                image: busybox:1.36
                command: [sh, -c, "{{RunForever}}"]
        {{podSpec}}
        """;
}
