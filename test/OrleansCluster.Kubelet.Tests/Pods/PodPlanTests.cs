using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Tests.Support;
using static OrleansCluster.Kubelet.Tests.Support.PodJsonBuilder;

namespace OrleansCluster.Kubelet.Tests.Pods;

public sealed class PodPlanTests
{
    // ---- start

    [Fact]
    public void New_pod_prepares_sandbox_volumes_and_images_at_once()
    {
        var pod = new StateBuilder(Pod(containers: [Container("a"), Container("b")]));
        Assert.Equal("CreateSandbox PrepareVolumes EnsureImage:a EnsureImage:b", pod.Actions());
    }

    [Fact]
    public void Created_sandbox_with_address_starts_while_containers_are_created()
    {
        var pod = new StateBuilder(Pod()).Sandbox(running: false, wasRunning: false).Volumes().Image("c");
        Assert.Equal("StartSandbox CreateContainer:c", pod.Actions());
    }

    [Fact]
    public void Created_container_waits_for_the_sandbox()
    {
        var pod = new StateBuilder(Pod()).Sandbox(running: false, wasRunning: false).Volumes().Created("c");
        Assert.Equal("StartSandbox", pod.Actions());
        pod.Sandbox();
        Assert.Equal("StartContainer:c", pod.Actions());
    }

    [Fact]
    public void Containers_wait_for_volumes()
    {
        var pod = new StateBuilder(Pod()).Sandbox().Image("c");
        Assert.Equal("PrepareVolumes", pod.Actions());
    }

    [Fact]
    public void Running_pod_needs_nothing_and_wakes_for_nothing()
    {
        var decision = new StateBuilder(Pod()).Up().Running("c").Decide();
        Assert.Empty(decision.Actions);
        Assert.Null(decision.WakeAt);
        Assert.False(decision.Finished);
    }

    [Fact]
    public void Busy_targets_are_left_alone()
    {
        var pod = new StateBuilder(Pod());
        pod.State.Busy.UnionWith(["pod", "volumes", "c"]);
        Assert.Equal("", pod.Actions());
    }

    [Fact]
    public void Held_target_is_tried_again_when_its_time_comes()
    {
        var pod = new StateBuilder(Pod());
        pod.State.Hold("pod", StateBuilder.Now);
        Assert.DoesNotContain("CreateSandbox", pod.Actions(), StringComparison.Ordinal);
        Assert.Equal(StateBuilder.Now.AddSeconds(1), pod.Decide().WakeAt);
        Assert.Contains("CreateSandbox", pod.Actions(TimeSpan.FromSeconds(1)), StringComparison.Ordinal);
    }

    [Fact]
    public void Failed_sandbox_is_removed_and_made_anew_after_the_delay()
    {
        var pod = new StateBuilder(Pod()).Sandbox(running: false, wasRunning: false).Volumes().Image("c");
        pod.State.SandboxFailure = new Failure("FailedCreatePodSandBox", "no", StateBuilder.Now, TimeSpan.FromSeconds(2));
        Assert.DoesNotContain("Sandbox", pod.Actions(), StringComparison.Ordinal);
        Assert.StartsWith("RemoveSandbox", pod.Actions(TimeSpan.FromSeconds(2)), StringComparison.Ordinal);
    }

    // ---- init containers

    [Fact]
    public void Init_containers_run_one_after_the_other_before_the_main_ones()
    {
        var pod = new StateBuilder(Pod().WithInit(Container("i1"), Container("i2"))).Up();
        Assert.Equal("EnsureImage:i1", pod.Actions());
        pod.Running("i1");
        Assert.Equal("", pod.Actions());
        pod.Exited("i1");
        Assert.Equal("EnsureImage:i2", pod.Actions());
        pod.Exited("i2");
        Assert.Equal("EnsureImage:c", pod.Actions());
    }

    [Theory]
    [InlineData("Always", "EnsureImage:i", null)]
    [InlineData("OnFailure", "EnsureImage:i", null)]
    [InlineData("Never", "RemoveSandbox", "Failed")]
    public void Failed_init_container_restarts_unless_the_policy_is_never(string policy, string actions, string? phase)
    {
        var pod = new StateBuilder(Pod(restartPolicy: policy).WithInit(Container("i"))).Up().Exited("i", code: 1);
        Assert.Equal(actions, pod.Actions());
        Assert.Equal(phase, pod.Decide().Outcome?.Phase);
    }

