using System.Net;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>An engine and the machine it runs on.</summary>
/// <param name="Name">The engine's scheme in container ids and node status, for instance <c>docker</c>.</param>
/// <param name="Version">The engine's version.</param>
/// <param name="OperatingSystem">The operating system in words.</param>
/// <param name="KernelVersion">The kernel's release.</param>
/// <param name="Architecture">The architecture in Kubernetes' words: <c>amd64</c>, <c>arm64</c>.</param>
/// <param name="CpuCount">Processors of the engine's machine.</param>
/// <param name="MemoryBytes">Memory of the engine's machine, bytes.</param>
public sealed record RuntimeVersion(
    string Name,
    string Version,
    string OperatingSystem,
    string KernelVersion,
    string Architecture,
    int CpuCount,
    long MemoryBytes);

/// <summary>Which pod something belongs to.</summary>
/// <param name="Namespace">The pod's namespace.</param>
/// <param name="Name">The pod's name.</param>
/// <param name="Uid">The pod's uid.</param>
public sealed record PodIdentity(string Namespace, string Name, string Uid);

/// <summary>Whose network namespace a pod lives in.</summary>
public enum SandboxNetwork
{
    /// <summary>Its own, connected to the pod network.</summary>
    Pod,

    /// <summary>The node's (<c>hostNetwork: true</c>).</summary>
    Host,
}

/// <summary>A port of the node that leads into the pod (<c>hostPort</c>).</summary>
/// <param name="Port">The node's port.</param>
/// <param name="ContainerPort">The pod's port.</param>
/// <param name="Protocol"><c>TCP</c>, <c>UDP</c> or <c>SCTP</c>.</param>
/// <param name="HostIP">The node's address to listen on, or null for all.</param>
public sealed record HostPort(int Port, int ContainerPort, string Protocol = "TCP", IPAddress? HostIP = null);

/// <summary>What a sandbox shall be.</summary>
public sealed record SandboxSpec
{
    /// <summary>The pod.</summary>
    public required PodIdentity Pod { get; init; }

    /// <summary>Counts the sandboxes a pod had, from 0.</summary>
    public int Attempt { get; init; }

    /// <summary>The host name all containers of the pod see; at most 63 characters.</summary>
    public required string Hostname { get; init; }

    /// <summary>Whose network the pod uses.</summary>
    public SandboxNetwork Network { get; init; }

    /// <summary>Ports of the node that lead into the pod.</summary>
    public IReadOnlyList<HostPort> HostPorts { get; init; } = [];

    /// <summary>The cgroup above all containers of the pod, or null for the engine's default.</summary>
    public string? CgroupParent { get; init; }

    /// <summary>Kernel parameters (<c>securityContext.sysctls</c>).</summary>
    public IReadOnlyDictionary<string, string> Sysctls { get; init; } = new Dictionary<string, string>();

    /// <summary>Further labels of the engine's object. Names with <c>io.kubernetes.</c> and <c>orleanscluster.io/</c> are taken.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>The pod's annotations; only simulated runtimes look at them.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>();

    /// <summary>Use the node's process ids (<c>hostPID</c>).</summary>
    public bool HostPid { get; init; }

    /// <summary>Use the node's IPC namespace (<c>hostIPC</c>).</summary>
    public bool HostIpc { get; init; }
}

/// <summary>A sandbox as it is.</summary>
/// <param name="Id">The engine's id.</param>
/// <param name="Pod">The pod.</param>
/// <param name="Attempt">Which of the pod's sandboxes it is, from 0.</param>
/// <param name="Running">Whether its namespaces exist and its network is connected.</param>
/// <param name="Pid">The process that owns its namespaces, 0 when it does not run or has none.</param>
/// <param name="PodIP">The pod's address; null for the host's network, and before the start where the network assigns it only then.</param>
/// <param name="CreatedAt">When it was created.</param>
/// <param name="Network">Whose network it uses.</param>
public sealed record SandboxStatus(
    string Id,
    PodIdentity Pod,
    int Attempt,
    bool Running,
    int Pid,
    IPAddress? PodIP,
    DateTimeOffset CreatedAt,
    SandboxNetwork Network);

