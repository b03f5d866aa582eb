using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>One operation that a pod worker may start.</summary>
internal enum PodActionKind
{
    /// <summary>Make the pod's directories and fill its volumes.</summary>
    PrepareVolumes,

    /// <summary>Bring volumes that follow the API up to date.</summary>
    RefreshVolumes,

    /// <summary>Create the sandbox; its address is known afterwards.</summary>
    CreateSandbox,

    /// <summary>Start the sandbox and connect it.</summary>
    StartSandbox,

    /// <summary>Remove the sandbox.</summary>
    RemoveSandbox,

    /// <summary>Find or pull a container's image.</summary>
    EnsureImage,

    /// <summary>Create the next engine container.</summary>
    CreateContainer,

    /// <summary>Start the created one.</summary>
    StartContainer,

    /// <summary>Run the postStart hook.</summary>
    PostStart,

    /// <summary>Run the preStop hook, then send SIGTERM.</summary>
    StopContainer,

    /// <summary>Send SIGKILL.</summary>
    KillContainer,

    /// <summary>Remove an engine container (<see cref="PodAction.Id"/>).</summary>
    RemoveContainer,

    /// <summary>Run a probe (<see cref="PodAction.Probe"/>).</summary>
    Probe,

    /// <summary>Remove the pod's directories and volumes.</summary>
    RemoveDirectories,

    /// <summary>Tell the API that the pod is gone (DELETE with grace 0 and its uid).</summary>
    DeleteFromApi,
}

/// <summary>An operation to start now.</summary>
/// <param name="Kind">Which.</param>
/// <param name="Target">What is busy while it runs.</param>
/// <param name="Container">The container's name, or the empty string.</param>
/// <param name="Id">An engine id, where one is meant.</param>
/// <param name="Probe">Which probe.</param>
/// <param name="Stop">Why and how to end the container.</param>
internal sealed record PodAction(
    PodActionKind Kind,
    string Target,
    string Container = "",
    string? Id = null,
    ProbeKind Probe = default,
    ContainerStop? Stop = null);

/// <summary>What to do next.</summary>
/// <param name="Actions">Operations to start now; never for a target that is busy.</param>
/// <param name="Outcome">The pod has ended by itself just now, or null.</param>
/// <param name="WakeAt">Decide again then even if nothing happens, or null.</param>
/// <param name="Finished">Nothing is left: the worker can go.</param>
/// <param name="SandboxLost">The sandbox ended behind our back (Event SandboxChanged).</param>
/// <param name="FinalStatus">Everything has ended: the status that goes out now is the last one.</param>
internal sealed record PodDecision(
    IReadOnlyList<PodAction> Actions,
    PodOutcome? Outcome,
    DateTimeOffset? WakeAt,
    bool Finished,
    bool SandboxLost,
    bool FinalStatus);

/// <summary>
/// Decides what a pod needs next from what is desired, what was observed and the clock. Pure: reads, never changes, never waits. Asked again after
/// every event and at <see cref="PodDecision.WakeAt"/>; operations in flight (<see cref="PodState.Busy"/>) are left alone.
/// <code>
///                    ┌─ volumes ─┐
///  desired pod ──────┼─ image  ──┼─► create container ─┐
///                    └─ create sandbox ─► start sandbox ┴─► start container ─► postStart, probes ─► exited ─► (back-off) create …
///
///  deleted, gone, deadline, all done ─► stop main ─► stop sidecars ─► remove containers ─► sandbox ─► directories ─► DELETE
/// </code>
/// </summary>
internal static class PodPlan
{
    /// <summary>Busy target of the sandbox, the directories and the API object.</summary>
    public const string PodTarget = "pod";

    /// <summary>Busy target of the volumes.</summary>
    public const string VolumesTarget = "volumes";

    /// <summary>Grace of a pod that is gone from the API, and the least that a container gets between SIGTERM and SIGKILL.</summary>
    public static readonly TimeSpan MinimumGrace = TimeSpan.FromSeconds(2);