    [Fact]
    public void Init_containers_are_not_repeated_once_main_containers_exist()
    {
        var pod = new StateBuilder(Pod().WithInit(Container("i"))).Up().Running("c");
        Assert.Equal("", pod.Actions());
    }

    [Fact]
    public void Init_containers_run_again_in_a_new_sandbox()
    {
        var pod = new StateBuilder(Pod().WithInit(Container("i"))).Exited("i").Exited("c", code: 137).Sandbox(attempt: 1).Volumes();
        Assert.Equal("EnsureImage:i", pod.Actions());
    }

    [Fact]
    public void Sidecar_starts_before_and_runs_beside_the_main_containers()
    {
        var pod = new StateBuilder(Pod().WithInit(Container("s").With("restartPolicy", "Always"), Container("i"))).Up();
        Assert.Equal("EnsureImage:s", pod.Actions());
        pod.Running("s");
        Assert.Equal("EnsureImage:i", pod.Actions());
        pod.Exited("i");
        Assert.Equal("EnsureImage:c", pod.Actions());
        pod.Running("c").Exited("s", attempt: 0);
        Assert.Equal("EnsureImage:s", pod.Actions());
    }

    [Fact]
    public void Sidecars_end_last_in_reverse_order_when_the_main_containers_are_done()
    {
        var pod = new StateBuilder(Pod(restartPolicy: "Never").WithInit(
            Container("s1").With("restartPolicy", "Always"), Container("s2").With("restartPolicy", "Always"))).Up().Running("s1").Running("s2").Exited("c");
        Assert.Equal("StopContainer:s2", pod.Actions());
        Assert.Null(pod.Decide().Outcome);
        pod.Exited("s2");
        Assert.Equal("StopContainer:s1", pod.Actions());
        pod.Exited("s1");
        Assert.Equal("Succeeded", pod.Decide().Outcome?.Phase);
    }

    // ---- restart policy and back-off

    [Theory]
    [InlineData("Always", 0, "EnsureImage:c", null)]
    [InlineData("Always", 1, "EnsureImage:c", null)]
    [InlineData("OnFailure", 0, "RemoveSandbox", "Succeeded")]
    [InlineData("OnFailure", 1, "EnsureImage:c", null)]
    [InlineData("Never", 0, "RemoveSandbox", "Succeeded")]
    [InlineData("Never", 1, "RemoveSandbox", "Failed")]
    public void Ended_container_follows_the_restart_policy(string policy, int code, string actions, string? phase)
    {
        var pod = new StateBuilder(Pod(restartPolicy: policy)).Up().Exited("c", code);
        Assert.Equal(actions, pod.Actions());
        Assert.Equal(phase, pod.Decide().Outcome?.Phase);
    }

    [Fact]
    public void One_running_container_keeps_a_pod_that_never_restarts_alive()
    {
        var pod = new StateBuilder(Pod(restartPolicy: "Never", containers: [Container("a"), Container("b")])).Up().Exited("a", 1).Running("b");
        Assert.Null(pod.Decide().Outcome);
        pod.Exited("b");
        Assert.Equal("Failed", pod.Decide().Outcome?.Phase);
    }

    [Theory]
    [InlineData(10)]
    [InlineData(20)]
    [InlineData(300)]
    public void Crashed_container_waits_its_delay_from_its_end(int seconds)
    {
        var pod = new StateBuilder(Pod()).Up().Exited("c", 1, ago: TimeSpan.FromSeconds(3));
        pod.State.Container("c").CrashDelay = TimeSpan.FromSeconds(seconds);
        Assert.Equal("", pod.Actions());
        Assert.Equal(StateBuilder.Now.AddSeconds(seconds - 3), pod.Decide().WakeAt);
        Assert.Equal("EnsureImage:c", pod.Actions(TimeSpan.FromSeconds(seconds - 3)));
    }

    [Fact]
    public void Crash_delay_is_forgiven_after_ten_minutes()
    {
        var pod = new StateBuilder(Pod()).Up().Exited("c", 1, ran: TimeSpan.FromMinutes(10));
        pod.State.Container("c").CrashDelay = TimeSpan.FromSeconds(300);
        Assert.Equal("EnsureImage:c", pod.Actions());
    }