/// <summary>One path of the node in a container.</summary>
/// <param name="HostPath">The node's path; it must exist.</param>
/// <param name="ContainerPath">Where it appears.</param>
/// <param name="ReadOnly">Whether writing is refused.</param>
/// <param name="Propagation">Whether mounts made later appear on the other side.</param>
public sealed record ContainerMount(
    string HostPath,
    string ContainerPath,
    bool ReadOnly = false,
    MountPropagation Propagation = MountPropagation.None);

/// <summary>Kubernetes' mount propagation.</summary>
public enum MountPropagation
{
    /// <summary>Private in both directions.</summary>
    None,

    /// <summary>The node's later mounts appear in the container.</summary>
    HostToContainer,

    /// <summary>Both ways.</summary>
    Bidirectional,
}

/// <summary>What a container shall be, in Kubernetes' meaning of the words.</summary>
public sealed record ContainerSpec
{
    /// <summary>The pod.</summary>
    public required PodIdentity Pod { get; init; }

    /// <summary>The container's name in the pod.</summary>
    public required string Name { get; init; }

    /// <summary>The restart count, from 0.</summary>
    public int Attempt { get; init; }

    /// <summary>The image to run, by name or id; it must be present.</summary>
    public required string Image { get; init; }

    /// <summary>Replaces the image's entry point; null keeps it. As in Kubernetes, a command without arguments also drops the image's arguments.</summary>
    public IReadOnlyList<string>? Command { get; init; }

    /// <summary>Replaces the image's arguments; null keeps them unless <see cref="Command"/> is set.</summary>
    public IReadOnlyList<string>? Args { get; init; }

    /// <summary>The environment, in order.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Environment { get; init; } = [];

    /// <summary>The working directory; null keeps the image's.</summary>
    public string? WorkingDirectory { get; init; }

    /// <summary>Paths of the node.</summary>
    public IReadOnlyList<ContainerMount> Mounts { get; init; } = [];

    /// <summary>CPU request in thousandths of a processor: the share under contention. 0 gives the smallest share.</summary>
    public long CpuRequestMillis { get; init; }

    /// <summary>CPU limit in thousandths of a processor, 0 for none.</summary>
    public long CpuLimitMillis { get; init; }

    /// <summary>Memory limit in bytes, 0 for none.</summary>
    public long MemoryLimitBytes { get; init; }

    /// <summary>The most processes, 0 for no limit.</summary>
    public long PidsLimit { get; init; }

    /// <summary>How willingly the kernel kills it when memory is short, 0–1000 (Kubernetes: 1000 best effort, 2–999 burstable).</summary>
    public int OomScoreAdjustment { get; init; }

    /// <summary>The user id; null keeps the image's user.</summary>
    public long? RunAsUser { get; init; }

    /// <summary>The group id; null keeps the user's.</summary>
    public long? RunAsGroup { get; init; }

    /// <summary>Further group ids (<c>supplementalGroups</c>, <c>fsGroup</c>).</summary>
    public IReadOnlyList<long> SupplementalGroups { get; init; } = [];

    /// <summary>All capabilities and devices.</summary>
    public bool Privileged { get; init; }

    /// <summary>False sets no_new_privs.</summary>
    public bool AllowPrivilegeEscalation { get; init; } = true;

    /// <summary>Capabilities added, without <c>CAP_</c>; <c>ALL</c> for all.</summary>
    public IReadOnlyList<string> AddCapabilities { get; init; } = [];

    /// <summary>Capabilities dropped, without <c>CAP_</c>; <c>ALL</c> for all.</summary>
    public IReadOnlyList<string> DropCapabilities { get; init; } = [];

    /// <summary>Whether the root file system refuses writes.</summary>
    public bool ReadOnlyRootFilesystem { get; init; }

    /// <summary>Apply the engine's default system call filter (<c>RuntimeDefault</c>). Kubernetes' default is unconfined.</summary>
    public bool SeccompRuntimeDefault { get; init; }

