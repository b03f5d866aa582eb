using System.Text.Json;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Tests.Support;
using static OrleansCluster.Kubelet.Tests.Support.PodJsonBuilder;

namespace OrleansCluster.Kubelet.Tests.Pods;

public sealed class PodStatusTests
{
    private static PodCondition Condition(PodStatusModel status, string type) => status.Conditions.Single(condition => condition.Type == type);

    [Fact]
    public void Pod_that_starts_is_pending_with_container_creating()
    {
        var status = new StateBuilder(Pod()).Status();
        Assert.Equal("Pending", status.Phase);
        Assert.Equal("ContainerCreating", status.Containers[0].Waiting?.Reason);
        Assert.Equal("containers with unready status: [c]", Condition(status, "Ready").Message);
        Assert.Equal("ContainersNotReady", Condition(status, "ContainersReady").Reason);
        Assert.True(Condition(status, "Initialized").Status);
        Assert.True(Condition(status, "PodScheduled").Status);
        Assert.False(Condition(status, "PodReadyToStartContainers").Status);
    }

    [Fact]
    public void Pod_with_init_containers_is_initializing()
    {
        var status = new StateBuilder(Pod().WithInit(Container("i1"), Container("i2"))).Up().Running("i1").Status();
        Assert.Equal("Pending", status.Phase);
        Assert.NotNull(status.Containers[0].RunningSince);
        Assert.Equal("PodInitializing", status.Containers[1].Waiting?.Reason);
        Assert.Equal("PodInitializing", status.Containers[2].Waiting?.Reason);
        Assert.Equal("containers with incomplete status: [i1 i2]", Condition(status, "Initialized").Message);
    }

    [Fact]
    public void Running_pod_is_ready_with_address()
    {
        var status = new StateBuilder(Pod()).Up().Running("c").Status();
        Assert.Equal("Running", status.Phase);
        Assert.Equal("10.244.1.2", status.PodIP);
        Assert.Equal("10.0.0.1", status.HostIP);
        Assert.True(status.Containers[0].Ready);
        Assert.Equal("docker://c-0", status.Containers[0].ContainerId);
        Assert.All(status.Conditions, condition => Assert.True(condition.Status, condition.Type));
    }

    [Theory]
    [InlineData("Always", 0, "Running")]
    [InlineData("Always", 1, "Running")]
    [InlineData("OnFailure", 1, "Running")]
    public void Pod_whose_container_restarts_stays_running(string policy, int code, string phase) =>
        Assert.Equal(phase, new StateBuilder(Pod(restartPolicy: policy)).Up().Exited("c", code).Status().Phase);

    [Fact]
    public void One_container_without_a_start_keeps_the_pod_pending() =>
        Assert.Equal("Pending", new StateBuilder(Pod(containers: [Container("a"), Container("b")])).Up().Running("a").Status().Phase);

    [Fact]
    public void Crashing_container_waits_with_its_last_state()
    {
        var pod = new StateBuilder(Pod()).Up().Exited("c", 1, attempt: 3);
        pod.State.Container("c").CrashDelay = TimeSpan.FromSeconds(80);
        var container = pod.Status().Containers[0];
        Assert.Equal("CrashLoopBackOff", container.Waiting?.Reason);
        Assert.Equal("back-off 1m20s restarting failed container=c pod=web_default(uid-web)", container.Waiting?.Message);
        Assert.Equal(1, container.Last?.ExitCode);
        Assert.Equal("Error", container.Last?.Reason);
        Assert.Equal(3, container.RestartCount);
        Assert.Equal("Running", pod.Status().Phase);
    }

    [Fact]
    public void Ended_pod_keeps_how_it_ended()
    {
        var pod = new StateBuilder(Pod(restartPolicy: "Never")).Up().Exited("c");
        pod.State.Outcome = new PodOutcome("Succeeded");
        var status = pod.Status();
        Assert.Equal("Succeeded", status.Phase);
        Assert.Equal("Completed", status.Containers[0].Terminated?.Reason);
        Assert.Equal("PodCompleted", Condition(status, "Ready").Reason);
        Assert.Equal("PodCompleted", Condition(status, "Initialized").Reason);
    }

