using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>What a pod's manifest asks for, seen from inside its real containers.</summary>
public sealed class ContainerTests(DockerCluster fixture) : ClusterTests(fixture), IClassFixture<DockerCluster>
{
    [Fact]
    public async Task Configuration_reaches_containers_as_variables_and_as_files()
    {
        await Kubectl.RunAsync("create configmap settings --from-literal=color=blue --from-literal=size=large");
        await Kubectl.RunAsync("create secret generic keys --from-literal=password=open-sesame");
        await Kubectl.ApplyAsync("""
            apiVersion: v1
            kind: Pod
            metadata: {name: configured, labels: {app: configured}}
            spec:
              restartPolicy: Never
              containers:
              - name: main
                image: busybox:1.36
                command: [sh, -c, "echo $COLOR $PASSWORD $NAME $WHERE $TWICE; cat /settings/size /keys/password"]
                env:
                - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
                - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
                - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
                - {name: WHERE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
                - {name: TWICE, value: "$(COLOR)-$(COLOR)"}
                volumeMounts:
                - {name: settings, mountPath: /settings}
                - {name: keys, mountPath: /keys}
              volumes:
              - {name: settings, configMap: {name: settings}}
              - {name: keys, secret: {secretName: keys}}
            """);

        await PhaseAsync("configured", "Succeeded");
        string log = await Kubectl.RunAsync("logs configured");

        Assert.Equal("blue open-sesame configured default blue-blue\nlargeopen-sesame", log.Trim());
    }

    [Fact]
    public async Task Containers_of_a_pod_share_its_network_and_an_empty_directory()
    {
        await Kubectl.ApplyAsync($$$"""
            apiVersion: v1
            kind: Pod
            metadata: {name: shared, labels: {app: shared}}
            spec:
              containers:
              - name: server
                image: busybox:1.36
                command: [sh, -c, "echo from the volume > /data/index.html; trap 'exit 0' TERM; httpd -f -p 8080 -h /data & wait $!"]
                volumeMounts: [{name: data, mountPath: /data}]
              - name: client
                image: busybox:1.36
                command: [sh, -c, "{{{Manifests.RunForever}}}"]
                volumeMounts: [{name: data, mountPath: /seen}]
              volumes:
              - {name: data, emptyDir: {}}
            """);
        await Cluster.EventuallyPodsAsync("both run", "-l app=shared", pods => pods is [{ Serves: true }]);

        string file = await Kubectl.RunAsync("exec shared -c client -- cat /seen/index.html");
        string page = await Eventually.GetAsync(
            "the server listens", _ => Kubectl.RunAsync("exec shared -c client -- wget -q -O - http://127.0.0.1:8080/"), text => text.Length > 0);

        Assert.Equal(("from the volume\n", "from the volume\n"), (file, page));
    }

    [Fact]
    public async Task An_image_that_does_not_exist_is_reported_and_retried_with_back_off()
    {
        await Kubectl.ApplyAsync(Manifests.Pod("imageless").Replace("busybox:1.36", "no-such-image-anywhere:1.0", StringComparison.Ordinal));

        await Cluster.EventuallyPodsAsync(
            "the pull has failed",
            "-l app=imageless",
            pods => pods is [{ WaitingReasons: ["ImagePullBackOff" or "ErrImagePull"] }]);
        string text = await Eventually.GetAsync(
            "the pull waits before its next attempt",
            _ => Kubectl.RunAsync("describe pod imageless"),
            description => description.Contains("Back-off pulling image \"no-such-image-anywhere:1.0\"", StringComparison.Ordinal));

        Assert.Contains("Failed to pull image \"no-such-image-anywhere:1.0\"", text, StringComparison.Ordinal);
        Assert.Contains("Error: ErrImagePull", text, StringComparison.Ordinal);
        Assert.Matches(@"^imageless\s+0/1\s+(ImagePullBackOff|ErrImagePull)\s+0\s", await Kubectl.RunAsync("get pod imageless --no-headers"));
    }