    /// <summary>Give it a terminal.</summary>
    public bool Tty { get; init; }

    /// <summary>Keep its standard input open.</summary>
    public bool Stdin { get; init; }

    /// <summary>Close standard input after the first client that attached left.</summary>
    public bool StdinOnce { get; init; }

    /// <summary>See the processes of the pod's other containers (<c>shareProcessNamespace</c>).</summary>
    public bool SharePodPid { get; init; }

    /// <summary>See the processes of this container of the same pod (ephemeral containers' <c>targetContainerName</c>).</summary>
    public string? SharePidOfContainerId { get; init; }

    /// <summary>Use the node's process ids (<c>hostPID</c>).</summary>
    public bool HostPid { get; init; }

    /// <summary>Use the node's IPC namespace (<c>hostIPC</c>).</summary>
    public bool HostIpc { get; init; }

    /// <summary>The cgroup above it, or null for the engine's default.</summary>
    public string? CgroupParent { get; init; }

    /// <summary>Further labels of the engine's object. Names with <c>io.kubernetes.</c> and <c>orleanscluster.io/</c> are taken.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
}

/// <summary>Where a container is in its life.</summary>
public enum ContainerState
{
    /// <summary>Created, never started.</summary>
    Created,

    /// <summary>Its process runs.</summary>
    Running,

    /// <summary>Its process ended, or could not be started.</summary>
    Exited,

    /// <summary>The engine says something else (being removed, dead).</summary>
    Unknown,
}

/// <summary>A container as it is.</summary>
public sealed record ContainerStatus
{
    /// <summary>The exit code of a container whose process could not be started.</summary>
    public const int StartErrorExitCode = 128;

    /// <summary>The engine's id.</summary>
    public required string Id { get; init; }

    /// <summary>The pod.</summary>
    public required PodIdentity Pod { get; init; }

    /// <summary>The container's name in the pod.</summary>
    public required string Name { get; init; }

    /// <summary>The restart count it was created with.</summary>
    public int Attempt { get; init; }

    /// <summary>The sandbox it joined.</summary>
    public string SandboxId { get; init; } = "";

    /// <summary>Where it is in its life.</summary>
    public ContainerState State { get; init; }

    /// <summary>The image as it was asked for.</summary>
    public string Image { get; init; } = "";

    /// <summary>The image's id.</summary>
    public string ImageId { get; init; } = "";

    /// <summary>The exit code, when exited; 128 + n after signal n.</summary>
    public int ExitCode { get; init; }

    /// <summary>Whether the kernel killed its main process for memory.</summary>
    public bool OomKilled { get; init; }

    /// <summary>Why it could not be started, or null.</summary>
    public string? StartError { get; init; }

    /// <summary>The process id on the node while it runs, else 0.</summary>
    public int Pid { get; init; }

    /// <summary>When it was created.</summary>
    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>When it was started, if it was.</summary>
    public DateTimeOffset? StartedAt { get; init; }

    /// <summary>When it ended, if it did.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>The labels of the engine's object.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>The reason a pod's status shows for an exited container: <c>Completed</c>, <c>Error</c>, <c>OOMKilled</c> or <c>StartError</c>.</summary>
    public string TerminationReason =>
        StartError is not null ? "StartError" : OomKilled ? "OOMKilled" : ExitCode == 0 ? "Completed" : "Error";
}

/// <summary>What happened.</summary>
public enum RuntimeEventKind
{
    /// <summary>The stream is connected (again): list and inspect, events before may have been missed.</summary>
    Resync,

    /// <summary>A container or sandbox was started.</summary>
    Started,

    /// <summary>A container or sandbox ended.</summary>
    Died,

    /// <summary>The kernel killed a process of a container for memory; the container may live on.</summary>
    OutOfMemory,

    /// <summary>A container or sandbox was removed.</summary>
    Removed,
}

