using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using Docker.DotNet.Models;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Network;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>Whose containers a <see cref="DockerRuntime"/> looks after.</summary>
public sealed class DockerRuntimeOptions
{
    /// <summary>Tells clusters on one engine apart; any text. Default <c>default</c>.</summary>
    public string Cluster { get; set; } = "default";

    /// <summary>The node's name. Required.</summary>
    public required string NodeName { get; set; }

    /// <summary>
    /// The image of the process that holds a pod's namespaces. The default name is built in where the engine runs on x86-64 Linux; another name
    /// must be present or is pulled.
    /// </summary>
    public string PauseImage { get; set; } = DockerImageStore.PauseImage;
}

/// <summary>Containers of one node on a Docker Engine.</summary>
/// <remarks>
/// A pod is a pause container that owns the namespaces and containers that join them. Everything a restarted agent must know again
/// (whose it is, which address it has, which ports lead into it) is in labels; there is no other state.
/// </remarks>
public sealed partial class DockerRuntime : IContainerRuntime
{
    private readonly DockerEngine _engine;
    private readonly DockerRuntimeOptions _options;
    private readonly IPodNetwork _network;
    private readonly TimeProvider _time;
    private readonly ILogger<DockerRuntime> _logger;
    private readonly DockerImageStore _images;

    // What must be given back when a sandbox goes, also when the engine lost it. Filled at creation and by PrepareAsync.
    private readonly ConcurrentDictionary<string, Reservation> _reservations = new(StringComparer.Ordinal);