    [Fact]
    public void Delays_double_from_ten_seconds_to_five_minutes()
    {
        var delays = new List<int>();
        for (var delay = ContainerRules.NextDelay(TimeSpan.Zero); delays.Count < 7; delay = ContainerRules.NextDelay(delay))
            delays.Add((int)delay.TotalSeconds);
        Assert.Equal([10, 20, 40, 80, 160, 300, 300], delays);
    }

    [Fact]
    public void Failed_pull_waits_and_changes_its_words()
    {
        var pod = new StateBuilder(Pod()).Up();
        pod.State.Container("c").Failure = new Failure("ErrImagePull", "not found", StateBuilder.Now, TimeSpan.FromSeconds(10));
        Assert.Equal("", pod.Actions());
        Assert.Equal(StateBuilder.Now.AddSeconds(5), pod.Decide().WakeAt);
        Assert.Equal("ErrImagePull", pod.Status().Containers[0].Waiting?.Reason);
        Assert.Equal("ImagePullBackOff", pod.Status(TimeSpan.FromSeconds(5)).Containers[0].Waiting?.Reason);
        Assert.Equal("EnsureImage:c", pod.Actions(TimeSpan.FromSeconds(10)));
    }

    [Fact]
    public void Older_dead_containers_are_removed_and_the_last_one_kept()
    {
        var pod = new StateBuilder(Pod()).Up().Exited("c", 1, 0).Exited("c", 1, 1).Exited("c", 1, 2).Running("c", 3);
        Assert.Equal("c-2", pod.State.Container("c").Previous?.Id);
        Assert.Equal(["c-0", "c-1"], pod.Decide().Actions.Select(action => action.Id));
    }

    [Fact]
    public void Container_whose_image_changed_is_stopped_and_made_anew_whatever_the_policy()
    {
        var pod = new StateBuilder(Pod(restartPolicy: "Never")).Up().Running("c");
        var record = pod.State.Container("c");
        record.Observe(record.Current! with { Labels = new Dictionary<string, string> { [ContainerRules.ImageLabel] = "busybox:1.36" } });
        Assert.Equal("", pod.Actions());
        record.Observe(record.Current with { Labels = new Dictionary<string, string> { [ContainerRules.ImageLabel] = "busybox:1.35" } });
        var action = Assert.Single(pod.Decide().Actions);
        Assert.Equal(PodActionKind.StopContainer, action.Kind);
        Assert.Equal("Container c definition changed, will be restarted", action.Stop!.Message);
        record.Stop = action.Stop;
        pod.Exited("c", 143);
        Assert.Equal("EnsureImage:c", pod.Actions());
    }

    // ---- sandbox lost

    [Fact]
    public void Lost_sandbox_ends_its_containers_then_goes_then_everything_is_made_anew()
    {
        var pod = new StateBuilder(Pod()).Sandbox(running: false).Volumes().Running("c");
        Assert.True(pod.Decide().SandboxLost);
        Assert.Equal("StopContainer:c", pod.Actions());
        pod.Exited("c", 137);
        Assert.Equal("RemoveSandbox", pod.Actions());
        pod.State.Sandbox = null;
        pod.State.SandboxWasRunning = false;
        Assert.Equal("CreateSandbox EnsureImage:c", pod.Actions());
        pod.Sandbox(attempt: 1);
        pod.State.Container("c").CrashDelay = TimeSpan.FromMinutes(5);
        Assert.Equal("EnsureImage:c", pod.Actions());
    }

    [Fact]
    public void Pod_that_never_restarts_fails_with_its_sandbox()
    {
        var pod = new StateBuilder(Pod(restartPolicy: "Never")).Sandbox(running: false).Volumes().Exited("c", 137);
        Assert.Equal("Failed", pod.Decide().Outcome?.Phase);
    }

    // ---- probes

    private static JsonObject Probe(int period = 10, int failures = 3) => new()
    {
        ["tcpSocket"] = new JsonObject { ["port"] = 80 },
        ["periodSeconds"] = period,
        ["failureThreshold"] = failures,
    };

