using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Streaming;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// Brings one pod to what is desired of it. Not a loop but an object that is evaluated after every event: it asks <see cref="PodPlan"/>, starts the
/// operations that the plan names (one at a time per target), reports the status if it changed and sets the time of the next evaluation on the shared
/// wheel. Between events it costs no task and no timer.
/// <code>
///   pushed pod ─┐
///   runtime event ─┤                    ┌─► operations ──┐ (results come back as events)
///   operation done ─┼─► Signal ─► Evaluate ─► status ─► reporter
///   wheel ──────────┘                    └─► wheel
/// </code>
/// </summary>
internal sealed partial class PodWorker : IWakeable, IThreadPoolWorkItem
{
    /// <summary>Changes that only say how far a start has come wait so long for company.</summary>
    private static readonly TimeSpan MinorStatusDelay = TimeSpan.FromMilliseconds(100);

    private readonly Lock _gate = new();
    private readonly NodeContext _node;
    private readonly PodState _state;
    private readonly PodIdentity _identity;
    private readonly Dictionary<string, Task> _operations = new(StringComparer.Ordinal);
    private readonly PodStart _start;
    private readonly CancellationTokenSource _stop = new();

    // Cancelled when the pod shall end: pulls, hooks and configuration reads are of no use any more.
    private CancellationTokenSource? _starting;
    private IReadOnlyDictionary<string, string>? _volumePaths;
    private IReadOnlyList<PodCondition> _conditions;
    private readonly HashSet<string> _reasonTypes = new(StringComparer.Ordinal);
    private UInt128 _reported;
    private int _reportedEssence;
    private string? _reportedPodIP;
    private bool _replacePodIPs;
    private readonly bool _statusFrozen;
    private long _version;
    private long _settledVersion;
    private DateTimeOffset? _statusDueAt;
    private bool _endingBegun;
    private bool _queued;
    private int _timed;
    private long _timedSince;
    private bool _stopped;

    /// <summary>Begins to look after a pod.</summary>
    /// <param name="node">The node.</param>
    /// <param name="pod">The pod.</param>
    /// <param name="traceParent">The trace of what brought it here, or null.</param>
    public PodWorker(NodeContext node, PodDocument pod, string? traceParent = null)
    {
        _node = node;
        _start = new PodStart(pod, node, traceParent);
        _identity = pod.Identity;
        var now = node.Services.Time.GetUtcNow();
        _state = new PodState(pod) { StartTime = pod.Status.StartTime ?? now };
        _conditions = [.. pod.Status.Conditions.Select(condition => new PodCondition(
            condition.Type, condition.Status == "True", condition.Reason, condition.Message)
        {
            LastTransitionTime = condition.LastTransitionTime ?? now,
        })];
        foreach (var condition in pod.Status.Conditions)
        {
            if (condition.Reason is not null || condition.Message is not null)
                _reasonTypes.Add(condition.Type);
        }
        _reportedPodIP = pod.Status.PodIP;
        if (pod.Status.Phase is "Succeeded" or "Failed")
        {
            _state.Outcome = new PodOutcome(pod.Status.Phase, pod.Status.Reason, pod.Status.Message);
            // Its last status stands; the engine may know less of it by now.
            _statusFrozen = true;
        }
        foreach (var status in pod.Status.InitContainerStatuses.Concat(pod.Status.ContainerStatuses).Concat(pod.Status.EphemeralContainerStatuses))
        {
            if (_state.FindContainer(status.Name) is not { } record)
                continue;
            record.ReportedStarted = status.ContainerId is not null;
            record.BaseRestarts = status.RestartCount + (record.ReportedStarted ? 1 : 0);
            record.ReportedLast = status.State?.Terminated ?? status.LastState?.Terminated;
        }
        if (pod.Deleting)
            _state.EndingSince = now;
    }

    public long WakeTicks { get; set; }

    public string Uid => _identity.Uid;

    public PodIdentity Identity => _identity;

    /// <summary>True once nothing of the pod is left.</summary>
    public bool IsFinished { get; private set; }

    /// <summary>Revision of the pod that was taken last.</summary>
    public long Revision => _state.Pod.Revision;

    /// <summary>The pod is on its way out.</summary>
    public bool IsEnding => _state.Ending;

    /// <summary>The API said that the pod is gone.</summary>
    public bool WasRemoved => _state.Removed;

    /// <summary>For how long there has always been an operation under way that should end soon.</summary>
    public TimeSpan LongestOperation
    {
        get
        {
            lock (_gate)
                return _timed == 0 ? TimeSpan.Zero : _node.Services.Time.GetElapsedTime(_timedSince);
        }
    }

    /// <summary>Whether the sandbox runs, and how many containers do.</summary>
    public (bool Sandbox, int Containers) Counts()
    {
        lock (_gate)
            return (_state.Sandbox is { Running: true }, _state.Containers.Count(static c => c.IsRunning));
    }

