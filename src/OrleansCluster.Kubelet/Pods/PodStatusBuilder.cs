using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>A pod's status as this agent sees it, before it is written.</summary>
internal sealed record PodStatusModel
{
    public required string Phase { get; init; }

    public string? Reason { get; init; }

    public string? Message { get; init; }

    public string? HostIP { get; init; }

    public string? PodIP { get; init; }

    public DateTimeOffset StartTime { get; init; }

    public required IReadOnlyList<PodCondition> Conditions { get; init; }

    public required IReadOnlyList<ContainerStatusModel> Containers { get; init; }
}

/// <summary>A condition of a pod.</summary>
internal sealed record PodCondition(string Type, bool Status, string? Reason = null, string? Message = null)
{
    public DateTimeOffset LastTransitionTime { get; init; }
}

/// <summary>How one container shows in the status.</summary>
internal sealed record ContainerStatusModel
{
    public required string Name { get; init; }

    public required ContainerKind Kind { get; init; }

    /// <summary>Set: waiting.</summary>
    public (string Reason, string? Message)? Waiting { get; init; }

    /// <summary>Set: running since.</summary>
    public DateTimeOffset? RunningSince { get; init; }

    /// <summary>Set: ended.</summary>
    public TerminatedDocument? Terminated { get; init; }

    public TerminatedDocument? Last { get; init; }

    public bool Ready { get; init; }

    public bool Started { get; init; }

    public int RestartCount { get; init; }

    public string Image { get; init; } = "";

    public string ImageId { get; init; } = "";

    public string? ContainerId { get; init; }
}

/// <summary>Makes the status of a pod from what is known of it (wire contract, "Pod life"). Pure.</summary>
/// <param name="nodeAddress">The node's address: `status.hostIP`, and `podIP` of pods on the host's network.</param>
/// <param name="idScheme">What stands before `://` in container ids.</param>
internal sealed class PodStatusBuilder(string nodeAddress, string idScheme)
{
    public PodStatusModel Build(PodState state, DateTimeOffset now, IReadOnlyList<PodCondition> before)
    {
        var containers = new List<ContainerStatusModel>(state.Containers.Count);
        var initialized = Initialized(state);
        foreach (var record in state.Containers)
            containers.Add(Container(state, record, initialized, now));

        var phase = Phase(state, containers, initialized);
        var sandbox = state.Sandbox;
        return new PodStatusModel
        {
            Phase = phase,
            Reason = state.Outcome?.Reason,
            Message = state.Outcome?.Message,
            HostIP = nodeAddress,
            PodIP = state.Pod.Spec.HostNetwork ? nodeAddress : sandbox?.PodIP?.ToString(),
            StartTime = state.StartTime,
            Conditions = Conditions(state, containers, phase, initialized, before, now),
            Containers = containers,
        };
    }

    private ContainerStatusModel Container(PodState state, ContainerRecord record, bool initialized, DateTimeOffset now)
    {
        var spec = ContainerRules.Spec(state, record);
        var current = record.Current;
        var model = new ContainerStatusModel
        {
            Name = record.Name,
            Kind = record.Kind,
            Ready = ContainerRules.Ready(state, record),
            Started = ContainerRules.Started(state, record),
            RestartCount = record.RestartCount,
            // An engine lists a container by its image's id once the tag has moved on.
            Image = current?.Labels.GetValueOrDefault(ContainerRules.ImageLabel) is { Length: > 0 } image ? image : spec?.Image ?? "",
            ImageId = ImageId(current?.ImageId),
            ContainerId = current is null ? null : Id(current.Id),
        };
        if (record.IsRunning)
            return model with { RunningSince = current!.StartedAt ?? current.CreatedAt, Last = Previous(record) };

        var waiting = ContainerRules.Waiting(state, record, now);
        var ends = state.Ending || state.Outcome is not null;
        if (record.IsExited)
        {
            var ended = Ended(current!, record.CurrentMessage);
            return waiting is { } why && !ends
                ? model with { Waiting = (why.Reason, why.Message), Last = ended }
                : model with { Terminated = ended, Last = Previous(record) };
        }
        if (ends && (record.ReportedStarted || record.BaseRestarts > 0) && current is null)
        {
            return model with
            {
                Terminated = new TerminatedDocument
                {
                    ExitCode = 137,
                    Reason = "ContainerStatusUnknown",
                    Message = "The container could not be located when the pod was terminated",
                },
            };
        }
        var blocked = !initialized && record.Kind is ContainerKind.Main || record.Kind is ContainerKind.Init or ContainerKind.Sidecar && HasInitBefore(state, record);
        var reason = waiting is { } w ? (w.Reason, (string?)w.Message) : (blocked ? "PodInitializing" : "ContainerCreating", null);
        return model with { Waiting = reason, Last = Previous(record) };
    }

    private static bool HasInitBefore(PodState state, ContainerRecord record)
    {
        foreach (var other in state.Containers)
        {
            if (other == record)
                return false;
            if (!InitDone(state, other))
                return true;
        }
        return false;
    }

    private TerminatedDocument? Previous(ContainerRecord record)
    {
        if (record.Previous is { State: ContainerState.Exited } previous)
            return Ended(previous, record.PreviousMessage);
        return record.ReportedLast;
    }

