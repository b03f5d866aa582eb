using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// What a pod worker knows: what is desired, what was observed, what went wrong and what is under way. <see cref="PodPlan"/> only reads it; the worker
/// changes it under its lock.
/// </summary>
internal sealed class PodState
{
    private readonly Dictionary<string, ContainerRecord> _containers = new(StringComparer.Ordinal);
    private Dictionary<string, (DateTimeOffset Until, TimeSpan Delay)>? _holds;

    public PodState(PodDocument pod) => SetPod(pod);

    /// <summary>What is desired.</summary>
    public PodDocument Pod { get; private set; } = null!;

    /// <summary>The API has no such pod any more: end it, and report nothing.</summary>
    public bool Removed { get; set; }

    /// <summary>When this agent began to end the pod; its grace counts from here.</summary>
    public DateTimeOffset? EndingSince { get; set; }

    /// <summary>How the pod ended by itself, once it did. It never comes back from there.</summary>
    public PodOutcome? Outcome { get; set; }

    /// <summary>When this agent first saw the pod (`status.startTime`).</summary>
    public DateTimeOffset StartTime { get; set; }

    public SandboxStatus? Sandbox { get; set; }

    /// <summary>True from the sandbox's start: found not running after that, it was lost, not late.</summary>
    public bool SandboxWasRunning { get; set; }

    /// <summary>Number of the next sandbox.</summary>
    public int NextSandboxAttempt { get; set; }

    public Failure? SandboxFailure { get; set; }

    public bool VolumesReady { get; set; }

    public Failure? VolumeFailure { get; set; }

    /// <summary>When to bring volumes that follow the API up to date, or null for never.</summary>
    public DateTimeOffset? VolumesRefreshAt { get; set; }

    /// <summary>What operations are in flight for (`pod`, `volumes`, a container's name, `probe:…`): one at a time for each.</summary>
    public HashSet<string> Busy { get; } = new(StringComparer.Ordinal);

    /// <summary>The final status reached the API.</summary>
    public bool FinalStatusWritten { get; set; }

    /// <summary>The pod's directories and volumes are gone.</summary>
    public bool DirectoriesRemoved { get; set; }

    /// <summary>The API confirmed that the pod is gone.</summary>
    public bool ApiDeleted { get; set; }

    public DateTimeOffset? ApiDeleteRetryAt { get; set; }

    public IReadOnlyCollection<ContainerRecord> Containers => _containers.Values;

    public bool Ending => Removed || Pod.Deleting;

    /// <summary>Until when a target whose operation failed is left alone, or null.</summary>
    public DateTimeOffset? HeldUntil(string target) =>
        _holds is not null && _holds.TryGetValue(target, out var hold) ? hold.Until : null;

    /// <summary>Leaves a target alone for a while: 1 s at first, twice as long each time, a minute at most.</summary>
    public void Hold(string target, DateTimeOffset now)
    {
        _holds ??= new(StringComparer.Ordinal);
        var delay = _holds.TryGetValue(target, out var hold) ? hold.Delay * 2 : TimeSpan.FromSeconds(1);
        delay = delay > TimeSpan.FromMinutes(1) ? TimeSpan.FromMinutes(1) : delay;
        _holds[target] = (now + delay, delay);
    }

    /// <summary>The target's operation succeeded.</summary>
    public void Unhold(string target) => _holds?.Remove(target);

    public ContainerRecord Container(string name) => _containers[name];

    public ContainerRecord? FindContainer(string name) => _containers.GetValueOrDefault(name);

    /// <summary>Takes a newer pod. Containers are only ever added (ephemeral ones).</summary>
    public void SetPod(PodDocument pod)
    {
        Pod = pod;
        foreach (var (container, kind) in pod.AllContainers())
        {
            if (!_containers.ContainsKey(container.Name))
                _containers.Add(container.Name, new ContainerRecord(container.Name, kind));
        }
    }
}

/// <summary>How a pod ended by itself.</summary>
/// <param name="Phase">`Succeeded` or `Failed`.</param>
/// <param name="Reason">Reason of the pod, for instance `DeadlineExceeded`, or null.</param>
/// <param name="Message">Text for people, or null.</param>
internal sealed record PodOutcome(string Phase, string? Reason = null, string? Message = null);

/// <summary>Something that failed and is tried again.</summary>
/// <param name="Reason">Reason as a waiting state shows it.</param>
/// <param name="Message">Text for people.</param>
/// <param name="At">When it failed.</param>
/// <param name="Delay">How long to wait; the next failure doubles it.</param>
internal sealed record Failure(string Reason, string Message, DateTimeOffset At, TimeSpan Delay)
{
    public DateTimeOffset RetryAt => At + Delay;

    /// <summary>True for what the image back-off applies to; its texts change while waiting.</summary>
    public bool OfImage => Reason is "ErrImagePull" or "ErrImageNeverPull" or "InvalidImageName" or "ImageInspectError";
}

/// <summary>One container of the spec: its engine containers, its failures, its probes.</summary>
internal sealed class ContainerRecord(string name, ContainerKind kind)
{
    private HashSet<string>? _released;

    public string Name { get; } = name;

    public ContainerKind Kind { get; } = kind;

    /// <summary>The newest engine container.</summary>
    public ContainerStatus? Current { get; private set; }