    [Fact]
    public void Startup_probe_holds_the_others_back()
    {
        var pod = new StateBuilder(Pod(containers: Container("c").With("startupProbe", Probe()).With("livenessProbe", Probe()).With("readinessProbe", Probe())))
            .Up().Running("c");
        var record = pod.State.Container("c");
        record.Startup = new ProbeState(StateBuilder.Now, null);
        record.Liveness = new ProbeState(StateBuilder.Now, true);
        record.Readiness = new ProbeState(StateBuilder.Now, false);
        Assert.Equal([ProbeKind.Startup], pod.Decide().Actions.Select(action => action.Probe));
        Assert.False(pod.Status().Containers[0].Started);

        record.Startup = new ProbeState(StateBuilder.Now, true);
        Assert.Equal([ProbeKind.Liveness, ProbeKind.Readiness], pod.Decide().Actions.Select(action => action.Probe));
        Assert.True(pod.Status().Containers[0].Started);
        Assert.False(pod.Status().Containers[0].Ready);
    }

    [Fact]
    public void Probe_waits_for_its_time()
    {
        var pod = new StateBuilder(Pod(containers: Container("c").With("readinessProbe", Probe()))).Up().Running("c");
        pod.State.Container("c").Readiness = new ProbeState(StateBuilder.Now.AddSeconds(7), false);
        Assert.Empty(pod.Decide().Actions);
        Assert.Equal(StateBuilder.Now.AddSeconds(7), pod.Decide().WakeAt);
    }

    [Theory]
    [InlineData("FFF", 3, 1, true, false)]
    [InlineData("FFSFF", 3, 1, true, true)]
    [InlineData("S", 3, 1, false, true)]
    [InlineData("SS", 3, 3, false, false)]
    [InlineData("SSS", 3, 3, false, true)]
    [InlineData("SFSS", 3, 3, false, false)]
    [InlineData("EEEE", 1, 1, true, true)]
    public void Verdict_changes_after_so_many_equal_results_in_a_row(string results, int failures, int successes, bool before, bool after)
    {
        var probe = new Probe { FailureThreshold = failures, SuccessThreshold = successes };
        var state = new ProbeState(StateBuilder.Now, before);
        foreach (var result in results)
            state.Apply(new ProbeResult(result == 'S', "", Errored: result == 'E'), probe, StateBuilder.Now);
        Assert.Equal(after, state.Verdict);
    }

    [Fact]
    public void Unhealthy_container_is_stopped_and_not_probed()
    {
        var pod = new StateBuilder(Pod(containers: Container("c").With("livenessProbe", Probe()))).Up().Running("c");
        pod.State.Container("c").Liveness = new ProbeState(StateBuilder.Now, false);
        pod.State.Container("c").Stop = new ContainerStop(StopCause.Unhealthy, TimeSpan.FromSeconds(30), "");
        Assert.Equal("StopContainer:c", pod.Actions());
    }

    // ---- the end

    [Fact]
    public void Deleted_pod_stops_kills_after_the_grace_cleans_up_and_is_deleted_from_the_api()
    {
        var pod = new StateBuilder(Pod().Deleted(grace: 10)).Up().Running("c");
        pod.State.EndingSince = StateBuilder.Now;
        var stop = Assert.Single(pod.Decide().Actions);
        Assert.Equal(PodActionKind.StopContainer, stop.Kind);
        Assert.Equal(TimeSpan.FromSeconds(10), stop.Stop!.Grace);
        stop.Stop.RequestedAt = stop.Stop.TermSentAt = StateBuilder.Now;
        pod.State.Container("c").Stop = stop.Stop;
        Assert.Equal("", pod.Actions(TimeSpan.FromSeconds(9.9)));
        Assert.Equal("KillContainer:c", pod.Actions(TimeSpan.FromSeconds(10)));

        pod.Exited("c", 137);
        Assert.True(pod.Decide().FinalStatus);
        Assert.Equal("RemoveContainer:c", pod.Actions());
        pod.State.Container("c").Release("c-0");
        Assert.Equal("RemoveSandbox", pod.Actions());
        pod.State.Sandbox = null;
        Assert.Equal("RemoveDirectories", pod.Actions());
        pod.State.DirectoriesRemoved = true;
        Assert.Equal("", pod.Actions());
        pod.State.FinalStatusWritten = true;
        Assert.Equal("DeleteFromApi", pod.Actions());
        pod.State.ApiDeleted = true;
        Assert.True(pod.Decide().Finished);
    }

