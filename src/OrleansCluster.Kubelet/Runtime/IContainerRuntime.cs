using OrleansCluster.Kubelet.Images;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>
/// What a node needs of a container engine, in words no engine owns: sandboxes (a pod's namespaces, its network and its address)
/// and the containers that join them. One instance belongs to one node of one cluster and sees only what it created itself.
/// </summary>
/// <remarks>
/// <para>Life of a pod: <see cref="CreateSandboxAsync"/> (reserves the address) → <see cref="StartSandboxAsync"/> (namespaces, network up) →
/// <see cref="CreateContainerAsync"/> → <see cref="StartContainerAsync"/> → … → <see cref="StopContainerAsync"/> or
/// <see cref="KillContainerAsync"/> → <see cref="RemoveContainerAsync"/> → <see cref="RemoveSandboxAsync"/>.
/// A container may be created while its sandbox is still being started, which hides most of the cost of the second create.</para>
/// <para>Verbs are idempotent where a repeat is harmless: starting what runs, stopping or killing what has ended and removing what is gone succeed.
/// Failures are <see cref="RuntimeException"/>s, whose <see cref="RuntimeException.Reason"/> is the reason a pod's status shows.</para>
/// <para>Every implementation passes the battery <c>ContainerRuntimeBattery</c> of the tests. All members may be called concurrently.</para>
/// </remarks>
public interface IContainerRuntime : IAsyncDisposable
{
    /// <summary>The images of the engine.</summary>
    IImageStore Images { get; }

    /// <summary>The engine's name, version and machine; fails with <see cref="RuntimeFailure.Unavailable"/> when it does not answer.</summary>
    Task<RuntimeVersion> GetVersionAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Prepares the host for pods (network rules, the pause image) and takes the addresses of running sandboxes back into account.
    /// Called once before the first sandbox and again after a restart of the node agent; repeats are harmless.
    /// </summary>
    Task PrepareAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Creates a pod's sandbox, not yet started, and reserves its address. A sandbox of the same pod and attempt that is left over is removed first.
    /// </summary>
    /// <returns>
    /// The sandbox; its <see cref="SandboxStatus.PodIP"/> is null when the network gives the address only at the start: then start it before
    /// anything that needs the address is written.
    /// </returns>
    Task<SandboxStatus> CreateSandboxAsync(SandboxSpec spec, CancellationToken cancellationToken);

    /// <summary>Starts a created sandbox and connects it to the pod network. On failure the sandbox stays and must be removed.</summary>
    Task<SandboxStatus> StartSandboxAsync(string sandboxId, CancellationToken cancellationToken);

    /// <summary>The sandbox as it is, or null when it is unknown to the engine.</summary>
    Task<SandboxStatus?> InspectSandboxAsync(string sandboxId, CancellationToken cancellationToken);

    /// <summary>Kills the sandbox's process, removes it with its network and gives the address back. The pod's containers must be removed before.</summary>
    Task RemoveSandboxAsync(string sandboxId, CancellationToken cancellationToken);

    /// <summary>All sandboxes of this node, running or not.</summary>
    Task<IReadOnlyList<SandboxStatus>> ListSandboxesAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Creates a container in a sandbox, not yet started. A container of the same pod, name and attempt that is left over is removed first.
    /// The image must be present: pulling is the caller's decision.
    /// </summary>
    /// <returns>The container's id.</returns>
    Task<string> CreateContainerAsync(string sandboxId, ContainerSpec spec, CancellationToken cancellationToken);

    /// <summary>
    /// Starts a created container. When its process cannot be started (executable missing, not executable, bad working directory or user)
    /// the failure is <see cref="RuntimeFailure.StartContainer"/> and the container counts as exited with
    /// <see cref="ContainerStatus.StartErrorExitCode"/>.
    /// </summary>
    Task StartContainerAsync(string containerId, CancellationToken cancellationToken);

    /// <summary>Asks the container to end: sends its image's stop signal (SIGTERM if it names none) and returns at once. The caller waits and kills.</summary>
    Task StopContainerAsync(string containerId, CancellationToken cancellationToken);

    /// <summary>Sends SIGKILL and returns at once; the end shows in <see cref="WatchEventsAsync"/> and <see cref="InspectContainerAsync"/>.</summary>
    Task KillContainerAsync(string containerId, CancellationToken cancellationToken);

    /// <summary>Removes a container and its logs, killing it if it runs.</summary>
    Task RemoveContainerAsync(string containerId, CancellationToken cancellationToken);

    /// <summary>The container as it is, or null when it is unknown to the engine.</summary>
    Task<ContainerStatus?> InspectContainerAsync(string containerId, CancellationToken cancellationToken);

    /// <summary>
    /// All containers of this node (no sandboxes), running or not, newest first. A listed status has no exit details
    /// (<see cref="ContainerStatus.OomKilled"/>, times): inspect what has ended.
    /// </summary>
    Task<IReadOnlyList<ContainerStatus>> ListContainersAsync(CancellationToken cancellationToken);

    /// <summary>
    /// What happens to this node's containers and sandboxes, until cancelled. The stream re-connects by itself (bounded, jittered back-off); its first
    /// element, and the first after every gap, is <see cref="RuntimeEventKind.Resync"/>: list and inspect then, events may have been missed.
    /// A container that dies after a Resync was received is never missed.
    /// </summary>
    IAsyncEnumerable<RuntimeEvent> WatchEventsAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Copies a container's log to <paramref name="stdout"/> and <paramref name="stderr"/> (which may be the same stream; each write is one line
    /// or a part of a long one). Without <see cref="LogQuery.Follow"/> it ends at the log's end, with it when the container ends.
    /// </summary>
    Task ReadLogsAsync(string containerId, LogQuery query, Stream stdout, Stream stderr, CancellationToken cancellationToken);

    /// <summary>Starts a command in a running container and connects to its streams.</summary>
    Task<IProcessSession> ExecAsync(string containerId, ExecSpec spec, CancellationToken cancellationToken);

    /// <summary>Connects to the streams of the container's main process, from now on.</summary>
    Task<IProcessSession> AttachAsync(string containerId, AttachSpec spec, CancellationToken cancellationToken);

    /// <summary>Opens a TCP connection to 127.0.0.1:<paramref name="port"/> inside the pod.</summary>
    Task<Stream> ConnectAsync(string sandboxId, int port, CancellationToken cancellationToken);

    /// <summary>CPU time and memory of a running container, or null when it does not run.</summary>
    Task<ContainerStats?> GetStatsAsync(string containerId, CancellationToken cancellationToken);
}