    /// <summary>Takes over what a previous agent left running, before the first <see cref="Signal"/>. Nothing of it is restarted.</summary>
    public void Adopt(IEnumerable<SandboxStatus> sandboxes, IEnumerable<ContainerStatus> containers)
    {
        lock (_gate)
        {
            foreach (var sandbox in sandboxes.OrderBy(sandbox => sandbox.Attempt))
            {
                // An older one that is left over is removed together with the pod's next creation of a sandbox.
                _state.Sandbox = sandbox;
                _state.NextSandboxAttempt = sandbox.Attempt + 1;
                // Not running here means lost: whether it ever ran cannot be known, and making it anew is right either way.
                _state.SandboxWasRunning = true;
            }
            foreach (var container in containers.OrderBy(container => container.Attempt))
            {
                if (_state.FindContainer(container.Name) is not { } record)
                    continue;
                // A list does not say how one ended: until it was inspected, nothing may be concluded from it.
                record.Observe(container.State == ContainerState.Exited ? container with { State = ContainerState.Unknown } : container);
                if (record.IsRunning)
                    AdoptRunning(record);
            }
            foreach (var record in _state.Containers)
            {
                if (record.Current is { State: ContainerState.Unknown } current)
                    Inspect(record, current.Id);
                if (record.Previous is { State: ContainerState.Unknown } previous)
                    Inspect(record, previous.Id);
            }
        }
    }

    /// <summary>Takes a newer pod from the API.</summary>
    public void SetDesired(PodDocument pod)
    {
        lock (_gate)
        {
            if (_stopped)
                return;
            _state.SetPod(pod);
            if (_state.Ending)
                BeginEnding();
        }
        Signal();
    }

    /// <summary>The API has no such pod any more.</summary>
    public void SetRemoved()
    {
        lock (_gate)
        {
            if (_stopped)
                return;
            _state.Removed = true;
            BeginEnding();
        }
        _node.Services.Reporter.Forget(Uid);
        Signal();
    }

    /// <summary>Takes an event of the runtime.</summary>
    public void OnRuntimeEvent(RuntimeEvent runtimeEvent)
    {
        lock (_gate)
        {
            if (_stopped)
                return;
            if (runtimeEvent.ContainerName is null)
            {
                if (_state.Sandbox?.Id != runtimeEvent.Id)
                    return;
                if (runtimeEvent.Kind is RuntimeEventKind.Died or RuntimeEventKind.Removed && _state.SandboxWasRunning)
                    _state.Sandbox = _state.Sandbox with { Running = false, Pid = 0 };
            }
            else if (_state.FindContainer(runtimeEvent.ContainerName) is { } record)
            {
                if (runtimeEvent.Kind == RuntimeEventKind.Removed && _state.Ending)
                    record.Release(runtimeEvent.Id);
                else if (runtimeEvent.Kind == RuntimeEventKind.Removed)
                    record.Forget(runtimeEvent.Id);
                else if (runtimeEvent.Kind == RuntimeEventKind.Died && record.Current?.Id == runtimeEvent.Id)
                    Inspect(record, runtimeEvent.Id);
            }
        }
        Signal();
    }

    /// <summary>Compares with complete lists of the runtime, taken at <paramref name="takenAt"/>; what was made since is left alone.</summary>
    public void Reconcile(IReadOnlyList<SandboxStatus> sandboxes, IReadOnlyList<ContainerStatus> containers, DateTimeOffset takenAt)
    {
        lock (_gate)
        {
            if (_stopped)
                return;
            if (_state.Sandbox is { } known && known.CreatedAt < takenAt && _state.SandboxWasRunning && !_state.Busy.Contains(PodPlan.PodTarget)
                && sandboxes.FirstOrDefault(sandbox => sandbox.Id == known.Id) is not { Running: true })
            {
                _state.Sandbox = known with { Running = false, Pid = 0 };
            }
            foreach (var record in _state.Containers)
            {
                if (record.Current is not { } current || current.CreatedAt >= takenAt || _state.Busy.Contains(record.Name))
                    continue;
                var seen = containers.FirstOrDefault(container => container.Id == current.Id);
                if (seen is null && _state.Ending)
                    record.Release(current.Id);
                else if (seen is null)
                    record.Forget(current.Id);
                else if (seen.State == ContainerState.Exited && !record.IsExited)
                    Inspect(record, current.Id);
            }
        }
        Signal();
    }

