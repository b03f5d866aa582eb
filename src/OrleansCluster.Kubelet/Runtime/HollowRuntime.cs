using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Network;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>How a <see cref="HollowRuntime"/> pretends.</summary>
public sealed class HollowRuntimeOptions
{
    /// <summary>The node's pod subnet.</summary>
    public required IPNetwork Subnet { get; set; }

    /// <summary>How long the start of a sandbox or container takes. Default 0.</summary>
    public TimeSpan StartLatency { get; set; }

    /// <summary>How long a pull takes. Default 0.</summary>
    public TimeSpan PullLatency { get; set; }

    /// <summary>Processors the node claims. Default 32.</summary>
    public int CpuCount { get; set; } = 32;

    /// <summary>Memory the node claims, bytes. Default 256 GiB.</summary>
    public long MemoryBytes { get; set; } = 256L << 30;

    /// <summary>Whether every image is there at once; else images have to be pulled, which succeeds unless they are in <see cref="MissingImages"/>.</summary>
    public bool AllImagesPresent { get; set; } = true;

    /// <summary>Images no pull finds.</summary>
    public ISet<string> MissingImages { get; } = new HashSet<string>(StringComparer.Ordinal);
}

/// <summary>
/// A container runtime that runs nothing, for nodes without an engine: scale tests, tests of everything above it.
/// </summary>
/// <remarks>
/// <para>A container runs until it is stopped, unless its pod says otherwise by annotations of the sandbox:
/// <c>hollow.orleanscluster.io/exit-code: "3"</c> makes the containers of the pod exit as soon as they have started,
/// <c>hollow.orleanscluster.io/start-error: "text"</c> makes their start fail; followed by <c>.NAME</c> either is meant for that container alone.
/// A test can also call <see cref="Exit"/>.</para>
/// <para>Cost: no timer, task or thread per pod or container; one object of a few dozen bytes each besides the strings they were given. Only a start in
/// progress with a latency holds a timer.</para>
/// </remarks>
public sealed class HollowRuntime : IContainerRuntime
{
    /// <summary>The annotation that makes containers exit.</summary>
    public const string ExitCodeAnnotation = "hollow.orleanscluster.io/exit-code";

    /// <summary>The annotation that makes starts fail.</summary>
    public const string StartErrorAnnotation = "hollow.orleanscluster.io/start-error";

    /// <summary>What the log of every container says.</summary>
    public const string LogLine = "This container is simulated: no process runs in it.\n";

    /// <summary>Events a slow watcher may be behind; beyond that it is told to resync.</summary>
    private const int EventBacklog = 4096;

    private const int Killed = 137, Terminated = 143;

    private readonly HollowRuntimeOptions _options;
    private readonly TimeProvider _time;
    private readonly PodSubnet _subnet;
    private readonly HollowImages _images;
    private readonly DateTimeOffset _epoch;

    // One lock for everything: each operation is a few dictionary steps.
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Sandbox> _sandboxes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Container> _containers = new(StringComparer.Ordinal);
    private readonly List<Watcher> _watchers = [];
    private long _ids;

    /// <summary>Creates an empty node.</summary>
    public HollowRuntime(HollowRuntimeOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(time);
        (_options, _time) = (options, time);
        _subnet = new PodSubnet(options.Subnet);
        _images = new HollowImages(options, time);
        _epoch = time.GetUtcNow();
    }

    /// <inheritdoc/>
    public IImageStore Images => _images;

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public Task<RuntimeVersion> GetVersionAsync(CancellationToken cancellationToken) => Task.FromResult(
        new RuntimeVersion("hollow", "1.0", "Hollow", "0", "amd64", _options.CpuCount, _options.MemoryBytes));

    /// <inheritdoc/>
    public Task PrepareAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Makes a running container end, as if its process had.</summary>
    /// <returns>False when it does not run.</returns>
    public bool Exit(string containerId, int exitCode, bool outOfMemory = false)
    {
        lock (_lock)
        {
            return _containers.TryGetValue(containerId, out var container) && EndLocked(container, exitCode, outOfMemory);
        }
    }