/// <summary>An event of one container or sandbox of this node.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Id">The engine's id; empty for <see cref="RuntimeEventKind.Resync"/>.</param>
/// <param name="Pod">The pod; null for <see cref="RuntimeEventKind.Resync"/>.</param>
/// <param name="ContainerName">The container's name, or null for a sandbox and for <see cref="RuntimeEventKind.Resync"/>.</param>
/// <param name="ExitCode">The exit code of what died.</param>
public sealed record RuntimeEvent(RuntimeEventKind Kind, string Id, PodIdentity? Pod, string? ContainerName, int ExitCode = 0);

/// <summary>Which part of a log is wanted.</summary>
public sealed record LogQuery
{
    /// <summary>Go on until the container ends.</summary>
    public bool Follow { get; init; }

    /// <summary>Only this many last lines; null for all.</summary>
    public long? TailLines { get; init; }

    /// <summary>Only lines from this time on.</summary>
    public DateTimeOffset? Since { get; init; }

    /// <summary>Start each line with its time (RFC 3339, nanoseconds).</summary>
    public bool Timestamps { get; init; }

    /// <summary>Stop after this many bytes; null for all.</summary>
    public long? LimitBytes { get; init; }
}

/// <summary>A command to run in a container.</summary>
public sealed record ExecSpec
{
    /// <summary>The program and its arguments; nothing is interpreted by a shell.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>Connect standard input.</summary>
    public bool Stdin { get; init; }

    /// <summary>Connect standard output.</summary>
    public bool Stdout { get; init; } = true;

    /// <summary>Connect standard error; a terminal has none.</summary>
    public bool Stderr { get; init; } = true;

    /// <summary>Give it a terminal.</summary>
    public bool Tty { get; init; }
}

/// <summary>Which streams of the main process are wanted.</summary>
/// <param name="Stdin">Connect standard input.</param>
/// <param name="Stdout">Connect standard output.</param>
/// <param name="Stderr">Connect standard error.</param>
public sealed record AttachSpec(bool Stdin, bool Stdout, bool Stderr);

/// <summary>Where output came from.</summary>
public enum OutputStream
{
    /// <summary>Standard output, or the terminal.</summary>
    Stdout,

    /// <summary>Standard error.</summary>
    Stderr,
}

/// <summary>What one read of a session's output gave.</summary>
/// <param name="Stream">Where it came from.</param>
/// <param name="Count">Bytes read; 0 at the end.</param>
public readonly record struct OutputRead(OutputStream Stream, int Count);

/// <summary>
/// The streams of a running command or of a container's main process. Reading, writing, resizing and waiting may go on at the same time, each by
/// one caller. Disposing disconnects; it does not end the process.
/// </summary>
public interface IProcessSession : IAsyncDisposable
{
    /// <summary>Writes to standard input.</summary>
    ValueTask WriteStdinAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    /// <summary>Ends standard input; output goes on.</summary>
    ValueTask CloseStdinAsync(CancellationToken cancellationToken);

    /// <summary>Reads output of either stream; <see cref="OutputRead.Count"/> is 0 at the end.</summary>
    ValueTask<OutputRead> ReadOutputAsync(Memory<byte> buffer, CancellationToken cancellationToken);

    /// <summary>Sets the terminal's size; without a terminal nothing happens.</summary>
    Task ResizeAsync(int width, int height, CancellationToken cancellationToken);

    /// <summary>
    /// The exit code, after the output's end was read. A command that could not be started is a <see cref="RuntimeException"/> with
    /// <see cref="RuntimeFailure.Exec"/>.
    /// </summary>
    Task<int> WaitForExitAsync(CancellationToken cancellationToken);
}

/// <summary>Use of resources at one moment.</summary>
/// <param name="Time">The moment.</param>
/// <param name="CpuNanoseconds">CPU time since the start, nanoseconds.</param>
/// <param name="MemoryWorkingSetBytes">Memory in use without inactive page cache, bytes.</param>
/// <param name="MemoryUsageBytes">All memory accounted to the container, bytes.</param>
public sealed record ContainerStats(DateTimeOffset Time, long CpuNanoseconds, long MemoryWorkingSetBytes, long MemoryUsageBytes);