    /// <summary>A kill that shows no effect is repeated after this time.</summary>
    public static readonly TimeSpan KillAgainAfter = TimeSpan.FromSeconds(5);

    public static PodDecision Decide(PodState state, DateTimeOffset now)
    {
        var planner = new Planner(state, now);
        planner.Run();
        return planner.Decision();
    }

    private sealed class Planner(PodState state, DateTimeOffset now)
    {
        private readonly List<PodAction> _actions = [];
        private PodOutcome? _outcome;
        private DateTimeOffset? _wakeAt;
        private bool _finished;
        private bool _sandboxLost;
        private bool _finalStatus;

        public PodDecision Decision() => new(_actions, _outcome, _wakeAt, _finished, _sandboxLost, _finalStatus);

        public void Run()
        {
            foreach (var record in state.Containers)
            {
                if (state.Ending)
                    break;
                foreach (var dead in record.Dead)
                    Start(new PodAction(PodActionKind.RemoveContainer, "gc:" + dead.Id, record.Name, dead.Id));
            }

            if (state.Ending)
            {
                End();
                return;
            }
            if (state.Outcome is null)
                _outcome = DeadlineOutcome() ?? NaturalOutcome();
            if (state.Outcome is not null || _outcome is not null)
                WindDown();
            else
                KeepRunning();
        }

        // ---- the pod shall run

        private void KeepRunning()
        {
            if (!KeepSandbox())
                return;
            if (!state.VolumesReady)
                Retry(state.VolumeFailure, new PodAction(PodActionKind.PrepareVolumes, VolumesTarget));
            else if (state.VolumesRefreshAt is { } refreshAt && refreshAt > now)
                WakeAt(refreshAt);
            else if (state.VolumesRefreshAt is not null)
                Start(new PodAction(PodActionKind.RefreshVolumes, VolumesTarget));

            var mainsDone = MainsDone();
            if (mainsDone)
            {
                // Only sidecars are left: they end last, in reverse order.
                StopSidecars(TerminationGrace());
                return;
            }
            if (!KeepInitContainers())
                return;
            foreach (var record in state.Containers)
            {
                if (record.Kind is ContainerKind.Main or ContainerKind.Ephemeral)
                    Keep(record);
            }
        }

        /// <summary>Returns false while nothing else may be done.</summary>
        private bool KeepSandbox()
        {
            var sandbox = state.Sandbox;
            if (sandbox is { Running: false } && state.SandboxWasRunning)
            {
                _sandboxLost = true;
                // What still runs has lost its network: kill it, then make everything anew.
                var stillRunning = false;
                foreach (var record in state.Containers)
                {
                    if (record.Current is not { State: ContainerState.Running or ContainerState.Unknown })
                        continue;
                    stillRunning = true;
                    ContinueStop(record, new ContainerStop(StopCause.SandboxLost, MinimumGrace, $"Stopping container {record.Name}"));
                }
                if (!stillRunning && !ContainersBusy())
                    Start(new PodAction(PodActionKind.RemoveSandbox, PodTarget, Id: sandbox.Id));
                return false;
            }
            if (sandbox is null)
            {
                Retry(state.SandboxFailure, new PodAction(PodActionKind.CreateSandbox, PodTarget));
            }
            else if (!sandbox.Running)
            {
                if (state.SandboxFailure is not null)
                    Retry(state.SandboxFailure, new PodAction(PodActionKind.RemoveSandbox, PodTarget, Id: sandbox.Id));
                else
                    Start(new PodAction(PodActionKind.StartSandbox, PodTarget, Id: sandbox.Id));
            }
            return true;
        }