    private TerminatedDocument Ended(ContainerStatus ended, string? message) => new()
    {
        ExitCode = ended.ExitCode,
        Signal = 0,
        Reason = ended.TerminationReason,
        Message = ended.StartError ?? message,
        StartedAt = ended.StartedAt,
        FinishedAt = ended.FinishedAt,
        ContainerId = Id(ended.Id),
    };

    private string Id(string containerId) => $"{idScheme}://{containerId}";

    private string ImageId(string? imageId) =>
        string.IsNullOrEmpty(imageId) ? "" : imageId.Contains("://", StringComparison.Ordinal) ? imageId : $"{idScheme}://{imageId}";

    private static bool Initialized(PodState state)
    {
        foreach (var record in state.Containers)
        {
            if (record.Kind == ContainerKind.Main && record.Current is not null)
                return true;
        }
        foreach (var record in state.Containers)
        {
            if (!InitDone(state, record))
                return false;
        }
        return true;
    }

    private static bool InitDone(PodState state, ContainerRecord record) => record.Kind switch
    {
        ContainerKind.Init => record.Current is { State: ContainerState.Exited, ExitCode: 0 },
        ContainerKind.Sidecar => ContainerRules.Started(state, record),
        _ => true,
    };

    private static string Phase(PodState state, List<ContainerStatusModel> containers, bool initialized)
    {
        if (state.Outcome is { } outcome)
        {
            // A deadline has struck but its containers may still be ending: the phase is final only with them.
            return containers.Exists(container => container.RunningSince is not null) ? "Running" : outcome.Phase;
        }
        int waiting = 0, running = 0, stopped = 0, succeeded = 0;
        var sidecarRuns = false;
        foreach (var container in containers)
        {
            if (container.Kind == ContainerKind.Sidecar)
                sidecarRuns |= container.RunningSince is not null;
            if (container.Kind != ContainerKind.Main)
                continue;
            if (container.RunningSince is not null)
            {
                running++;
            }
            else if (container.Terminated is { } ended)
            {
                stopped++;
                if (ended.ExitCode == 0)
                    succeeded++;
            }
            else if (container.Last is not null)
            {
                stopped++;
            }
            else
            {
                waiting++;
            }
        }
        var ended2 = state.Ending && running == 0 && stopped > 0 && !sidecarRuns;
        if (ended2)
            return succeeded == stopped && waiting == 0 ? "Succeeded" : "Failed";
        if (!initialized || waiting > 0)
            return "Pending";
        return running > 0 || stopped > 0 ? "Running" : "Pending";
    }

    private static List<PodCondition> Conditions(
        PodState state, List<ContainerStatusModel> containers, string phase, bool initialized, IReadOnlyList<PodCondition> before, DateTimeOffset now)
    {
        var done = phase is "Succeeded" or "Failed";
        var doneReason = phase == "Succeeded" ? "PodCompleted" : "PodFailed";
        var result = new List<PodCondition>(5)
        {
            new("PodReadyToStartContainers", state.Sandbox is { Running: true }),
        };

        if (initialized || phase == "Succeeded")
        {
            result.Add(new("Initialized", true, phase == "Succeeded" ? "PodCompleted" : null));
        }
        else if (done)
        {
            result.Add(new("Initialized", false, doneReason));
        }
        else
        {
            var names = containers.Where(c => c.Kind is ContainerKind.Init or ContainerKind.Sidecar && !InitDone(state, state.Container(c.Name)));
            result.Add(new("Initialized", false, "ContainersNotInitialized",
                $"containers with incomplete status: [{string.Join(' ', names.Select(c => c.Name))}]"));
        }

        PodCondition containersReady;
        if (done)
        {
            containersReady = new("ContainersReady", false, doneReason);
        }
        else
        {
            var unready = containers.Where(c => c.Kind is ContainerKind.Main or ContainerKind.Sidecar && !c.Ready).Select(c => c.Name).ToList();
            containersReady = unready.Count == 0
                ? new("ContainersReady", true)
                : new("ContainersReady", false, "ContainersNotReady", $"containers with unready status: [{string.Join(' ', unready)}]");
        }
        result.Add(containersReady);
        result.Add(containersReady with { Type = "Ready" });
        if (containersReady.Status && MissingGate(state.Pod) is { } gate)
            result[^1] = new("Ready", false, "ReadinessGatesNotReady", gate);
        result.Add(new("PodScheduled", true));

        for (var i = 0; i < result.Count; i++)
        {
            var old = before.FirstOrDefault(condition => condition.Type == result[i].Type);
            result[i] = result[i] with { LastTransitionTime = old is not null && old.Status == result[i].Status ? old.LastTransitionTime : now };
        }
        return result;
    }

    private static string? MissingGate(PodDocument pod)
    {
        var missing = new List<string>();
        foreach (var gate in pod.Spec.ReadinessGates)
        {
            var condition = Array.Find(pod.Status.Conditions, condition => condition.Type == gate.ConditionType);
            if (condition is null)
                missing.Add($"corresponding condition of pod readiness gate \"{gate.ConditionType}\" does not exist.");
            else if (condition.Status != "True")
                missing.Add($"the status of pod readiness gate \"{gate.ConditionType}\" is not \"True\", but {condition.Status}");
        }
        return missing.Count == 0 ? null : string.Join(", ", missing);
    }
}