    [Fact]
    public void Shorter_grace_that_comes_later_counts_from_the_first_request()
    {
        var pod = new StateBuilder(Pod().Deleted(grace: 30)).Up().Running("c");
        pod.State.EndingSince = StateBuilder.Now;
        var stop = pod.Decide().Actions[0].Stop!;
        stop.RequestedAt = stop.TermSentAt = StateBuilder.Now;
        pod.State.Container("c").Stop = stop;
        Assert.Equal("", pod.Actions(TimeSpan.FromSeconds(12)));
        pod.State.SetPod(Pod().Deleted(grace: 1).Parse());
        Assert.Equal("KillContainer:c", pod.Actions(TimeSpan.FromSeconds(12)));
    }

    [Fact]
    public void Slow_pre_stop_hook_leaves_the_minimum_after_sigterm()
    {
        var pod = new StateBuilder(Pod().Deleted(grace: 5)).Up().Running("c");
        var stop = pod.Decide().Actions[0].Stop!;
        stop.RequestedAt = StateBuilder.Now;
        stop.TermSentAt = StateBuilder.Now.AddSeconds(5);
        pod.State.Container("c").Stop = stop;
        Assert.Equal("", pod.Actions(TimeSpan.FromSeconds(6)));
        Assert.Equal("KillContainer:c", pod.Actions(TimeSpan.FromSeconds(7)));
    }

    [Fact]
    public void Kill_without_effect_is_repeated()
    {
        var pod = new StateBuilder(Pod().Deleted(grace: 0)).Up().Running("c");
        pod.State.Container("c").Stop = new ContainerStop(StopCause.PodDeleted, TimeSpan.Zero, "")
        {
            RequestedAt = StateBuilder.Now,
            TermSentAt = StateBuilder.Now,
            KillSentAt = StateBuilder.Now.AddSeconds(2),
        };
        Assert.Equal("", pod.Actions(TimeSpan.FromSeconds(6.9)));
        Assert.Equal("KillContainer:c", pod.Actions(TimeSpan.FromSeconds(7)));
    }

    [Fact]
    public void Deleted_pod_ends_sidecars_after_the_main_containers()
    {
        var pod = new StateBuilder(Pod().WithInit(Container("s").With("restartPolicy", "Always")).Deleted()).Up().Running("s").Running("c");
        Assert.Equal("StopContainer:c", pod.Actions());
        pod.Exited("c");
        Assert.Equal("StopContainer:s", pod.Actions());
    }

    [Fact]
    public void Deleted_pod_that_never_started_goes_at_once()
    {
        var pod = new StateBuilder(Pod().Deleted());
        Assert.Equal("RemoveDirectories", pod.Actions());
    }

    [Fact]
    public void Removed_pod_ends_without_a_word_to_the_api()
    {
        var pod = new StateBuilder(Pod()).Up().Running("c");
        pod.State.Removed = true;
        Assert.Equal(PodPlan.MinimumGrace, Assert.Single(pod.Decide().Actions).Stop!.Grace);
        pod.Exited("c");
        pod.State.Container("c").Release("c-0");
        pod.State.Sandbox = null;
        pod.State.DirectoriesRemoved = true;
        Assert.True(pod.Decide().Finished);
    }

    [Fact]
    public void Operations_in_flight_are_waited_for_at_the_end()
    {
        var pod = new StateBuilder(Pod().Deleted()).Up().Created("c");
        pod.State.Busy.Add("c");
        Assert.Equal("", pod.Actions());
        Assert.False(pod.Decide().FinalStatus);
    }

    [Fact]
    public void Deadline_fails_the_pod_and_ends_its_containers()
    {
        var json = Pod();
        json.Spec()["activeDeadlineSeconds"] = 90;
        var pod = new StateBuilder(json).Up().Running("c");
        Assert.Null(pod.Decide().Outcome);
        Assert.Equal(StateBuilder.Now.AddSeconds(30), pod.Decide().WakeAt);
        var late = pod.Decide(TimeSpan.FromSeconds(30));
        Assert.Equal(new PodOutcome("Failed", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"), late.Outcome);
        Assert.Equal("StopContainer:c", pod.Actions(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void Ended_pod_keeps_its_containers_and_gives_its_sandbox_back()
    {
        var pod = new StateBuilder(Pod(restartPolicy: "Never")).Up().Exited("c");
        pod.State.Outcome = new PodOutcome("Succeeded");
        Assert.Equal("RemoveSandbox", pod.Actions());
        pod.State.Sandbox = null;
        Assert.Equal("", pod.Actions());
        Assert.False(pod.Decide().Finished);
    }
}
