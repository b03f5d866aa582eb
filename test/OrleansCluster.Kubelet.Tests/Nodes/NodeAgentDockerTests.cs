using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Tests.Runtime;
using OrleansCluster.Kubelet.Tests.Support;
using static OrleansCluster.Kubelet.Tests.Support.PodJsonBuilder;

namespace OrleansCluster.Kubelet.Tests.Nodes;

/// <summary>What only real containers can show. Each test has a node of its own on the engine.</summary>
[Trait("Category", "Docker")]
public sealed class NodeAgentDockerTests : IAsyncLifetime
{
    private readonly FakeControlPlane _controlPlane = new();
    private readonly TemporaryDirectory _directory = new();
    private DockerNode? _engine;
    private Prober? _prober;
    private TestNode? _node;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _engine = await DockerNode.StartAsync();
        _prober = new Prober(_engine.Runtime, TimeProvider.System);
        await StartAgentAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_node is not null)
            await _node.DisposeAsync();
        _prober?.Dispose();
        if (_engine is not null)
            await _engine.DisposeAsync();
        _directory.Dispose();
    }

    private async Task StartAgentAsync() => _node = await TestNode.StartAsync(
        _controlPlane, TimeProvider.System, _engine!.Runtime, _prober, _directory.Path);

    private static JsonObject Shell(string name, string script, JsonArray? env = null)
    {
        var container = Container(name, DockerNode.Image).With("command", new JsonArray("sh", "-c", script));
        return env is null ? container : container.With("env", env);
    }

    private const string Forever = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

    private static JsonNode? StatusOf(JsonObject pod, int index = 0) => pod["status"]!["containerStatuses"]?[index];

    private static JsonObject Mounted(JsonObject container, string volume, string path, string? subPath = null)
    {
        var mount = new JsonObject { ["name"] = volume, ["mountPath"] = path };
        if (subPath is not null)
            mount["subPath"] = subPath;
        if (container["volumeMounts"] is JsonArray mounts)
            mounts.Add((JsonNode)mount);
        else
            container["volumeMounts"] = new JsonArray(mount);
        return container;
    }

    private static JsonObject WithVolumes(JsonObject pod, params JsonObject[] volumes)
    {
        pod.Spec()["volumes"] = new JsonArray([.. volumes.Select(volume => (JsonNode)volume)]);
        return pod;
    }

    private async Task<string> LogAsync(string container, bool previous = false)
    {
        var streams = _node!.Agent.Find("default", "web")!.Streams().Containers.Single(c => c.Name == container);
        using var log = new MemoryStream();
        await _engine!.Runtime.ReadLogsAsync((previous ? streams.PreviousContainerId : streams.ContainerId)!, new LogQuery(), log, log, Stop);
        return System.Text.Encoding.UTF8.GetString(log.ToArray());
    }

    /// <summary>Output reaches the log a little after it was written.</summary>
    private async Task LogIsAsync(string container, string expected)
    {
        var limit = DateTime.UtcNow.AddSeconds(10);
        var log = await LogAsync(container);
        while (log.Length < expected.Length && DateTime.UtcNow < limit)
        {
            await Task.Delay(20, Stop);
            log = await LogAsync(container);
        }
        Assert.Equal(expected, log);
    }

    [Fact]
    public async Task Pod_runs_with_its_environment_names_and_address_and_goes_without_a_trace()
    {
        _controlPlane.Put("services", new JsonObject
        {
            ["metadata"] = new JsonObject { ["name"] = "redis-leader", ["namespace"] = "default" },
            ["spec"] = new JsonObject
            {
                ["clusterIP"] = "10.96.0.7",
                ["ports"] = new JsonArray(new JsonObject { ["name"] = "redis", ["port"] = 6379, ["protocol"] = "TCP" }),
            },
        });
        var env = new JsonArray(
            new JsonObject { ["name"] = "A", ["value"] = "1" },
            new JsonObject { ["name"] = "B", ["value"] = "$(A)-$(REDIS_LEADER_SERVICE_HOST)-$$(A)-$(NONE)" },
            new JsonObject { ["name"] = "IP", ["valueFrom"] = new JsonObject { ["fieldRef"] = new JsonObject { ["fieldPath"] = "status.podIP" } } });
        await _controlPlane.PushAsync(Pod(containers: Shell("c", $"echo $B; echo $IP; hostname; grep $IP /etc/hosts; echo $REDIS_LEADER_PORT_6379_TCP; {Forever}", env)));
        await _controlPlane.WaitForReadyAsync("web");
        var pod = _controlPlane.Find("pods", "default", "web")!;
        var ip = (string)pod["status"]!["podIP"]!;
        await LogIsAsync("c", $"1-10.96.0.7-$(A)-$(NONE)\n{ip}\nweb\n{ip}\tweb\ntcp://10.96.0.7:6379\n");
        Assert.StartsWith("docker://", (string?)StatusOf(pod)!["containerID"], StringComparison.Ordinal);
        Assert.StartsWith("docker://sha256:", (string?)StatusOf(pod)!["imageID"], StringComparison.Ordinal);

        await _controlPlane.DeleteAsync("web");
        await _controlPlane.WaitAsync(() => _controlPlane.Find("pods", "default", "web") is null, "the pod to go");
        Assert.Empty(await _engine!.Runtime.ListContainersAsync(Stop));
        Assert.Empty(await _engine.Runtime.ListSandboxesAsync(Stop));
        Assert.Empty(Directory.GetDirectories(Path.Combine(_directory.Path, "pods")));
    }

    [Fact]
    public async Task Killed_container_is_restarted_with_its_count_and_last_state()
    {
        await _controlPlane.PushAsync(Pod(containers: Shell("c", "echo started; " + Forever)));
        await _controlPlane.WaitForReadyAsync("web");
        var id = _node!.Agent.Find("default", "web")!.Streams().Containers[0].ContainerId!;
        await _engine!.Runtime.KillContainerAsync(id, Stop);
        await _controlPlane.WaitForPodAsync("web", pod => (int?)StatusOf(pod)?["restartCount"] == 1 && FakeControlPlane.IsReady(pod), "to be restarted");
        var last = StatusOf(_controlPlane.Find("pods", "default", "web")!)!["lastState"]!["terminated"]!;
        Assert.Equal(137, (int)last["exitCode"]!);
        Assert.Equal("Error", (string?)last["reason"]);
        Assert.Equal("docker://" + id, (string?)last["containerID"]);
        Assert.Equal("started\n", await LogAsync("c", previous: true));
    }

    [Fact]
    public async Task Exit_code_and_termination_messages_reach_the_status()
    {
        var fallback = Shell("b", "echo why it failed; exit 4").With("terminationMessagePolicy", "FallbackToLogsOnError");
        await _controlPlane.PushAsync(Pod(restartPolicy: "Never", containers: [Shell("a", "echo -n bye > /dev/termination-log; exit 3"), fallback]));
        await _controlPlane.WaitForPhaseAsync("web", "Failed");
        var pod = _controlPlane.Find("pods", "default", "web")!;
        Assert.Equal(3, (int)StatusOf(pod)!["state"]!["terminated"]!["exitCode"]!);
        Assert.Equal("bye", (string?)StatusOf(pod)!["state"]!["terminated"]!["message"]);
        Assert.Equal("why it failed\n", (string?)StatusOf(pod, 1)!["state"]!["terminated"]!["message"]);
        Assert.Equal("why it failed\n", await LogAsync("b"));
        await EventuallyAsync(async () => (await _engine!.Runtime.ListSandboxesAsync(Stop)).Count == 0, "the sandbox to go");
    }

    [Fact]
    public async Task Init_containers_share_an_empty_dir_with_the_main_one_and_config_maps_are_followed()
    {
        JsonObject Settings(string value) => new()
        {
            ["metadata"] = new JsonObject { ["name"] = "settings", ["namespace"] = "default" },
            ["data"] = new JsonObject { ["mode"] = value },
        };
        _controlPlane.Put("configmaps", Settings("slow"));
        var main = Mounted(Mounted(Mounted(Shell("c", $"cat /work/made /etc/conf/mode /etc/one/mode; echo; {Forever}"), "work", "/work"), "conf", "/etc/conf"), "conf", "/etc/one/mode", "mode");
        var pod = WithVolumes(
            Pod(containers: main).WithInit(Mounted(Shell("i", "echo by init > /work/made"), "work", "/work")),
            new JsonObject { ["name"] = "work", ["emptyDir"] = new JsonObject() },
            new JsonObject { ["name"] = "conf", ["configMap"] = new JsonObject { ["name"] = "settings" } });
        await _controlPlane.PushAsync(pod);
        await _controlPlane.WaitForReadyAsync("web");
        await LogIsAsync("c", "by init\nslowslow\n");
        Assert.Equal("Completed", (string?)_controlPlane.Find("pods", "default", "web")!["status"]!["initContainerStatuses"]![0]!["state"]!["terminated"]!["reason"]);
    }

    [Fact]
    public async Task Liveness_probe_restarts_and_readiness_probe_gates()
    {
        var container = Shell("c", $"touch /tmp/ready; {Forever}")
            .With("readinessProbe", new JsonObject { ["exec"] = new JsonObject { ["command"] = new JsonArray("cat", "/tmp/ready") }, ["periodSeconds"] = 1 })
            .With("livenessProbe", new JsonObject { ["tcpSocket"] = new JsonObject { ["port"] = 81 }, ["periodSeconds"] = 1, ["failureThreshold"] = 2 });
        await _controlPlane.PushAsync(Pod(containers: container));
        await _controlPlane.WaitForPodAsync("web", pod => (int?)StatusOf(pod)?["restartCount"] >= 1, "to be restarted", TimeSpan.FromSeconds(60));
        await _controlPlane.WaitAsync(() => _controlPlane.Events().Any(e => e == "Killing: Container c failed liveness probe, will be restarted"), "the event");
        Assert.Contains(_controlPlane.Events(), e => e.StartsWith("Unhealthy: Liveness probe failed: dial tcp ", StringComparison.Ordinal) && e.EndsWith(":81: connect: connection refused", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Agent_restart_leaves_containers_alone_and_lost_sandbox_is_made_anew()
    {
        await _controlPlane.PushAsync(Pod(containers: Shell("c", Forever)));
        await _controlPlane.WaitForReadyAsync("web");
        var before = Assert.Single(await _engine!.Runtime.ListContainersAsync(Stop));
        var address = (string?)_controlPlane.Find("pods", "default", "web")!["status"]!["podIP"];
        await _node!.DisposeAsync();
        await StartAgentAsync();
        await _controlPlane.WaitAsync(() => _node!.Agent.PodCount == 1, "the pod to be adopted");
        Assert.Equal(before.Id, Assert.Single(await _engine.Runtime.ListContainersAsync(Stop)).Id);

        var sandbox = Assert.Single(await _engine.Runtime.ListSandboxesAsync(Stop));
        await _engine.Runtime.KillContainerAsync(sandbox.Id, Stop);
        await _controlPlane.WaitForPodAsync("web", pod => (int?)StatusOf(pod)?["restartCount"] == 1 && FakeControlPlane.IsReady(pod), "to be made anew", TimeSpan.FromSeconds(60));
        var after = Assert.Single(await _engine.Runtime.ListSandboxesAsync(Stop));
        Assert.NotEqual(sandbox.Id, after.Id);
        Assert.Equal(after.PodIP?.ToString(), (string?)_controlPlane.Find("pods", "default", "web")!["status"]!["podIP"]);
        Assert.NotNull(address);
        await _controlPlane.WaitAsync(() => _controlPlane.Events().Contains("SandboxChanged: Pod sandbox changed, it will be killed and re-created."), "the event");
    }

    [Fact]
    public async Task Pre_stop_hook_runs_before_sigterm_within_the_grace()
    {
        var container = Mounted(Shell("c", $"trap 'cat /work/hook; echo term; exit 0' TERM; while :; do sleep 0.05; done"), "work", "/work")
            .With("lifecycle", new JsonObject { ["preStop"] = new JsonObject { ["exec"] = new JsonObject { ["command"] = new JsonArray("sh", "-c", "echo hook > /work/hook") } } });
        using var shared = new TemporaryDirectory();
        var pod = WithVolumes(Pod(containers: container), new JsonObject { ["name"] = "work", ["hostPath"] = new JsonObject { ["path"] = shared.Path, ["type"] = "Directory" } });
        pod["metadata"]!["finalizers"] = new JsonArray("example.com/hold");
        await _controlPlane.PushAsync(pod);
        await _controlPlane.WaitForReadyAsync("web");
        await _controlPlane.DeleteAsync("web");
        await _controlPlane.WaitAsync(() => _controlPlane.Find("pods", "default", "web") is null, "the pod to go");
        Assert.Equal("hook\n", await File.ReadAllTextAsync(Path.Combine(shared.Path, "hook"), Stop));
    }

    [Fact]
    public async Task Missing_program_is_told_as_a_start_error()
    {
        await _controlPlane.PushAsync(Pod(restartPolicy: "Never", containers: Container("c", DockerNode.Image).With("command", new JsonArray("/no/such/program"))));
        await _controlPlane.WaitForPhaseAsync("web", "Failed");
        var ended = StatusOf(_controlPlane.Find("pods", "default", "web")!)!["state"]!["terminated"]!;
        Assert.Equal("StartError", (string?)ended["reason"]);
        Assert.Equal(128, (int)ended["exitCode"]!);
    }

    private static async Task EventuallyAsync(Func<Task<bool>> condition, string what)
    {
        var limit = DateTime.UtcNow.AddSeconds(30);
        while (!await condition())
        {
            Assert.True(DateTime.UtcNow < limit, $"Waited for {what}.");
            await Task.Delay(20, Stop);
        }
    }
}