    [Fact]
    public async Task A_container_that_keeps_failing_is_restarted_with_growing_pauses()
    {
        await Kubectl.ApplyAsync(Manifests.Pod("looping", "exit 3"));

        await Cluster.EventuallyPodsAsync(
            "it waits in back-off", "-l app=looping", pods => pods is [{ Restarts: >= 1, WaitingReasons: ["CrashLoopBackOff"] }]);
        JsonNode pod = await Kubectl.GetAsync("pod looping");
        string text = await Kubectl.RunAsync("describe pod looping");

        Assert.Equal(3, (int)pod["status"]!["containerStatuses"]![0]!["lastState"]!["terminated"]!["exitCode"]!);
        Assert.Contains("Back-off restarting failed container main in pod looping_default", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("succeeds", "Never", "exit 0", "Succeeded", 0)]
    [InlineData("fails", "Never", "exit 5", "Failed", 0)]
    [InlineData("second-try", "OnFailure", "test -f /kept/tried && exit 0; touch /kept/tried; exit 1", "Succeeded", 1)]
    public async Task The_restart_policy_decides_what_follows_an_exit(string name, string policy, string script, string phase, int restarts)
    {
        await Kubectl.ApplyAsync(Manifests.Pod(name, script, $$$"""
                volumeMounts:
                - {name: kept, mountPath: /kept}
              restartPolicy: {{{policy}}}
              volumes:
              - {name: kept, emptyDir: {}}
            """));

        Pod pod = await PhaseAsync(name, phase);

        Assert.Equal(restarts, pod.Restarts);
    }

    [Fact]
    public async Task A_failing_liveness_probe_restarts_the_container()
    {
        await Kubectl.ApplyAsync(Manifests.Pod(
            "unwell",
            "touch /tmp/well; sleep 3; rm /tmp/well; " + Manifests.RunForever,
            """
                livenessProbe:
                  exec: {command: [test, -f, /tmp/well]}
                  periodSeconds: 1
                  failureThreshold: 2
            """));

        await Cluster.EventuallyPodsAsync("it was restarted", "-l app=unwell", pods => pods is [{ Restarts: >= 1 }]);
        string text = await Kubectl.RunAsync("describe pod unwell");

        Assert.Contains("Liveness probe failed", text, StringComparison.Ordinal);
        Assert.Contains("Container main failed liveness probe, will be restarted", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_pod_that_is_not_ready_gets_no_requests_and_is_not_restarted()
    {
        await Kubectl.ApplyAsync("""
            apiVersion: v1
            kind: Service
            metadata: {name: moody}
            spec: {selector: {app: moody}, ports: [{port: 80, targetPort: 8080}]}
            """);
        await Kubectl.ApplyAsync(Manifests.Pod(
            "moody",
            "mkdir -p /www; touch /www/ready; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait $!",
            """
                readinessProbe:
                  httpGet: {path: /ready, port: 8080}
                  periodSeconds: 1
                  failureThreshold: 1
            """));
        Pod pod = (await Cluster.EventuallyPodsAsync("it is ready", "-l app=moody", pods => pods is [{ Serves: true }]))[0];
        await EndpointsAsync("moody", text => text.Contains($"{pod.Ip}:8080", StringComparison.Ordinal));

        await Kubectl.RunAsync("exec moody -- rm /www/ready");
        await Cluster.EventuallyPodsAsync("it is not ready", "-l app=moody", pods => pods is [{ IsReady: false, Phase: "Running" }]);
        await EndpointsAsync("moody", text => !text.Contains(":8080", StringComparison.Ordinal));
        await Kubectl.RunAsync("exec moody -- touch /www/ready");
        pod = (await Cluster.EventuallyPodsAsync("it is ready again", "-l app=moody", pods => pods is [{ Serves: true }]))[0];

        Assert.Equal(0, pod.Restarts);
    }

    [Fact]
    public async Task Deleting_a_pod_runs_its_hook_then_sends_term_and_waits_for_its_end()
    {
        string folder = Directory.CreateTempSubdirectory("orleanscluster-grace-").FullName;
        try
        {
            await Kubectl.ApplyAsync($$$"""
                apiVersion: v1
                kind: Pod
                metadata: {name: graceful, labels: {app: graceful}}
                spec:
                  containers:
                  - name: main
                    image: busybox:1.36
                    command: [sh, -c, "trap 'echo term >> /out/log; sleep 1; echo end >> /out/log; exit 0' TERM; while :; do sleep 1 & wait $!; done"]
                    lifecycle: {preStop: {exec: {command: [sh, -c, "echo hook >> /out/log"]} } }
                    volumeMounts: [{name: out, mountPath: /out}]
                  volumes:
                  - {name: out, hostPath: {path: {{{folder}}}}}
                """);
            await Cluster.EventuallyPodsAsync("it runs", "-l app=graceful", pods => pods is [{ Serves: true }]);

            await Kubectl.RunAsync("delete pod graceful");

            Assert.Equal("hook\nterm\nend\n", await File.ReadAllTextAsync(Path.Combine(folder, "log"), TestContext.Current.CancellationToken));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task A_container_above_its_memory_limit_is_killed_and_says_so()
    {
        await Kubectl.ApplyAsync(Manifests.Pod(
            "greedy", "exec tail /dev/zero", "    resources: {limits: {memory: 32Mi}}\n  restartPolicy: Never"));

        await PhaseAsync("greedy", "Failed");
        JsonNode state = (await Kubectl.GetAsync("pod greedy"))["status"]!["containerStatuses"]![0]!["state"]!["terminated"]!;

        Assert.Equal(("OOMKilled", 137), ((string?)state["reason"], (int)state["exitCode"]!));
    }

    private async Task<Pod> PhaseAsync(string name, string phase) =>
        (await Cluster.EventuallyPodsAsync(
            $"{name} is {phase}", $"-l app={name}", pods => pods is [{ } pod] && pod.Phase == phase, TimeSpan.FromSeconds(90)))[0];

    private Task<string> EndpointsAsync(string name, Func<string, bool> holds) =>
        Eventually.GetAsync("the endpoints follow", _ => Kubectl.RunAsync($"get endpoints {name} --no-headers"), holds);
}
