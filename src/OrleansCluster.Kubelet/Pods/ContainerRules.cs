using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>Rules about one container that the plan and the status share, so that what is done and what is shown cannot differ.</summary>
internal static class ContainerRules
{
    /// <summary>Wait after the second crash and after the first failed pull.</summary>
    public static readonly TimeSpan FirstDelay = TimeSpan.FromSeconds(10);

    /// <summary>The most to wait between restarts or pulls.</summary>
    public static readonly TimeSpan MaxDelay = TimeSpan.FromSeconds(300);

    /// <summary>A container that ran so long starts with a clean record.</summary>
    public static readonly TimeSpan ForgiveAfter = TimeSpan.FromMinutes(10);

    /// <summary>How long `ErrImagePull` is shown before it turns into `ImagePullBackOff`.</summary>
    private static readonly TimeSpan ShowPullError = TimeSpan.FromSeconds(5);

    /// <summary>The engine's label with the image that the spec named when the container was created.</summary>
    public const string ImageLabel = "kubelet.image";

    /// <summary>Whether the spec names another image than the running container was made from. Nothing else of a container can change.</summary>
    public static bool ImageChanged(PodState state, ContainerRecord record) =>
        record.Current is { } current && current.Labels.TryGetValue(ImageLabel, out var image)
        && Spec(state, record) is { } spec && spec.Image != image;

    public static TimeSpan NextDelay(TimeSpan delay) =>
        delay <= TimeSpan.Zero ? FirstDelay : delay * 2 < MaxDelay ? delay * 2 : MaxDelay;

    /// <summary>Whether an ended container is to be started again.</summary>
    public static bool RestartsAfterExit(PodState state, ContainerRecord record)
    {
        if (record.Current is not { State: ContainerState.Exited } current)
            return true;
        if (record.Stop is { Cause: StopCause.SpecChanged })
            return true;
        return record.Kind switch
        {
            ContainerKind.Sidecar => true,
            ContainerKind.Ephemeral => false,
            ContainerKind.Init => current.ExitCode != 0 && state.Pod.Spec.RestartPolicy != "Never",
            _ => state.Pod.Spec.RestartPolicy switch
            {
                "Always" => true,
                "OnFailure" => current.ExitCode != 0,
                _ => false,
            },
        };
    }

    /// <summary>Until when an ended container has to wait for its restart; null when it may start now.</summary>
    public static DateTimeOffset? CrashBackOffUntil(ContainerRecord record, DateTimeOffset now)
    {
        if (record.Stop is { Cause: StopCause.SpecChanged })
            return null;
        if (record.CrashDelay <= TimeSpan.Zero || record.Current is not { State: ContainerState.Exited } current || RanLongEnough(current))
            return null;
        var until = (current.FinishedAt ?? current.CreatedAt) + record.CrashDelay;
        return until > now ? until : null;
    }

    public static bool RanLongEnough(ContainerStatus ended) =>
        ended.StartedAt is { } started && ended.FinishedAt is { } finished && finished - started >= ForgiveAfter;

    /// <summary>Why a container that does not run is waited for, or null when nothing holds it.</summary>
    public static (string Reason, string Message)? Waiting(PodState state, ContainerRecord record, DateTimeOffset now)
    {
        if (record.Failure is { } failure)
        {
            if (WordsChangeAt(record) is not { } words || now < words)
                return (failure.Reason, failure.Message);
            if (failure.Reason == "ErrImagePull")
                return ("ImagePullBackOff", $"Back-off pulling image \"{Image(state, record)}\": {failure.Reason}: {failure.Message}");
        }
        if (record.IsExited && RestartsAfterExit(state, record) && CrashBackOffUntil(record, now) is not null)
        {
            return ("CrashLoopBackOff",
                $"back-off {WireFormat.Duration(record.CrashDelay)} restarting failed container={record.Name} pod={state.Pod.LongName}");
        }
        return null;
    }

    /// <summary>When <see cref="Waiting"/> changes its words without anything happening; null when it does not.</summary>
    public static DateTimeOffset? WordsChangeAt(ContainerRecord record) => record.Failure switch
    {
        { Reason: "ErrImagePull" } failure => failure.At + PullErrorShown(failure),
        { Reason: "RunContainerError" } failure when record.CrashDelay > FirstDelay => failure.At + ShowPullError,
        _ => null,
    };

    /// <summary>Whether the startup probe and the postStart hook are through.</summary>
    public static bool Started(PodState state, ContainerRecord record) =>
        record.IsRunning && record.PostStartDone && (Spec(state, record)?.StartupProbe is null || record.Startup?.Verdict == true);

    public static bool Ready(PodState state, ContainerRecord record)
    {
        if (record.Kind == ContainerKind.Init)
            return record.Current is { State: ContainerState.Exited, ExitCode: 0 };
        if (record.Kind == ContainerKind.Ephemeral)
            return false;
        return Started(state, record) && (Spec(state, record)?.ReadinessProbe is null || record.Readiness?.Verdict == true);
    }

    public static PodContainer? Spec(PodState state, ContainerRecord record)
    {
        var spec = state.Pod.Spec;
        var containers = record.Kind switch
        {
            ContainerKind.Init or ContainerKind.Sidecar => spec.InitContainers,
            ContainerKind.Main => spec.Containers,
            _ => spec.EphemeralContainers,
        };
        return Array.Find(containers, container => container.Name == record.Name);
    }

    private static string Image(PodState state, ContainerRecord record) => Spec(state, record)?.Image ?? "";

    private static TimeSpan PullErrorShown(Failure failure) => failure.Delay / 2 < ShowPullError ? failure.Delay / 2 : ShowPullError;
}
