using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Tests.Support;
using static OrleansCluster.Kubelet.Tests.Support.PodJsonBuilder;

namespace OrleansCluster.Kubelet.Tests.Nodes;

/// <summary>A whole agent over a simulated runtime: real time where nothing has to be waited for, a fake clock where it has.</summary>
public sealed class NodeAgentTests
{
    private static StubRuntime Hollow(TimeProvider time, Action<HollowRuntimeOptions>? configure = null)
    {
        var options = new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.244.1.0/24") };
        configure?.Invoke(options);
        return new StubRuntime(new HollowRuntime(options, time));
    }

    private static JsonNode? StatusOf(JsonObject pod, int index = 0) => pod["status"]!["containerStatuses"]?[index];

    private static string? Waiting(JsonObject pod) => (string?)StatusOf(pod)?["state"]?["waiting"]?["reason"];

    [Fact]
    public async Task Node_registers_with_status_and_conditions()
    {
        var controlPlane = new FakeControlPlane();
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, Hollow(TimeProvider.System));
        var registered = controlPlane.Find("nodes", "", "node-1")!;
        Assert.Equal("linux", (string?)registered["metadata"]!["labels"]!["kubernetes.io/os"]);
        Assert.Equal("10.244.1.0/24", (string?)registered["spec"]!["podCIDR"]);
        Assert.Equal("32", (string?)registered["status"]!["capacity"]!["cpu"]);
        Assert.Equal("hollow://1.0", (string?)registered["status"]!["nodeInfo"]!["containerRuntimeVersion"]);
        Assert.Equal(10250, (int)registered["status"]!["daemonEndpoints"]!["kubeletEndpoint"]!["Port"]!);
        var conditions = registered["status"]!["conditions"]!.AsArray().Select(c => $"{c!["type"]}={c["status"]}:{c["reason"]}");
        Assert.Equal(
            ["MemoryPressure=False:KubeletHasSufficientMemory", "DiskPressure=False:KubeletHasNoDiskPressure",
             "PIDPressure=False:KubeletHasSufficientPID", "Ready=True:KubeletReady"],
            conditions);
    }

    [Fact]
    public async Task Pushed_pod_runs_and_its_status_is_written()
    {
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        await controlPlane.PushAsync(Pod(containers: [Container("a"), Container("b")]));
        await controlPlane.WaitForReadyAsync("web");
        var pod = controlPlane.Find("pods", "default", "web")!;
        Assert.Equal("Running", (string?)pod["status"]!["phase"]);
        Assert.StartsWith("10.244.1.", (string?)pod["status"]!["podIP"], StringComparison.Ordinal);
        Assert.Equal("BestEffort", (string?)pod["status"]!["qosClass"]);
        Assert.StartsWith("hollow://", (string?)StatusOf(pod)!["containerID"], StringComparison.Ordinal);
        Assert.Equal(1, runtime.Calls["createSandbox"]);
        Assert.Equal(2, runtime.Calls["startContainer"]);
        await controlPlane.WaitAsync(() => controlPlane.Events().Contains("Started: Started container b"), "the events");
        Assert.Contains("Created: Created container: a", controlPlane.Events());
        Assert.Contains("Pulled: Container image \"busybox:1.36\" already present on machine", controlPlane.Events());
    }

    [Fact]
    public async Task Deleted_pod_ends_politely_and_leaves_nothing()
    {
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        await controlPlane.PushAsync(Pod());
        await controlPlane.WaitForReadyAsync("web");
        await controlPlane.DeleteAsync("web");
        await controlPlane.WaitAsync(() => controlPlane.Find("pods", "default", "web") is null, "the pod to go");
        Assert.Equal(1, runtime.Calls["stopContainer"]);
        Assert.False(runtime.Calls.ContainsKey("killContainer"));
        Assert.Empty(runtime.Containers());
        Assert.Equal(1, controlPlane.Calls["Delete:pods"]);
        await controlPlane.WaitAsync(() => controlPlane.Events().Contains("Killing: Stopping container c") && node.Agent.PodCount == 0, "the end");
    }

    [Fact]
    public async Task Container_that_ignores_sigterm_is_killed_after_the_grace()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(time);
        runtime.IgnoreStop = true;
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        await controlPlane.PushAsync(Pod());
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(controlPlane.Find("pods", "default", "web")!), "ready");
        await controlPlane.DeleteAsync("web", grace: 20);
        var began = time.GetUtcNow();
        await AdvanceUntilAsync(time, () => controlPlane.Find("pods", "default", "web") is null, "gone");
        // The clock runs on while the agent works: at least the grace, and less than the 30 s that would have been the default.
        Assert.InRange((time.GetUtcNow() - began).TotalSeconds, 20, 29);
        Assert.Equal(1, runtime.Calls["killContainer"]);
    }

    [Fact]
    public async Task Change_that_arrives_after_its_successor_is_dropped()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(time);
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        await controlPlane.PushAsync(Pod());
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(controlPlane.Find("pods", "default", "web")!), "ready");
        var older = controlPlane.Find("pods", "default", "web")!;

        await controlPlane.DeleteAsync("web", grace: 5);
        node.Agent.SyncPods(new PodSync { Node = "node-1", Complete = false, Pods = [older.Bytes()] });

        await AdvanceUntilAsync(time, () => controlPlane.Find("pods", "default", "web") is null, "gone");
    }

    [Fact]
    public async Task Crashed_container_restarts_at_once_then_backs_off()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(time);
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        await controlPlane.PushAsync(Pod());
        JsonObject Pod1() => controlPlane.Find("pods", "default", "web")!;
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(Pod1()), "ready");

        runtime.Exit("c", 3);
        await AdvanceUntilAsync(time, () => (int?)StatusOf(Pod1())?["restartCount"] == 1 && FakeControlPlane.IsReady(Pod1()), "restarted");
        Assert.Equal(3, (int?)StatusOf(Pod1())?["lastState"]?["terminated"]?["exitCode"]);

        runtime.Exit("c", 1);
        await AdvanceUntilAsync(time, () => Waiting(Pod1()) == "CrashLoopBackOff", "back-off");
        Assert.StartsWith("back-off 10s restarting", (string?)StatusOf(Pod1())?["state"]?["waiting"]?["message"], StringComparison.Ordinal);
        var began = time.GetUtcNow();
        await AdvanceUntilAsync(time, () => (int?)StatusOf(Pod1())?["restartCount"] == 2 && FakeControlPlane.IsReady(Pod1()), "restarted again");
        // Ten seconds, the jitter taken off; less than the twenty of the next step.
        Assert.InRange((time.GetUtcNow() - began).TotalSeconds, 8, 19);
        Assert.Equal(3, runtime.Calls["createContainer"]);
        // The one before the last is gone, the last one stays for logs --previous.
        await AdvanceUntilAsync(time, () => runtime.Containers().Count == 2, "old containers removed");
    }

    [Fact]
    public async Task Job_like_pod_succeeds_and_gives_its_sandbox_back()
    {
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        await controlPlane.PushAsync(Pod(restartPolicy: "Never"));
        await controlPlane.WaitForReadyAsync("web");
        runtime.Exit("c", 0);
        await controlPlane.WaitForPhaseAsync("web", "Succeeded");
        await controlPlane.WaitAsync(() => runtime.Calls.ContainsKey("removeSandbox"), "the sandbox to go");
        Assert.Single(runtime.Containers());
    }

    [Fact]
    public async Task Missing_image_shows_err_image_pull_then_back_off_and_recovers()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        HollowRuntimeOptions? options = null;
        var runtime = Hollow(time, o =>
        {
            o.AllImagesPresent = false;
            o.MissingImages.Add("nope:1");
            options = o;
        });
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        await controlPlane.PushAsync(Pod(containers: Container("c", "nope:1")));
        JsonObject Pod1() => controlPlane.Find("pods", "default", "web")!;
        await AdvanceUntilAsync(time, () => Waiting(Pod1()) == "ErrImagePull", "ErrImagePull");
        await AdvanceUntilAsync(time, () => Waiting(Pod1()) == "ImagePullBackOff", "ImagePullBackOff");
        Assert.Equal("Pending", (string?)Pod1()["status"]!["phase"]);
        options!.MissingImages.Clear();
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(Pod1()), "running");
        Assert.Contains("Failed: Error: ErrImagePull", controlPlane.Events());
    }

    [Fact]
    public async Task Never_pulled_image_is_named_so()
    {
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System, o => o.AllImagesPresent = false);
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        await controlPlane.PushAsync(Pod(containers: Container("c").With("imagePullPolicy", "Never")));
        await controlPlane.WaitForPodAsync("web", pod => Waiting(pod) == "ErrImageNeverPull", "to wait");
    }

    [Fact]
    public async Task Missing_config_map_is_named_and_its_arrival_lets_the_pod_run()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(time);
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        var container = Container("c").With("env", new JsonArray(new JsonObject
        {
            ["name"] = "MODE",
            ["valueFrom"] = new JsonObject { ["configMapKeyRef"] = new JsonObject { ["name"] = "settings", ["key"] = "mode" } },
        }));
        await controlPlane.PushAsync(Pod(containers: container));
        JsonObject Pod1() => controlPlane.Find("pods", "default", "web")!;
        await AdvanceUntilAsync(time, () => Waiting(Pod1()) == "CreateContainerConfigError", "the error");
        Assert.Equal("configmap \"settings\" not found", (string?)StatusOf(Pod1())?["state"]?["waiting"]?["message"]);
        controlPlane.Put("configmaps", new JsonObject
        {
            ["metadata"] = new JsonObject { ["name"] = "settings", ["namespace"] = "default" },
            ["data"] = new JsonObject { ["mode"] = "fast" },
        });
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(Pod1()), "running");
        Assert.Contains(KeyValuePair.Create("MODE", "fast"), runtime.Specs.Last().Environment);
    }

    [Fact]
    public async Task Failed_start_is_run_container_error_and_counts_as_a_restart()
    {
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        var pod = Pod();
        pod["metadata"]!["annotations"] = new JsonObject { [HollowRuntime.StartErrorAnnotation] = "exec: \"nope\": executable file not found" };
        await controlPlane.PushAsync(pod);
        await controlPlane.WaitForPodAsync("web", p => Waiting(p) is "RunContainerError" or "CrashLoopBackOff" && (int?)StatusOf(p)?["restartCount"] >= 1, "to fail");
        Assert.Equal("StartError", (string?)StatusOf(controlPlane.Find("pods", "default", "web")!)?["lastState"]?["terminated"]?["reason"]);
        Assert.NotEqual("Failed", (string?)controlPlane.Find("pods", "default", "web")!["status"]!["phase"]);
    }

    [Fact]
    public async Task Runtime_failures_are_retried_and_told()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(time);
        runtime.FailNext("createSandbox", new RuntimeException(RuntimeFailure.Network, "no address left"));
        runtime.FailNext("startSandbox", new RuntimeException(RuntimeFailure.Sandbox, "no namespace left"));
        runtime.FailNext("createContainer", new RuntimeException(RuntimeFailure.CreateContainer, "no space left"));
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        await controlPlane.PushAsync(Pod());
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(controlPlane.Find("pods", "default", "web")!), "running");
        await AdvanceUntilAsync(time, () => controlPlane.Events().Contains("Failed: Error: no space left"), "events");
        Assert.Contains("FailedCreatePodSandBox: Failed to create pod sandbox: no address left", controlPlane.Events());
        Assert.Contains("FailedCreatePodSandBox: Failed to create pod sandbox: no namespace left", controlPlane.Events());
        Assert.Equal(3, runtime.Calls["createSandbox"]);
    }

    [Fact]
    public async Task Removed_pod_is_killed_without_a_status()
    {
        var time = new FakeTimeProvider();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(time);
        await using var node = await TestNode.StartAsync(controlPlane, time, runtime);
        await controlPlane.PushAsync(Pod());
        await AdvanceUntilAsync(time, () => FakeControlPlane.IsReady(controlPlane.Find("pods", "default", "web")!), "ready");
        await controlPlane.RemoveAsync("web");
        await AdvanceUntilAsync(time, () => runtime.Containers().Count == 0 && node.Agent.PodCount == 0, "gone");
        Assert.False(controlPlane.Calls.ContainsKey("Delete:pods"));
    }

    [Fact]
    public async Task Restarted_agent_adopts_what_runs_and_removes_what_the_complete_set_lacks()
    {
        using var directory = new TemporaryDirectory();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        await using (var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime, dataDirectory: directory.Path))
        {
            await controlPlane.PushAsync(Pod("keep"));
            await controlPlane.PushAsync(Pod("drop"));
            await controlPlane.WaitForReadyAsync("keep");
            await controlPlane.WaitForReadyAsync("drop");
        }
        Assert.Equal(2, runtime.Containers().Count(container => container.State == ContainerState.Running));

        // While no agent ran, one pod was deleted for good and the control plane went away.
        await controlPlane.RemoveAsync("drop");
        controlPlane.Down = true;
        var starts = runtime.Calls["startContainer"];
        await using var restarted = await TestNode.StartAsync(
            controlPlane, TimeProvider.System, runtime, dataDirectory: directory.Path, waitForSession: false);
        Assert.Equal(2, restarted.Agent.PodCount);

        // It works from disk: a crash is healed without anybody to ask.
        runtime.Inner.Exit(runtime.Containers().Single(c => c.Pod.Name == "keep").Id, 1);
        await WaitAsync(() => runtime.Calls["startContainer"] == starts + 1, "the restart");
        Assert.Equal(1, runtime.Containers().Single(c => c.Pod.Name == "keep" && c.State == ContainerState.Running).Attempt);
        Assert.Contains(runtime.Containers(), container => container.Pod.Name == "drop");

        controlPlane.Down = false;
        await controlPlane.WaitForPodAsync("keep", pod => (int?)StatusOf(pod)?["restartCount"] == 1 && FakeControlPlane.IsReady(pod), "to be told");
        await WaitAsync(() => runtime.Containers().All(container => container.Pod.Name == "keep"), "the removed pod to go");
        await WaitAsync(() => Directory.GetDirectories(Path.Combine(directory.Path, "pods")).Length == 1, "its directory to go");
        Assert.Equal(starts + 1, runtime.Calls["startContainer"]);
    }

    [Fact]
    public async Task Restarted_agent_keeps_the_readiness_it_had_told()
    {
        using var directory = new TemporaryDirectory();
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        var container = Container("c").With("readinessProbe", new JsonObject { ["tcpSocket"] = new JsonObject { ["port"] = 80 }, ["initialDelaySeconds"] = 0 });
        await using (var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime, dataDirectory: directory.Path))
        {
            await controlPlane.PushAsync(Pod(containers: container));
            await controlPlane.WaitForReadyAsync("web");
            // What was told comes back with the next push and is kept on disk.
            var kept = Path.Combine(directory.Path, "pods", "uid-web", "pod.json");
            await WaitAsync(() => FakeControlPlane.IsReady((JsonObject)JsonNode.Parse(File.ReadAllText(kept))!), "the file");
        }
        var unready = 0;
        await using (var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime, dataDirectory: directory.Path))
        {
            await controlPlane.WaitAsync(() =>
            {
                if (!FakeControlPlane.IsReady(controlPlane.Find("pods", "default", "web")!))
                    unready++;
                return controlPlane.Calls.GetValueOrDefault("heartbeat") >= 1;
            }, "a heartbeat");
        }
        Assert.Equal(0, unready);
        Assert.Equal(1, runtime.Calls["startContainer"]);
    }

    [Fact]
    public async Task Forgotten_session_is_opened_again_and_statuses_wait_out_an_outage()
    {
        var controlPlane = new FakeControlPlane { HeartbeatInterval = TimeSpan.FromMilliseconds(50) };
        var runtime = Hollow(TimeProvider.System);
        await using var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        controlPlane.ForgetSessions();
        await controlPlane.WaitAsync(() => controlPlane.Calls["connect"] >= 2, "a second session");
        await controlPlane.PushAsync(Pod());
        await controlPlane.WaitForReadyAsync("web");

        controlPlane.Down = true;
        runtime.Exit("c", 1);
        await WaitAsync(() => runtime.Calls["startContainer"] == 2, "the restart");
        controlPlane.Down = false;
        await controlPlane.WaitForPodAsync("web", pod => (int?)StatusOf(pod)?["restartCount"] == 1 && FakeControlPlane.IsReady(pod), "to be told");
    }

    [Fact]
    public async Task Stop_is_quick_and_leaves_containers_running()
    {
        var controlPlane = new FakeControlPlane();
        var runtime = Hollow(TimeProvider.System);
        var node = await TestNode.StartAsync(controlPlane, TimeProvider.System, runtime);
        await controlPlane.PushAsync(Pod());
        await controlPlane.WaitForReadyAsync("web");
        await node.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Equal(ContainerState.Running, Assert.Single(runtime.Containers()).State);
        Assert.Equal(1, controlPlane.Calls["disconnect"]);
    }

    /// <summary>Moves the fake clock in small steps until the condition holds; every step lets the work it wakes run first.</summary>
    private static async Task AdvanceUntilAsync(FakeTimeProvider time, Func<bool> condition, string what)
    {
        var limit = DateTime.UtcNow.AddSeconds(60);
        var quiet = 0;
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < limit, $"Waited for {what}.");
            TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            await Task.Delay(2, TestContext.Current.CancellationToken);
            if (++quiet % 5 == 0)
                time.Advance(TimeSpan.FromMilliseconds(250));
        }
    }

    private static async Task WaitAsync(Func<bool> condition, string what)
    {
        var limit = DateTime.UtcNow.AddSeconds(30);
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < limit, $"Waited for {what}.");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }
}