        /// <summary>Returns true when the main containers may start.</summary>
        private bool KeepInitContainers()
        {
            var mainsBegun = MainsBegun();
            foreach (var record in state.Containers)
            {
                if (record.Kind == ContainerKind.Sidecar)
                {
                    Keep(record);
                    if (!mainsBegun && !ContainerRules.Started(state, record))
                        return false;
                }
                else if (record.Kind == ContainerKind.Init && !mainsBegun)
                {
                    if (InThisSandbox(record) && record.Current is { State: ContainerState.Exited, ExitCode: 0 })
                        continue;
                    Keep(record);
                    return false;
                }
            }
            return true;
        }

        private void Keep(ContainerRecord record)
        {
            var current = record.Current;
            if (current is null)
            {
                Create(record);
                return;
            }
            switch (current.State)
            {
                case ContainerState.Created when !InThisSandbox(record):
                    Create(record);
                    break;
                case ContainerState.Created:
                    if (state.Sandbox is { Running: true })
                        Start(new PodAction(PodActionKind.StartContainer, record.Name, record.Name, current.Id));
                    break;
                case ContainerState.Running when !InThisSandbox(record):
                    ContinueStop(record, new ContainerStop(StopCause.SandboxLost, MinimumGrace, $"Stopping container {record.Name}"));
                    break;
                case ContainerState.Running when record.Stop is not null:
                    ContinueStop(record, record.Stop);
                    break;
                case ContainerState.Running when ContainerRules.ImageChanged(state, record):
                    ContinueStop(record, new ContainerStop(
                        StopCause.SpecChanged, TerminationGrace(), $"Container {record.Name} definition changed, will be restarted"));
                    break;
                case ContainerState.Running:
                    KeepHealthy(record);
                    break;
                case ContainerState.Exited when !InThisSandbox(record) && record.Kind is ContainerKind.Init or ContainerKind.Sidecar:
                    Create(record);
                    break;
                case ContainerState.Exited:
                    if (!ContainerRules.RestartsAfterExit(state, record))
                        break;
                    // A container that fell with its sandbox did not crash.
                    if (InThisSandbox(record) && ContainerRules.CrashBackOffUntil(record, now) is { } until)
                        WakeAt(until);
                    else
                        Create(record);
                    break;
                default:
                    // The engine is busy with it (being removed): ask again.
                    WakeAt(now + KillAgainAfter);
                    break;
            }
        }

        private void Create(ContainerRecord record)
        {
            if (record.Failure is { } failure && failure.RetryAt > now)
            {
                WakeAt(failure.RetryAt);
                if (ContainerRules.WordsChangeAt(record) is { } words && words > now)
                    WakeAt(words);
                return;
            }
            if (record.Image is null)
            {
                Start(new PodAction(PodActionKind.EnsureImage, record.Name, record.Name));
                return;
            }
            if (state.VolumesReady && state.Sandbox is { } sandbox && HasAddress(sandbox))
                Start(new PodAction(PodActionKind.CreateContainer, record.Name, record.Name, sandbox.Id));
        }

        private void KeepHealthy(ContainerRecord record)
        {
            var spec = ContainerRules.Spec(state, record);
            if (spec is null)
                return;
            if (!record.PostStartDone)
            {
                Start(new PodAction(PodActionKind.PostStart, record.Name, record.Name, record.Current!.Id));
                return;
            }
            if (spec.StartupProbe is not null && record.Startup?.Verdict != true)
            {
                ProbeWhenDue(record, ProbeKind.Startup, record.Startup);
                return;
            }
            if (spec.LivenessProbe is not null)
                ProbeWhenDue(record, ProbeKind.Liveness, record.Liveness);
            if (spec.ReadinessProbe is not null)
                ProbeWhenDue(record, ProbeKind.Readiness, record.Readiness);
        }

        private void ProbeWhenDue(ContainerRecord record, ProbeKind kind, ProbeState? probe)
        {
            if (probe is null)
                return;
            if (probe.NextAt > now)
                WakeAt(probe.NextAt);
            else
                Start(new PodAction(PodActionKind.Probe, $"probe:{kind}:{record.Name}", record.Name, record.Current!.Id, kind));
        }

        // ---- the pod has ended by itself