    /// <summary>Creates the runtime of a node; nothing is sent until <see cref="PrepareAsync"/>.</summary>
    public DockerRuntime(
        DockerEngine engine,
        DockerRuntimeOptions options,
        IPodNetwork network,
        TimeProvider time,
        ILogger<DockerRuntime> logger)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrEmpty(options.NodeName);
        (_engine, _options, _network, _time, _logger) = (engine, options, network, time, logger);
        _images = new DockerImageStore(engine);
    }

    /// <inheritdoc/>
    public IImageStore Images => _images;

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public Task<RuntimeVersion> GetVersionAsync(CancellationToken cancellationToken) => _engine.GetVersionAsync(cancellationToken);

    /// <inheritdoc/>
    public async Task PrepareAsync(CancellationToken cancellationToken)
    {
        var version = await GetVersionAsync(cancellationToken);
        await _images.EnsurePauseImageAsync(_options.PauseImage, version.Architecture, cancellationToken);
        await _network.PrepareHostAsync(cancellationToken);
        foreach (var sandbox in await ListRawAsync(DockerLabels.SandboxType, cancellationToken))
        {
            if (DockerLabels.AddressOf(sandbox.Labels) is not { } address || DockerLabels.NetworkOf(sandbox.Labels) == SandboxNetwork.Host)
            {
                continue;
            }

            var owner = Owner(DockerLabels.PodOf(sandbox.Labels), DockerLabels.AttemptOf(sandbox.Labels));
            _network.Restore(owner, address);
            _reservations[sandbox.ID] = new(owner, address);
            if (sandbox.State == "running")
            {
                // An agent that ended between start and connection left it alone; connecting twice is harmless.
                await StartSandboxAsync(sandbox.ID, cancellationToken);
            }
        }
    }

    /// <inheritdoc/>
    public async Task<SandboxStatus> CreateSandboxAsync(SandboxSpec spec, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var owner = Owner(spec.Pod, spec.Attempt);
        var address = spec.Network == SandboxNetwork.Pod ? _network.Reserve(owner) : null;
        try
        {
            var labels = LabelsOf(spec.Labels, spec.Pod, spec.Attempt, DockerLabels.SandboxType);
            labels[DockerLabels.Network] = spec.Network == SandboxNetwork.Host ? "host" : "pod";
            if (address is not null)
            {
                labels[DockerLabels.PodIP] = address.ToString();
            }

            if (spec.HostPorts.Count > 0)
            {
                labels[DockerLabels.HostPorts] = DockerLabels.Format(spec.HostPorts);
            }

            var parameters = DockerContainers.Sandbox(spec, _options.PauseImage, labels, ownNetwork: !_network.EngineAssignsAddress);
            var id = await CreateAsync(parameters, RuntimeFailure.Sandbox, cancellationToken);
            if (address is not null)
            {
                _reservations[id] = new(owner, address);
            }

            return new SandboxStatus(id, spec.Pod, spec.Attempt, Running: false, 0, address, _time.GetUtcNow(), spec.Network);
        }
        catch when (address is not null)
        {
            await _network.DetachAsync(owner, address, CancellationToken.None);
            throw;
        }
    }

    /// <inheritdoc/>
    public async Task<SandboxStatus> StartSandboxAsync(string sandboxId, CancellationToken cancellationToken)
    {
        await _engine.ChangeAsync(
            RuntimeFailure.Sandbox,
            token => _engine.Client.Containers.StartContainerAsync(sandboxId, new ContainerStartParameters(), token),
            cancellationToken);
        var (status, labels) = await InspectSandboxRawAsync(sandboxId, cancellationToken)
            ?? throw new RuntimeException(RuntimeFailure.NotFound, $"sandbox {sandboxId} vanished while it was started");
        if (!status.Running)
        {
            throw new RuntimeException(RuntimeFailure.Sandbox, $"sandbox {sandboxId} ended at once");
        }

        if (DockerLabels.AddressOf(labels) is { } address)
        {
            var owner = Owner(status.Pod, status.Attempt);
            await _network.AttachAsync(new(owner, status.Pid, address, DockerLabels.HostPortsOf(labels)), cancellationToken);
        }

        return status;
    }

    /// <inheritdoc/>
    public async Task<SandboxStatus?> InspectSandboxAsync(string sandboxId, CancellationToken cancellationToken) =>
        (await InspectSandboxRawAsync(sandboxId, cancellationToken))?.Status;

    /// <inheritdoc/>
    public async Task RemoveSandboxAsync(string sandboxId, CancellationToken cancellationToken)
    {
        if (!_reservations.TryGetValue(sandboxId, out var reservation)
            && await InspectSandboxRawAsync(sandboxId, cancellationToken) is { } found
            && DockerLabels.AddressOf(found.Labels) is { } address)
        {
            reservation = new(Owner(found.Status.Pod, found.Status.Attempt), address);
        }

        await RemoveAsync(sandboxId, cancellationToken);
        if (reservation is not null)
        {
            await _network.DetachAsync(reservation.Owner, reservation.Address, cancellationToken);
            _reservations.TryRemove(sandboxId, out _);
        }
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<SandboxStatus>> ListSandboxesAsync(CancellationToken cancellationToken)
    {
        var sandboxes = await ListRawAsync(DockerLabels.SandboxType, cancellationToken);
        return
        [
            .. sandboxes.Select(sandbox => new SandboxStatus(
                sandbox.ID,
                DockerLabels.PodOf(sandbox.Labels),
                DockerLabels.AttemptOf(sandbox.Labels),
                sandbox.State == "running",
                0,
                DockerLabels.AddressOf(sandbox.Labels) ?? EngineAddress(sandbox.NetworkSettings?.Networks),
                Utc(sandbox.Created),
                DockerLabels.NetworkOf(sandbox.Labels))),
        ];
    }

    /// <inheritdoc/>
    public async Task<string> CreateContainerAsync(string sandboxId, ContainerSpec spec, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var network = await NetworkOfSandboxAsync(sandboxId, cancellationToken);
        var labels = LabelsOf(spec.Labels, spec.Pod, spec.Attempt, DockerLabels.ContainerType);
        labels[DockerLabels.ContainerName] = spec.Name;
        labels[DockerLabels.SandboxId] = sandboxId;
        var missing = spec.Privileged || spec.AddCapabilities.Count > 0 ? _engine.MissingCapabilities() : null;
        var parameters = DockerContainers.Container(spec, sandboxId, network, labels, missing);
        return await CreateAsync(parameters, RuntimeFailure.CreateContainer, cancellationToken);
    }

    /// <inheritdoc/>
    public Task StartContainerAsync(string containerId, CancellationToken cancellationToken) => _engine.ChangeAsync(
        RuntimeFailure.StartContainer,
        token => _engine.Client.Containers.StartContainerAsync(containerId, new ContainerStartParameters(), token),
        cancellationToken);

    /// <inheritdoc/>
    public async Task StopContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        var found = await InspectRawAsync(containerId, cancellationToken);
        if (found is { State.Running: true })
        {
            await SignalAsync(containerId, found.Config!.StopSignal is { Length: > 0 } signal ? signal : "SIGTERM", cancellationToken);
        }
    }

    /// <inheritdoc/>
    public Task KillContainerAsync(string containerId, CancellationToken cancellationToken) =>
        SignalAsync(containerId, "SIGKILL", cancellationToken);

    /// <inheritdoc/>
    public Task RemoveContainerAsync(string containerId, CancellationToken cancellationToken) => RemoveAsync(containerId, cancellationToken);

    /// <inheritdoc/>
    public async Task<ContainerStatus?> InspectContainerAsync(string containerId, CancellationToken cancellationToken)
    {
        if (await InspectRawAsync(containerId, cancellationToken) is not { } found)
        {
            return null;
        }

        // Docker leaves a container whose process could not be started in the state "created", with an error.
        var startError = found.State is { Running: false, Error.Length: > 0 } && Time(found.State!.StartedAt) is null ? found.State!.Error : null;
        var created = Utc(found.Created);
        return new ContainerStatus
        {
            Id = found.ID,
            Pod = DockerLabels.PodOf(found.Config!.Labels),
            Name = found.Config!.Labels.TryGetValue(DockerLabels.ContainerName, out var name) ? name : "",
            Attempt = DockerLabels.AttemptOf(found.Config!.Labels),
            SandboxId = found.Config!.Labels.TryGetValue(DockerLabels.SandboxId, out var sandbox) ? sandbox : "",
            State = startError is null ? StateOf(found.State!.Status) : ContainerState.Exited,
            Image = found.Config!.Image,
            ImageId = found.Image,
            ExitCode = startError is null ? (int)found.State!.ExitCode : ContainerStatus.StartErrorExitCode,
            OomKilled = found.State!.OOMKilled && !found.State!.Running,
            StartError = startError,
            Pid = found.State!.Running ? (int)found.State!.Pid : 0,
            CreatedAt = created,
            StartedAt = Time(found.State!.StartedAt),
            FinishedAt = startError is null ? Finished(found.State) : created,
            Labels = found.Config!.Labels.AsReadOnly(),
        };
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<ContainerStatus>> ListContainersAsync(CancellationToken cancellationToken)
    {
        var containers = await ListRawAsync(DockerLabels.ContainerType, cancellationToken);
        return
        [
            .. containers.Select(container => new ContainerStatus
            {
                Id = container.ID,
                Pod = DockerLabels.PodOf(container.Labels),
                Name = container.Labels.TryGetValue(DockerLabels.ContainerName, out var name) ? name : "",
                Attempt = DockerLabels.AttemptOf(container.Labels),
                SandboxId = container.Labels.TryGetValue(DockerLabels.SandboxId, out var sandbox) ? sandbox : "",
                State = StateOf(container.State),
                Image = container.Image,
                ImageId = container.ImageID,
                CreatedAt = Utc(container.Created),
                Labels = container.Labels.AsReadOnly(),
            }),
        ];
    }

    private static string Owner(PodIdentity pod, int attempt) => string.Create(CultureInfo.InvariantCulture, $"{pod.Uid}/{attempt}");

    private static DateTimeOffset Utc(DateTime time) => new(DateTime.SpecifyKind(time, DateTimeKind.Utc));

    private static DateTimeOffset? Time(string? text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) && time.Year > 1 ? time : null;

    private static DateTimeOffset? Finished(State state) => state.Running ? null : Time(state.FinishedAt);

    private static ContainerState StateOf(string state) => state switch
    {
        "created" => ContainerState.Created,
        "running" or "paused" or "restarting" => ContainerState.Running,
        "exited" => ContainerState.Exited,
        _ => ContainerState.Unknown,
    };

    private static IPAddress? EngineAddress(IDictionary<string, EndpointSettings>? networks) =>
        networks?.Values.Select(network => IPAddress.TryParse(network.IPAddress, out var address) ? address : null)
            .FirstOrDefault(address => address is not null);

    private Dictionary<string, string> LabelsOf(IReadOnlyDictionary<string, string> own, PodIdentity pod, int attempt, string type) => new(own)
    {
        [DockerLabels.Cluster] = _options.Cluster,
        [DockerLabels.Node] = _options.NodeName,
        [DockerLabels.PodName] = pod.Name,
        [DockerLabels.PodNamespace] = pod.Namespace,
        [DockerLabels.PodUid] = pod.Uid,
        [DockerLabels.Attempt] = attempt.ToString(CultureInfo.InvariantCulture),
        [DockerLabels.Type] = type,
    };

    /// <summary>Creates; an object that stands in the way under the same name is what an earlier try left (its answer was lost) and is removed.</summary>
    private async Task<string> CreateAsync(CreateContainerParameters parameters, RuntimeFailure failure, CancellationToken cancellationToken)
    {
        try
        {
            return await CreateOnceAsync();
        }
        catch (RuntimeException e) when (DockerEngine.IsConflict(e))
        {
            Log.LeftOver(_logger, parameters.Name!);
            await RemoveAsync(parameters.Name!, cancellationToken);
            return await CreateOnceAsync();
        }

        async Task<string> CreateOnceAsync() => (await _engine.ChangeAsync(
            failure,
            token => _engine.Client.Containers.CreateContainerAsync(parameters, token),
            cancellationToken)).ID;
    }

    private async Task RemoveAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await _engine.ChangeAsync(
                RuntimeFailure.Other,
                token => _engine.Client.Containers.RemoveContainerAsync(
                    id,
                    new ContainerRemoveParameters { Force = true, RemoveVolumes = true },
                    token),
                cancellationToken);
        }
        catch (RuntimeException e) when (DockerEngine.IsNotFound(e) || DockerEngine.IsConflict(e))
        {
            // Gone, or being removed by an earlier call.
        }
    }

    private async Task SignalAsync(string containerId, string signal, CancellationToken cancellationToken)
    {
        try
        {
            await _engine.CallAsync(
                RuntimeFailure.Other,
                token => _engine.Client.Containers.KillContainerAsync(containerId, new ContainerKillParameters { Signal = signal }, token),
                cancellationToken);
        }
        catch (RuntimeException e) when (DockerEngine.IsNotFound(e) || DockerEngine.IsConflict(e))
        {
            // Gone or ended.
        }
    }

    private async Task<SandboxNetwork> NetworkOfSandboxAsync(string sandboxId, CancellationToken cancellationToken)
    {
        // A reserved address means a network of its own: the common case needs no question to the engine.
        if (_reservations.ContainsKey(sandboxId))
        {
            return SandboxNetwork.Pod;
        }

        var (status, _) = await InspectSandboxRawAsync(sandboxId, cancellationToken)
            ?? throw new RuntimeException(RuntimeFailure.NotFound, $"sandbox {sandboxId} does not exist");
        return status.Network;
    }

    private async Task<(SandboxStatus Status, IDictionary<string, string> Labels)?> InspectSandboxRawAsync(
        string sandboxId,
        CancellationToken cancellationToken)
    {
        if (await InspectRawAsync(sandboxId, cancellationToken) is not { } found)
        {
            return null;
        }

        var labels = found.Config!.Labels!;
        var status = new SandboxStatus(
            found.ID,
            DockerLabels.PodOf(labels),
            DockerLabels.AttemptOf(labels),
            found.State!.Running,
            found.State!.Running ? (int)found.State!.Pid : 0,
            DockerLabels.AddressOf(labels) ?? EngineAddress(found.NetworkSettings?.Networks),
            Utc(found.Created),
            DockerLabels.NetworkOf(labels));
        return (status, labels);
    }

    private async Task<ContainerInspectResponse?> InspectRawAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            return await _engine.CallAsync(
                RuntimeFailure.Other,
                token => _engine.Client.Containers.InspectContainerAsync(id, token),
                cancellationToken);
        }
        catch (RuntimeException e) when (DockerEngine.IsNotFound(e))
        {
            return null;
        }
    }

    private Task<IList<ContainerListResponse>> ListRawAsync(string type, CancellationToken cancellationToken) => _engine.CallAsync(
        RuntimeFailure.Other,
        token => _engine.Client.Containers.ListContainersAsync(
            new ContainersListParameters { All = true, Filters = OwnFilter(type) },
            token),
        cancellationToken);

    private Dictionary<string, IDictionary<string, bool>> OwnFilter(string? type)
    {
        var labels = new Dictionary<string, bool>
        {
            [$"{DockerLabels.Cluster}={_options.Cluster}"] = true,
            [$"{DockerLabels.Node}={_options.NodeName}"] = true,
        };
        if (type is not null)
        {
            labels[$"{DockerLabels.Type}={type}"] = true;
        }

        return new Dictionary<string, IDictionary<string, bool>> { ["label"] = labels };
    }

    private sealed record Reservation(string Owner, IPAddress Address);

    private static partial class Log
    {
        [LoggerMessage(EventId = 1, Level = LogLevel.Information, Message = "{Name} is left over from an earlier attempt and is replaced")]
        public static partial void LeftOver(ILogger logger, string name);

        [LoggerMessage(EventId = 2, Level = LogLevel.Warning, Message = "The engine's event stream of node {Node} broke: {Error}; next try in {Delay}")]
        public static partial void EventsBroke(ILogger logger, string node, string error, TimeSpan delay);
    }
}