    /// <inheritdoc/>
    public Task<SandboxStatus> CreateSandboxAsync(SandboxSpec spec, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(spec);
        lock (_lock)
        {
            foreach (var leftOver in _sandboxes.Values.Where(other => other.Pod == spec.Pod && other.Attempt == spec.Attempt).ToList())
            {
                RemoveLocked(leftOver);
            }

            var id = NewId();
            var sandbox = new Sandbox(id, spec.Pod, spec.Attempt, Now(), spec.Network)
            {
                Annotations = HollowOnly(spec.Annotations),
                Address = spec.Network == SandboxNetwork.Pod ? _subnet.Reserve(id) : null,
            };
            _sandboxes.Add(sandbox.Id, sandbox);
            return Task.FromResult(sandbox.Status());
        }
    }

    /// <inheritdoc/>
    public async Task<SandboxStatus> StartSandboxAsync(string sandboxId, CancellationToken cancellationToken)
    {
        await PauseAsync(_options.StartLatency, cancellationToken);
        lock (_lock)
        {
            var sandbox = FindSandboxLocked(sandboxId);
            if (!sandbox.Running)
            {
                sandbox.Running = true;
                TellLocked(new RuntimeEvent(RuntimeEventKind.Started, sandboxId, sandbox.Pod, ContainerName: null));
            }

            return sandbox.Status();
        }
    }