        private PodOutcome? DeadlineOutcome()
        {
            if (state.Pod.Spec.ActiveDeadlineSeconds is not { } seconds)
                return null;
            var deadline = state.StartTime + TimeSpan.FromSeconds(seconds);
            if (deadline > now)
            {
                WakeAt(deadline);
                return null;
            }
            return new PodOutcome("Failed", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
        }

        private PodOutcome? NaturalOutcome()
        {
            if (state.Pod.Spec.RestartPolicy == "Never")
            {
                foreach (var record in state.Containers)
                {
                    if (record.Kind == ContainerKind.Init && record.Current is { State: ContainerState.Exited, ExitCode: not 0 } && !MainsBegun())
                        return new PodOutcome("Failed");
                }
                // With its sandbox a pod that never restarts has lost its containers for good.
                if (state.Sandbox is { Running: false } or null && state.SandboxWasRunning && MainsBegun() && !AnyRunning() && !ContainersBusy())
                    return new PodOutcome(MainsSucceeded() ? "Succeeded" : "Failed");
            }
            if (!MainsDone())
                return null;
            foreach (var record in state.Containers)
            {
                if (record.Kind == ContainerKind.Sidecar && record.Current is { State: ContainerState.Running })
                    return null;
            }
            return new PodOutcome(MainsSucceeded() ? "Succeeded" : "Failed");
        }

        private void WindDown()
        {
            if (StopAll(TerminationGrace(), StopCause.PodEnded) || ContainersBusy())
                return;
            // Ended containers stay for their logs; the sandbox and its address are of no use any more.
            if (state.Sandbox is { } sandbox)
                Start(new PodAction(PodActionKind.RemoveSandbox, PodTarget, Id: sandbox.Id));
        }

        // ---- the pod shall go

        private void End()
        {
            if (StopAll(DeletionGrace(), StopCause.PodDeleted) || ContainersBusy())
                return;
            _finalStatus = true;
            var left = false;
            foreach (var record in state.Containers)
            {
                foreach (var container in record.EngineContainers())
                {
                    left = true;
                    Start(new PodAction(PodActionKind.RemoveContainer, "gc:" + container.Id, record.Name, container.Id));
                }
            }
            if (left)
                return;
            if (state.Sandbox is { } sandbox)
            {
                Start(new PodAction(PodActionKind.RemoveSandbox, PodTarget, Id: sandbox.Id));
                return;
            }
            if (!state.DirectoriesRemoved)
            {
                if (!state.Busy.Contains(VolumesTarget))
                    Start(new PodAction(PodActionKind.RemoveDirectories, PodTarget));
                return;
            }
            if (state.Removed || state.ApiDeleted)
            {
                _finished = state.Busy.Count == 0;
                return;
            }
            if (!state.FinalStatusWritten)
                return;
            if (state.ApiDeleteRetryAt is { } retry && retry > now)
                WakeAt(retry);
            else
                Start(new PodAction(PodActionKind.DeleteFromApi, PodTarget));
        }

        /// <summary>Ends the main containers, then the sidecars in reverse order. Returns true while one runs.</summary>
        private bool StopAll(TimeSpan grace, StopCause cause)
        {
            var running = false;
            foreach (var record in state.Containers)
            {
                if (record.Kind == ContainerKind.Sidecar || !StillThere(record))
                    continue;
                running = true;
                ContinueStop(record, record.Stop ?? new ContainerStop(cause, grace, $"Stopping container {record.Name}"), grace);
            }
            return running || StopSidecars(grace, cause);
        }

        private bool StopSidecars(TimeSpan grace, StopCause cause = StopCause.PodEnded)
        {
            ContainerRecord? last = null;
            foreach (var record in state.Containers)
            {
                if (record.Kind == ContainerKind.Sidecar && StillThere(record))
                    last = record;
            }
            if (last is null)
                return false;
            ContinueStop(last, last.Stop ?? new ContainerStop(cause, grace, $"Stopping container {last.Name}"), grace);
            return true;
        }

        private static bool StillThere(ContainerRecord record) => record.Current is { State: ContainerState.Running };

        /// <summary>First the polite request, at the end of the grace the kill; a shorter grace that came later counts.</summary>
        private void ContinueStop(ContainerRecord record, ContainerStop stop, TimeSpan? graceNow = null)
        {
            var grace = graceNow is { } shorter && shorter < stop.Grace ? shorter : stop.Grace;
            if (stop.RequestedAt is not { } requested)
            {
                Start(new PodAction(PodActionKind.StopContainer, record.Name, record.Name, record.Current!.Id, Stop: stop));
                return;
            }
            var since = state.EndingSince is { } ending && ending > requested && stop.Cause != StopCause.PodDeleted ? ending : requested;
            var killAt = since + (grace < MinimumGrace ? MinimumGrace : grace);
            if (stop.TermSentAt is { } sent && killAt < sent + MinimumGrace)
                killAt = sent + MinimumGrace;
            if (stop.KillSentAt is { } killed)
                killAt = killed + KillAgainAfter;
            if (killAt > now)
                WakeAt(killAt);
            else
                Start(new PodAction(PodActionKind.KillContainer, "kill:" + record.Name, record.Name, record.Current!.Id, Stop: stop));
        }

        private TimeSpan TerminationGrace() => TimeSpan.FromSeconds(state.Pod.Spec.TerminationGracePeriodSeconds ?? 30);

        private TimeSpan DeletionGrace() => state.Removed
            ? MinimumGrace
            : TimeSpan.FromSeconds(state.Pod.Metadata.DeletionGracePeriodSeconds ?? state.Pod.Spec.TerminationGracePeriodSeconds ?? 30);

        // ---- small questions

        private bool InThisSandbox(ContainerRecord record) =>
            state.Sandbox is { } sandbox && record.Current is { } current && (current.SandboxId == sandbox.Id || current.SandboxId.Length == 0);

        private bool HasAddress(SandboxStatus sandbox) =>
            sandbox.Running || sandbox.PodIP is not null || sandbox.Network == SandboxNetwork.Host;

        private bool MainsBegun()
        {
            foreach (var record in state.Containers)
            {
                // Without a sandbox or in an older one, the init containers have to run again.
                if (record.Kind == ContainerKind.Main && record.Current is not null && (state.Sandbox is null || InThisSandbox(record)))
                    return true;
            }
            return false;
        }

        private bool MainsDone()
        {
            var any = false;
            foreach (var record in state.Containers)
            {
                if (record.Kind != ContainerKind.Main)
                    continue;
                any = true;
                if (!record.IsExited || ContainerRules.RestartsAfterExit(state, record))
                    return false;
            }
            return any;
        }

        private bool MainsSucceeded()
        {
            foreach (var record in state.Containers)
            {
                if (record.Kind == ContainerKind.Main && record.Current is not { State: ContainerState.Exited, ExitCode: 0 })
                    return false;
            }
            return true;
        }

        private bool AnyRunning()
        {
            foreach (var record in state.Containers)
            {
                if (record.IsRunning)
                    return true;
            }
            return false;
        }

        private bool ContainersBusy()
        {
            foreach (var record in state.Containers)
            {
                if (state.Busy.Contains(record.Name))
                    return true;
            }
            return state.Busy.Contains(PodTarget);
        }

        private void Retry(Failure? failure, PodAction action)
        {
            if (failure is not null && failure.RetryAt > now)
                WakeAt(failure.RetryAt);
            else
                Start(action);
        }

        private void Start(PodAction action)
        {
            if (state.Busy.Contains(action.Target))
                return;
            if (state.HeldUntil(action.Target) is { } until && until > now)
                WakeAt(until);
            else
                _actions.Add(action);
        }

        private void WakeAt(DateTimeOffset time)
        {
            if (_wakeAt is null || time < _wakeAt)
                _wakeAt = time;
        }
    }
}