    [Fact]
    public void Deadline_shows_failed_only_when_its_containers_ended()
    {
        var pod = new StateBuilder(Pod()).Up().Running("c");
        pod.State.Outcome = new PodOutcome("Failed", "DeadlineExceeded", "late");
        Assert.Equal("Running", pod.Status().Phase);
        pod.Exited("c", 143);
        Assert.Equal("Failed", pod.Status().Phase);
        Assert.Equal("DeadlineExceeded", pod.Status().Reason);
    }

    [Theory]
    [InlineData(0, "Succeeded")]
    [InlineData(143, "Failed")]
    public void Deleted_pod_ends_by_its_exit_codes(int code, string phase) =>
        Assert.Equal(phase, new StateBuilder(Pod().Deleted()).Up().Exited("c", code).Status().Phase);

    [Fact]
    public void Container_that_vanished_is_told_at_the_end()
    {
        var pod = new StateBuilder(Pod().Deleted());
        pod.State.Container("c").ReportedStarted = true;
        var ended = pod.Status().Containers[0].Terminated;
        Assert.Equal("ContainerStatusUnknown", ended?.Reason);
        Assert.Equal(137, ended?.ExitCode);
    }

    [Fact]
    public void Missing_readiness_gate_keeps_the_pod_unready()
    {
        var json = Pod();
        json.Spec()["readinessGates"] = new System.Text.Json.Nodes.JsonArray(new System.Text.Json.Nodes.JsonObject { ["conditionType"] = "example.com/lb" });
        var status = new StateBuilder(json).Up().Running("c").Status();
        Assert.True(Condition(status, "ContainersReady").Status);
        Assert.Equal("ReadinessGatesNotReady", Condition(status, "Ready").Reason);
    }

    [Fact]
    public void Condition_keeps_its_transition_time_while_its_status_stays()
    {
        var pod = new StateBuilder(Pod()).Up().Running("c");
        var builder = new PodStatusBuilder("10.0.0.1", "docker");
        var first = builder.Build(pod.State, StateBuilder.Now, []);
        var second = builder.Build(pod.State, StateBuilder.Now.AddMinutes(1), first.Conditions);
        Assert.Equal(first.Conditions, second.Conditions);
    }

    [Fact]
    public void Written_patch_carries_uid_and_merges_conditions()
    {
        var status = new StateBuilder(Pod()).Up().Running("c").Status();
        using var patch = JsonDocument.Parse(PodStatusWriter.Write("uid-web", status, new HashSet<string> { "Ready" }, clearPodIPs: true));
        Assert.Equal("uid-web", patch.RootElement.GetProperty("metadata").GetProperty("uid").GetString());
        var written = patch.RootElement.GetProperty("status");
        var ready = written.GetProperty("conditions").EnumerateArray().Single(c => c.GetProperty("type").GetString() == "Ready");
        Assert.Equal(JsonValueKind.Null, ready.GetProperty("reason").ValueKind);
        Assert.Equal("replace", written.GetProperty("podIPs")[0].GetProperty("$patch").GetString());
        Assert.Equal("10.244.1.2", written.GetProperty("podIPs")[1].GetProperty("ip").GetString());
        Assert.Equal("2026-01-01T12:00:00Z", written.GetProperty("containerStatuses")[0].GetProperty("state").GetProperty("running").GetProperty("startedAt").GetString());
    }

    [Theory]
    [InlineData(0, "0ms")]
    [InlineData(350, "350ms")]
    [InlineData(10_000, "10s")]
    [InlineData(80_000, "1m20s")]
    [InlineData(300_000, "5m0s")]
    [InlineData(3_605_250, "1h0m5.25s")]
    public void Durations_are_written_as_users_know_them(long milliseconds, string text) =>
        Assert.Equal(text, WireFormat.Duration(TimeSpan.FromMilliseconds(milliseconds)));
}