    /// <summary>The one before, kept for `lastState` and `logs --previous`.</summary>
    public ContainerStatus? Previous { get; private set; }

    /// <summary>Older ones, to be removed.</summary>
    public List<ContainerStatus> Dead { get; } = [];

    /// <summary>What the termination messages were.</summary>
    public string? CurrentMessage { get; set; }

    public string? PreviousMessage { get; set; }

    /// <summary>Restart count of the next container when no engine container is left to count from.</summary>
    public int BaseRestarts { get; set; }

    /// <summary>The last end that the API knows, for when the engine's container is gone.</summary>
    public TerminatedDocument? ReportedLast { get; set; }

    /// <summary>The API saw it started: when its engine container is gone, its end has to be told.</summary>
    public bool ReportedStarted { get; set; }

    /// <summary>The image found for the next container, or null.</summary>
    public Images.ContainerImage? Image { get; set; }

    public Failure? Failure { get; set; }

    /// <summary>Wait after the next crash; zero before the first.</summary>
    public TimeSpan CrashDelay { get; set; }

    public ContainerStop? Stop { get; set; }

    /// <summary>The postStart hook ended (or there is none).</summary>
    public bool PostStartDone { get; set; }

    public ProbeState? Startup { get; set; }

    public ProbeState? Readiness { get; set; }

    public ProbeState? Liveness { get; set; }

    public bool IsRunning => Current?.State == ContainerState.Running;

    public bool IsExited => Current?.State == ContainerState.Exited;

    public int NextAttempt => Current is { } current ? current.Attempt + 1 : BaseRestarts;

    public int RestartCount => Current?.Attempt ?? BaseRestarts;

    /// <summary>
    /// Takes what was seen of an engine container. A state never goes backwards: late news of a container that has ended since are dropped.
    /// </summary>
    public void Observe(ContainerStatus seen)
    {
        if (Current is null || seen.Attempt > Current.Attempt)
        {
            if (Current is not null)
                Bury(Current);
            Current = seen;
            PreviousMessage = CurrentMessage;
            CurrentMessage = null;
            Stop = null;
            Failure = null;
            Image = null;
            PostStartDone = false;
            Startup = Readiness = Liveness = null;
        }
        else if (seen.Id == Current.Id)
        {
            if (Rank(seen.State) >= Rank(Current.State))
                Current = seen;
        }
        else
        {
            Bury(seen);
        }

        static int Rank(ContainerState state) => state switch
        {
            ContainerState.Created => 0,
            ContainerState.Running => 1,
            ContainerState.Exited => 2,
            _ => -1,
        };
    }

    /// <summary>Takes that an engine container is gone.</summary>
    public void Forget(string containerId)
    {
        Dead.RemoveAll(dead => dead.Id == containerId);
        if (Previous?.Id == containerId)
            Previous = null;
        if (Current?.Id == containerId)
        {
            // Removed behind our back: as good as ended, and the count goes on.
            BaseRestarts = Current.Attempt + 1;
            Current = null;
            Image = null;
            Stop = null;
            PostStartDone = false;
            Startup = Readiness = Liveness = null;
        }
    }

    /// <summary>The engine's object is gone, but how it ended is still to be told.</summary>
    public void Release(string containerId) => (_released ??= new(StringComparer.Ordinal)).Add(containerId);

    /// <summary>What the engine still holds.</summary>
    public IEnumerable<ContainerStatus> EngineContainers()
    {
        if (Current is not null && !IsReleased(Current))
            yield return Current;
        if (Previous is not null && !IsReleased(Previous))
            yield return Previous;
        foreach (var dead in Dead)
        {
            if (!IsReleased(dead))
                yield return dead;
        }
    }

    private bool IsReleased(ContainerStatus container) => _released?.Contains(container.Id) == true;

    private void Bury(ContainerStatus old)
    {
        if (Dead.Exists(dead => dead.Id == old.Id))
            return;
        if (Previous?.Id == old.Id)
        {
            Previous = old;
            return;
        }
        if (Previous is null || old.Attempt > Previous.Attempt)
        {
            if (Previous is not null)
                Dead.Add(Previous);
            Previous = old;
        }
        else
        {
            Dead.Add(old);
        }
    }
}

/// <summary>Why and how a running container is being ended.</summary>
internal sealed class ContainerStop(StopCause cause, TimeSpan grace, string message)
{
    public StopCause Cause { get; } = cause;

    public TimeSpan Grace { get; set; } = grace;

    /// <summary>Text of the Killing event.</summary>
    public string Message { get; } = message;

    public DateTimeOffset? RequestedAt { get; set; }

    public DateTimeOffset? TermSentAt { get; set; }

    public DateTimeOffset? KillSentAt { get; set; }
}

internal enum StopCause
{
    /// <summary>The pod is being deleted or is gone.</summary>
    PodDeleted,

    /// <summary>The pod ended by itself (deadline, or the main containers are done and this one is a sidecar).</summary>
    PodEnded,

    /// <summary>A probe or the postStart hook says that it must be restarted.</summary>
    Unhealthy,

    /// <summary>Its sandbox is gone.</summary>
    SandboxLost,

    /// <summary>The spec names another image by now.</summary>
    SpecChanged,
}