    /// <summary>What the streaming endpoints need.</summary>
    public PodStreams Streams()
    {
        lock (_gate)
        {
            var now = _node.Services.Time.GetUtcNow();
            return new PodStreams(
                _node.Runtime,
                _state.Sandbox is { Running: true } sandbox ? sandbox.Id : null,
                [.. _state.Containers.Select(record => new PodContainerStreams(
                    record.Name,
                    record.Current?.Id,
                    record.Previous?.Id,
                    record.IsRunning,
                    record.IsRunning || record.IsExited ? null : ContainerRules.Waiting(_state, record, now)?.Reason ?? "ContainerCreating",
                    ContainerRules.Spec(_state, record)?.Tty ?? false))]);
        }
    }

    /// <summary>Something changed: evaluate soon.</summary>
    public void Signal()
    {
        lock (_gate)
        {
            if (_queued || _stopped)
                return;
            _queued = true;
        }
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    void IWakeable.Wake() => Signal();

    void IThreadPoolWorkItem.Execute()
    {
        try
        {
            Evaluate();
        }
        catch (Exception exception)
        {
            // Nothing below may throw; if it does, the pod must not stay unattended.
            Log.EvaluationFailed(_node.Logger, exception, _identity.Namespace, _identity.Name);
            _node.Services.Wheel.Set(this, _node.Services.Time.GetUtcNow() + TimeSpan.FromSeconds(10));
        }
    }

    /// <summary>Stops attending the pod; its containers run on.</summary>
    public async Task StopAsync()
    {
        Task[] operations;
        CancellationTokenSource? starting;
        lock (_gate)
        {
            _stopped = true;
            operations = [.. _operations.Values];
            starting = _starting;
            _starting = null;
        }
        _node.Services.Wheel.Set(this, null);
        await _stop.CancelAsync();
        if (starting is not null)
            await starting.CancelAsync();
        await Task.WhenAll(operations);
        _stop.Dispose();
        starting?.Dispose();
    }

    private void Evaluate()
    {
        var finished = false;
        lock (_gate)
        {
            _queued = false;
            if (_stopped)
                return;
            var now = _node.Services.Time.GetUtcNow();
            // Pod start, step 3 (docs/architecture.md).
            var decision = PodPlan.Decide(_state, now);
            if (decision.Outcome is not null)
            {
                _state.Outcome = decision.Outcome;
                BeginEnding();
                decision = PodPlan.Decide(_state, now);
            }
            if (decision.SandboxLost && decision.Actions.Any(action => action.Kind is PodActionKind.RemoveSandbox or PodActionKind.StopContainer))
                RecordSandboxLost();
            ReportStatus(decision, now);
            foreach (var action in decision.Actions)
                Launch(action, now);
            var wakeAt = decision.WakeAt;
            if (_statusDueAt is { } due && (wakeAt is null || due < wakeAt))
                wakeAt = due;
            if (decision.Finished)
            {
                _start.Ended("Removed", _node.Services.Time);
                _stopped = finished = IsFinished = true;
                wakeAt = null;
            }
            _node.Services.Wheel.Set(this, wakeAt);
        }
        if (finished)
        {
            _node.Services.Reporter.Forget(Uid);
            _node.Finished(this);
        }
    }

    /// <summary>Caller holds the lock.</summary>
    private void ReportStatus(PodDecision decision, DateTimeOffset now)
    {
        if (_state.Removed || _state.ApiDeleted)
            return;
        if (_statusFrozen)
        {
            _state.FinalStatusWritten = true;
            return;
        }

        foreach (var record in _state.Containers)
        {
            // Found ended and not inspected yet: a moment later its end can be told.
            if (record.Current is { State: ContainerState.Unknown } && !decision.FinalStatus)
                return;
        }
        var status = _node.StatusBuilder.Build(_state, now, _conditions);
        _conditions = status.Conditions;
        var replaceIPs = _replacePodIPs || _reportedPodIP is not null && status.PodIP is not null && status.PodIP != _reportedPodIP;
        var patch = PodStatusWriter.Write(Uid, status, _reasonTypes, replaceIPs);
        Span<byte> digest = stackalloc byte[32];
        SHA256.HashData(patch, digest);
        var fingerprint = System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(digest);
        if (fingerprint == _reported)
        {
            _statusDueAt = null;
            if (decision.FinalStatus && _settledVersion == _version)
                _state.FinalStatusWritten = true;
            return;
        }

        // What only says how far a start has come waits a moment: mostly the next step is there by then.
        var essence = Essence(status);
        if (essence == _reportedEssence && !decision.FinalStatus)
        {
            _statusDueAt ??= now + MinorStatusDelay;
            if (_statusDueAt > now)
                return;
        }

        _statusDueAt = null;
        _reported = fingerprint;
        _reportedEssence = essence;
        _replacePodIPs = replaceIPs;
        _reportedPodIP = status.PodIP ?? _reportedPodIP;
        foreach (var condition in status.Conditions)
        {
            if (condition.Reason is not null || condition.Message is not null)
                _reasonTypes.Add(condition.Type);
        }
        if (status.Phase != "Pending")
            _start.Ended(status.Phase, _node.Services.Time);
        // Pod start, step 7.
        var version = ++_version;
        var final = decision.FinalStatus;
        _node.Services.Reporter.Report(_node.NodeName, _identity, patch, written => OnSettled(version, final, written));
    }

    /// <summary>Equal for statuses whose difference nobody waits for. The status of a pod that has just begun to start is one of them.</summary>
    private static int Essence(PodStatusModel status)
    {
        var hash = new HashCode();
        if (status.Phase != "Pending")
            hash.Add(status.Phase);
        foreach (var container in status.Containers)
        {
            if (container.Waiting is { Reason: "ContainerCreating" or "PodInitializing" })
                continue;
            hash.Add(container.Name);
            hash.Add(container.Waiting?.Reason);
            hash.Add(container.RunningSince);
            hash.Add(container.Terminated?.FinishedAt);
            hash.Add(container.Ready);
            hash.Add(container.RestartCount);
        }
        foreach (var condition in status.Conditions)
        {
            if (condition is { Type: "Ready", Status: true })
                hash.Add(condition.Type);
        }
        return hash.ToHashCode() ^ EmptyEssence;
    }

    // Makes the essence of "nothing yet" equal to the field's initial 0.
    private static readonly int EmptyEssence = default(HashCode).ToHashCode();

    private void OnSettled(long version, bool final, bool written)
    {
        lock (_gate)
        {
            _settledVersion = Math.Max(_settledVersion, version);
            if (!written && _state.Pod.Deleting)
                _state.ApiDeleted = true;
            if (final && written)
                _state.FinalStatusWritten = true;
        }
        if (final || !written)
            Signal();
    }

    /// <summary>Caller holds the lock.</summary>
    private void BeginEnding()
    {
        if (_state.Ending)
            _state.EndingSince ??= _node.Services.Time.GetUtcNow();
        _endingBegun = true;
        if (_starting is { } starting)
        {
            _starting = null;
            // On the pool: cancelled operations would else continue inside our lock.
            ThreadPool.UnsafeQueueUserWorkItem(static source => { source.Cancel(); source.Dispose(); }, starting, preferLocal: false);
        }
    }

    /// <summary>Caller holds the lock.</summary>
    private void AdoptRunning(ContainerRecord record)
    {
        record.PostStartDone = true;
        var api = _state.Pod.Status.ContainerStatuses.Concat(_state.Pod.Status.InitContainerStatuses)
            .FirstOrDefault(status => status.Name == record.Name);
        StartProbes(record, startedBefore: api?.Started == true, readyBefore: api?.Ready == true);
    }

    /// <summary>Caller holds the lock.</summary>
    private void StartProbes(ContainerRecord record, bool startedBefore, bool readyBefore)
    {
        var spec = ContainerRules.Spec(_state, record);
        var now = _node.Services.Time.GetUtcNow();
        ProbeState? Make(Probe? probe, bool? verdict) => probe is null
            ? null
            : new ProbeState((record.Current!.StartedAt ?? now) + TimeSpan.FromSeconds(probe.InitialDelaySeconds), verdict);
        record.Startup = Make(spec?.StartupProbe, startedBefore ? true : null);
        record.Readiness = Make(spec?.ReadinessProbe, readyBefore);
        record.Liveness = Make(spec?.LivenessProbe, true);
    }

    private void RecordEvent(bool warning, string reason, string message, ContainerRecord? container = null) =>
        _node.Services.Events.Record(_node.NodeName, EventSubject.Of(_state.Pod, container), warning, reason, message);

    private string? _lostSandbox;

    private void RecordSandboxLost()
    {
        if (_lostSandbox == _state.Sandbox?.Id)
            return;
        _lostSandbox = _state.Sandbox?.Id;
        RecordEvent(warning: false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    }

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Error, "Pod {Namespace}/{Pod} could not be evaluated; trying again in 10 s")]
        public static partial void EvaluationFailed(ILogger logger, Exception exception, string @namespace, string pod);

        [LoggerMessage(2, LogLevel.Warning, "Pod {Namespace}/{Pod}: {Operation} {Container} failed: {Why}")]
        public static partial void OperationFailed(ILogger logger, string @namespace, string pod, PodActionKind operation, string container, string why);

        [LoggerMessage(3, LogLevel.Debug, "Pod {Namespace}/{Pod}: {Operation} {Container}")]
        public static partial void Operation(ILogger logger, string @namespace, string pod, PodActionKind operation, string container);

        [LoggerMessage(EventId = 4, Message = "Pod {Namespace}/{Pod}: container {Container} ended: {Reason}, exit code {ExitCode}")]
        public static partial void ContainerEnded(ILogger logger, LogLevel level, string @namespace, string pod, string container, string reason, int exitCode);
    }
}