    /// <inheritdoc/>
    public Task<SandboxStatus?> InspectSandboxAsync(string sandboxId, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult(_sandboxes.TryGetValue(sandboxId, out var sandbox) ? sandbox.Status() : null);
        }
    }

    /// <inheritdoc/>
    public Task RemoveSandboxAsync(string sandboxId, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_sandboxes.TryGetValue(sandboxId, out var sandbox))
            {
                RemoveLocked(sandbox);
            }
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<SandboxStatus>> ListSandboxesAsync(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult<IReadOnlyList<SandboxStatus>>([.. _sandboxes.Values.Select(sandbox => sandbox.Status())]);
        }
    }

    /// <inheritdoc/>
    public Task<string> CreateContainerAsync(string sandboxId, ContainerSpec spec, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(spec);
        if (!_images.IsPresent(spec.Image))
        {
            throw new RuntimeException(RuntimeFailure.CreateContainer, $"No such image: {spec.Image}");
        }

        lock (_lock)
        {
            var sandbox = FindSandboxLocked(sandboxId);
            foreach (var leftOver in sandbox.Containers.Where(other => other.Name == spec.Name && other.Attempt == spec.Attempt).ToList())
            {
                RemoveLocked(leftOver);
            }

            var container = new Container(NewId(), sandbox, spec.Name, spec.Attempt, spec.Image, Now());
            _containers.Add(container.Id, container);
            sandbox.Containers.Add(container);
            return Task.FromResult(container.Id);
        }
    }

    /// <inheritdoc/>
    public async Task StartContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        await PauseAsync(_options.StartLatency, cancellationToken);
        lock (_lock)
        {
            var container = FindLocked(containerId);
            if (container.State == ContainerState.Running)
            {
                return;
            }

            if (!container.Sandbox.Running)
            {
                throw new RuntimeException(RuntimeFailure.StartContainer, $"sandbox {container.Sandbox.Id} does not run");
            }

            if (container.Sandbox.Annotation(StartErrorAnnotation, container.Name) is { } error)
            {
                container.State = ContainerState.Exited;
                container.StartError = error;
                container.ExitCode = ContainerStatus.StartErrorExitCode;
                container.Finished = Now();
                throw new RuntimeException(RuntimeFailure.StartContainer, error);
            }

            container.State = ContainerState.Running;
            container.Started = Now();
            TellLocked(new RuntimeEvent(RuntimeEventKind.Started, containerId, container.Sandbox.Pod, container.Name));
            if (container.Sandbox.Annotation(ExitCodeAnnotation, container.Name) is { } text
                && int.TryParse(text, CultureInfo.InvariantCulture, out var exitCode))
            {
                EndLocked(container, exitCode, outOfMemory: false);
            }
        }
    }

    /// <inheritdoc/>
    public Task StopContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        Exit(containerId, Terminated);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task KillContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        Exit(containerId, Killed);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task RemoveContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_containers.TryGetValue(containerId, out var container))
            {
                RemoveLocked(container);
            }
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<ContainerStatus?> InspectContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult(_containers.TryGetValue(containerId, out var container) ? StatusLocked(container) : null);
        }
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<ContainerStatus>> ListContainersAsync(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult<IReadOnlyList<ContainerStatus>>([.. _containers.Values.Select(StatusLocked).Reverse()]);
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<RuntimeEvent> WatchEventsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var resync = new RuntimeEvent(RuntimeEventKind.Resync, "", Pod: null, ContainerName: null);
        var watcher = new Watcher();
        lock (_lock)
        {
            _watchers.Add(watcher);
        }

        try
        {
            yield return resync;
            await foreach (var happened in watcher.Events.Reader.ReadAllAsync(cancellationToken))
            {
                if (Interlocked.Exchange(ref watcher.Lost, 0) != 0)
                {
                    yield return resync;
                }

                yield return happened;
            }
        }
        finally
        {
            lock (_lock)
            {
                _watchers.Remove(watcher);
            }
        }
    }

    /// <inheritdoc/>
    public async Task ReadLogsAsync(string containerId, LogQuery query, Stream stdout, Stream stderr, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(stdout);
        DateTimeOffset? started;
        lock (_lock)
        {
            started = FindLocked(containerId).Started;
        }

        if (started is { } at && (query.Since is null || query.Since <= at) && query.TailLines is not 0)
        {
            var line = query.Timestamps ? at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'00Z '", CultureInfo.InvariantCulture) + LogLine : LogLine;
            var bytes = System.Text.Encoding.UTF8.GetBytes(line);
            await stdout.WriteAsync(bytes.AsMemory(0, (int)Math.Min(bytes.Length, query.LimitBytes ?? bytes.Length)), cancellationToken);
            await stdout.FlushAsync(cancellationToken);
        }

        if (query.Follow)
        {
            await WaitForEndAsync(containerId, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public Task<IProcessSession> ExecAsync(string containerId, ExecSpec spec, CancellationToken cancellationToken) =>
        throw new RuntimeException(RuntimeFailure.Exec, "this container is simulated (hollow node): no command can run in it");

    /// <inheritdoc/>
    public Task<IProcessSession> AttachAsync(string containerId, AttachSpec spec, CancellationToken cancellationToken) =>
        throw new RuntimeException(RuntimeFailure.Other, "this container is simulated (hollow node): it has no streams");

    /// <inheritdoc/>
    public Task<Stream> ConnectAsync(string sandboxId, int port, CancellationToken cancellationToken) =>
        throw new RuntimeException(RuntimeFailure.Other, "this pod is simulated (hollow node): nothing listens in it");

    /// <inheritdoc/>
    public Task<ContainerStats?> GetStatsAsync(string containerId, CancellationToken cancellationToken)
    {
        const long memory = 1 << 20;
        lock (_lock)
        {
            return Task.FromResult(
                _containers.TryGetValue(containerId, out var container) && container.State == ContainerState.Running
                    ? new ContainerStats(Now(), 0, memory, memory)
                    : null);
        }
    }

    // Most pods have none of ours: they share one empty dictionary.
    private static IReadOnlyDictionary<string, string>? HollowOnly(IReadOnlyDictionary<string, string> annotations) =>
        annotations.Any(annotation => annotation.Key.StartsWith("hollow.", StringComparison.Ordinal)) ? annotations : null;

    private static ContainerStatus StatusLocked(Container container) => new()
    {
        Id = container.Id,
        Pod = container.Sandbox.Pod,
        Name = container.Name,
        Attempt = container.Attempt,
        SandboxId = container.Sandbox.Id,
        State = container.State,
        Image = container.Image,
        ImageId = HollowImages.IdOf(container.Image),
        ExitCode = container.ExitCode,
        OomKilled = container.OomKilled,
        StartError = container.StartError,
        CreatedAt = container.Created,
        StartedAt = container.Started,
        FinishedAt = container.Finished,
    };

    private DateTimeOffset Now() => _time.GetUtcNow();

    // Different after every start of the process, and as long as an engine's: clients cut ids to their first twelve characters.
    private string NewId() => string.Create(CultureInfo.InvariantCulture, $"{++_ids:x12}{_epoch.UtcTicks:x16}{_subnet.Gateway.GetHashCode():x8}");

    private Task PauseAsync(TimeSpan latency, CancellationToken cancellationToken) =>
        latency > TimeSpan.Zero ? Task.Delay(latency, _time, cancellationToken) : Task.CompletedTask;

    private Sandbox FindSandboxLocked(string id) => _sandboxes.TryGetValue(id, out var sandbox)
        ? sandbox
        : throw new RuntimeException(RuntimeFailure.NotFound, $"sandbox {id} does not exist");

    private Container FindLocked(string id) => _containers.TryGetValue(id, out var container)
        ? container
        : throw new RuntimeException(RuntimeFailure.NotFound, $"container {id} does not exist");

    private bool EndLocked(Container container, int exitCode, bool outOfMemory)
    {
        if (container.State != ContainerState.Running)
        {
            return false;
        }

        container.State = ContainerState.Exited;
        container.ExitCode = exitCode;
        container.OomKilled = outOfMemory;
        container.Finished = Now();
        if (outOfMemory)
        {
            TellLocked(new RuntimeEvent(RuntimeEventKind.OutOfMemory, container.Id, container.Sandbox.Pod, container.Name));
        }

        TellLocked(new RuntimeEvent(RuntimeEventKind.Died, container.Id, container.Sandbox.Pod, container.Name, exitCode));
        container.Ended?.TrySetResult();
        return true;
    }

    private void RemoveLocked(Container container)
    {
        EndLocked(container, Killed, outOfMemory: false);
        container.Ended?.TrySetResult();
        _containers.Remove(container.Id);
        container.Sandbox.Containers.Remove(container);
        TellLocked(new RuntimeEvent(RuntimeEventKind.Removed, container.Id, container.Sandbox.Pod, container.Name));
    }

    private void RemoveLocked(Sandbox sandbox)
    {
        foreach (var container in sandbox.Containers)
        {
            // Their process ids and network go with it, as in an engine; the containers stay until they are removed.
            EndLocked(container, Killed, outOfMemory: false);
        }

        if (sandbox.Running)
        {
            sandbox.Running = false;
            TellLocked(new RuntimeEvent(RuntimeEventKind.Died, sandbox.Id, sandbox.Pod, ContainerName: null, Killed));
        }

        _sandboxes.Remove(sandbox.Id);
        _subnet.Release(sandbox.Id);
        TellLocked(new RuntimeEvent(RuntimeEventKind.Removed, sandbox.Id, sandbox.Pod, ContainerName: null));
    }

    private void TellLocked(RuntimeEvent happened)
    {
        foreach (var watcher in _watchers)
        {
            if (!watcher.Events.Writer.TryWrite(happened))
            {
                Interlocked.Exchange(ref watcher.Lost, 1);
            }
        }
    }

    private async Task WaitForEndAsync(string containerId, CancellationToken cancellationToken)
    {
        Task ended;
        lock (_lock)
        {
            if (!_containers.TryGetValue(containerId, out var container) || container.State == ContainerState.Exited)
            {
                return;
            }

            container.Ended ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            ended = container.Ended.Task;
        }

        await ended.WaitAsync(cancellationToken);
    }

    private sealed class Watcher
    {
        public int Lost;

        public Channel<RuntimeEvent> Events { get; } = Channel.CreateBounded<RuntimeEvent>(EventBacklog);
    }

    private sealed class Sandbox(string id, PodIdentity pod, int attempt, DateTimeOffset created, SandboxNetwork network)
    {
        public string Id => id;

        public PodIdentity Pod => pod;

        public int Attempt => attempt;

        public bool Running { get; set; }

        public IPAddress? Address { get; init; }

        public IReadOnlyDictionary<string, string>? Annotations { get; init; }

        public List<Container> Containers { get; } = new(1);

        public string? Annotation(string name, string container) =>
            Annotations is null ? null
            : Annotations.TryGetValue($"{name}.{container}", out var own) ? own
            : Annotations.GetValueOrDefault(name);

        public SandboxStatus Status() => new(id, pod, attempt, Running, 0, Address, created, network);
    }

    private sealed class Container(string id, Sandbox sandbox, string name, int attempt, string image, DateTimeOffset created)
    {
        public string Id => id;

        public Sandbox Sandbox => sandbox;

        public string Name => name;

        public int Attempt => attempt;

        public string Image => image;

        public DateTimeOffset Created => created;

        public ContainerState State { get; set; }

        public int ExitCode { get; set; }

        public bool OomKilled { get; set; }

        public string? StartError { get; set; }

        public DateTimeOffset? Started { get; set; }

        public DateTimeOffset? Finished { get; set; }

        public TaskCompletionSource? Ended { get; set; }
    }
}
