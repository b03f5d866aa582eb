using System.Globalization;
using System.Net;
using System.Text;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Variables;
using OrleansCluster.Kubelet.Volumes;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// The operations. Each runs outside the lock on copies of what it needs, and hands back a step that changes the state under the lock. What fails
/// becomes a <see cref="Failure"/> or a hold, never a retry inside the operation.
/// </summary>
internal sealed partial class PodWorker
{
    /// <summary>Time between attempts to make what a spec refers to; there is no news to wait for.</summary>
    private static readonly TimeSpan ConfigRetry = TimeSpan.FromSeconds(10);

    /// <summary>How often volumes that follow the API are brought up to date.</summary>
    private static readonly TimeSpan VolumeRefresh = TimeSpan.FromSeconds(60);

    /// <summary>What is kept of a termination message file; of a log less (by Kubernetes' rules).</summary>
    private const int MaxTerminationMessage = 4096;

    private const int MaxTerminationMessageFromLog = 2048;

    private const int MaxTerminationMessageLines = 80;

    /// <summary>Caller holds the lock.</summary>
    private void Launch(PodAction action, DateTimeOffset now)
    {
        if (!_state.Busy.Add(action.Target))
            return;
        switch (action.Kind)
        {
            case PodActionKind.StopContainer:
                var stopping = _state.Container(action.Container);
                stopping.Stop = action.Stop;
                action.Stop!.RequestedAt = now;
                RecordEvent(warning: false, "Killing", action.Stop.Message, stopping);
                break;
            case PodActionKind.KillContainer:
                var killed = _state.Container(action.Container);
                killed.Stop ??= action.Stop;
                killed.Stop!.KillSentAt = now;
                break;
        }
        Log.Operation(_node.Logger, _identity.Namespace, _identity.Name, action.Kind, action.Container);
        // A pull and a hook take the time they take; everything else should end soon.
        var timed = action.Kind is not (PodActionKind.EnsureImage or PodActionKind.PostStart);
        Track(action.Target, token => ExecuteAsync(action, token), exception => Fail(action, exception), timed);
    }

    /// <summary>Caller holds the lock. The target is busy until the operation's last step was taken.</summary>
    private void Track(string target, Func<CancellationToken, Task<Action>> operation, Action<Exception> fail, bool timed = true)
    {
        if (timed && _timed++ == 0)
            _timedSince = _node.Services.Time.GetTimestamp();
        // Made when the first operation needs it: an adopted pod that just runs needs none.
        if (_starting is null && !_endingBegun)
            _starting = new CancellationTokenSource();
        var starting = _starting?.Token ?? CancellationToken.None;
        _operations[target] = Task.Run(() => RunAsync(target, operation, fail, starting, timed), CancellationToken.None);
    }

    private async Task RunAsync(string target, Func<CancellationToken, Task<Action>> operation, Action<Exception> fail, CancellationToken starting, bool timed)
    {
        Action step;
        _start.Enter();
        try
        {
            step = await operation(starting);
            var succeeded = step;
            step = () =>
            {
                _state.Unhold(target);
                succeeded();
            };
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested || starting.IsCancellationRequested)
        {
            step = static () => { };
        }
        catch (Exception exception)
        {
            step = () => fail(exception);
        }

        lock (_gate)
        {
            if (!_stopped)
                step();
            _state.Busy.Remove(target);
            _operations.Remove(target);
            if (timed)
                _timed--;
        }
        Signal();
    }

    /// <summary>Runs an operation. <paramref name="starting"/> is cancelled when the pod shall end.</summary>
    private async Task<Action> ExecuteAsync(PodAction action, CancellationToken starting)
    {
        var stop = _stop.Token;
        switch (action.Kind)
        {
            case PodActionKind.PrepareVolumes:
            case PodActionKind.RefreshVolumes:
                return await SetUpVolumesAsync(starting);
            case PodActionKind.CreateSandbox:
                return await CreateSandboxAsync(stop);
            case PodActionKind.StartSandbox:
                return await StartSandboxAsync(action.Id!, stop);
            case PodActionKind.RemoveSandbox:
                await _node.Runtime.RemoveSandboxAsync(action.Id!, stop);
                return () =>
                {
                    _state.Sandbox = null;
                    _state.SandboxWasRunning = false;
                };
            case PodActionKind.EnsureImage:
                return await EnsureImageAsync(action.Container, starting);
            case PodActionKind.CreateContainer:
                return await CreateContainerAsync(action.Container, action.Id!, starting);
            case PodActionKind.StartContainer:
                return await StartContainerAsync(action.Container, action.Id!, stop);
            case PodActionKind.PostStart:
                return await PostStartAsync(action.Container, action.Id!, starting);
            case PodActionKind.StopContainer:
                return await StopContainerAsync(action.Container, action.Id!, action.Stop!, stop);
            case PodActionKind.KillContainer:
                await _node.Runtime.KillContainerAsync(action.Id!, stop);
                return await InspectedAsync(action.Container, action.Id!, stop);
            case PodActionKind.RemoveContainer:
                await _node.Runtime.RemoveContainerAsync(action.Id!, stop);
                return () => ForgetRemoved(action.Container, action.Id!);
            case PodActionKind.Probe:
                return await ProbeAsync(action.Container, action.Id!, action.Probe, stop);
            case PodActionKind.RemoveDirectories:
                if (_node.Store.DirectoryOf(Uid) is { } directory)
                    _node.Volumes.TearDown(directory);
                return () => _state.DirectoriesRemoved = true;
            case PodActionKind.DeleteFromApi:
                return await DeleteFromApiAsync(stop);
            default:
                throw new InvalidOperationException($"Unknown action {action.Kind}.");
        }
    }

    /// <summary>Turns a failed operation into what the plan waits for. Caller holds the lock.</summary>
    private void Fail(PodAction action, Exception exception)
    {
        var now = _node.Services.Time.GetUtcNow();
        var message = Describe(exception);
        var record = action.Container.Length == 0 ? null : _state.FindContainer(action.Container);
        Log.OperationFailed(_node.Logger, _identity.Namespace, _identity.Name, action.Kind, action.Container, message);
        switch (action.Kind)
        {
            case PodActionKind.PrepareVolumes:
                _state.VolumeFailure = Again(_state.VolumeFailure, "FailedMount", message, now, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(2));
                RecordEvent(warning: true, "FailedMount", message);
                break;
            case PodActionKind.RefreshVolumes:
                _state.VolumesRefreshAt = now + _node.Services.Jitter(VolumeRefresh);
                if (exception is VolumeException)
                    RecordEvent(warning: true, "FailedMount", message);
                break;
            case PodActionKind.CreateSandbox or PodActionKind.StartSandbox:
                _state.SandboxFailure = Again(_state.SandboxFailure, "FailedCreatePodSandBox", message, now, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(1));
                RecordEvent(warning: true, "FailedCreatePodSandBox", $"Failed to create pod sandbox: {message}");
                break;
            case PodActionKind.EnsureImage when record is not null:
                FailImage(record, exception, message, now);
                break;
            case PodActionKind.CreateContainer when record is not null:
                record.Image = null;
                var reason = exception is ContainerConfigException or TimeoutException ? "CreateContainerConfigError" : "CreateContainerError";
                record.Failure = new Failure(reason, message, now, _node.Services.Jitter(ConfigRetry));
                RecordEvent(warning: true, "Failed", $"Error: {message}", record);
                break;
            case PodActionKind.DeleteFromApi:
                _state.ApiDeleteRetryAt = now + _node.Services.Jitter(TimeSpan.FromSeconds(2));
                break;
            default:
                _state.Hold(action.Target, now);
                break;
        }
    }

    private Failure Again(Failure? before, string reason, string message, DateTimeOffset now, TimeSpan first, TimeSpan most)
    {
        var delay = before is null ? first : before.Delay * 2;
        return new Failure(reason, message, now, _node.Services.Jitter(delay > most ? most : delay));
    }

    private static string Describe(Exception exception) => exception switch
    {
        AggregateException { InnerException: { } inner } => Describe(inner),
        StatusException status => status.Status.Message,
        _ => exception.Message,
    };

    // ---- volumes and sandbox

    private async Task<Action> SetUpVolumesAsync(CancellationToken cancellationToken)
    {
        // Pod start, step 5.
        var (pod, facts) = Snapshot();
        var directory = _node.Store.DirectoryOf(Uid);
        var paths = await _node.Volumes.SetUpAsync(pod, facts, directory ?? "", cancellationToken);
        var refreshes = _node.Volumes.Refreshes(pod) && directory is not null;
        return () =>
        {
            _volumePaths = paths;
            _state.VolumesReady = true;
            _state.VolumeFailure = null;
            _state.VolumesRefreshAt = refreshes ? _node.Services.Time.GetUtcNow() + _node.Services.Jitter(VolumeRefresh) : null;
        };
    }

    private async Task<Action> CreateSandboxAsync(CancellationToken cancellationToken)
    {
        // Pod start, step 4.
        SandboxSpec spec;
        lock (_gate)
        {
            spec = SandboxSpecOf(_state.Pod, _state.NextSandboxAttempt++);
        }
        var sandbox = await _node.Runtime.CreateSandboxAsync(spec, cancellationToken);
        if (sandbox.PodIP is not null || sandbox.Network == SandboxNetwork.Host)
            await WritePodFilesAsync(sandbox, cancellationToken);
        return () =>
        {
            _state.Sandbox = sandbox;
            _state.SandboxWasRunning = false;
            _state.SandboxFailure = null;
        };
    }

    private async Task<Action> StartSandboxAsync(string id, CancellationToken cancellationToken)
    {
        SandboxStatus? before;
        lock (_gate)
        {
            before = _state.Sandbox;
        }
        var sandbox = await _node.Runtime.StartSandboxAsync(id, cancellationToken);
        if (!Equals(before?.PodIP, sandbox.PodIP))
            await WritePodFilesAsync(sandbox, cancellationToken);
        return () =>
        {
            _state.Sandbox = sandbox;
            _state.SandboxWasRunning = true;
            _state.SandboxFailure = null;
        };
    }

    private static SandboxSpec SandboxSpecOf(PodDocument pod, int attempt) => new()
    {
        Pod = pod.Identity,
        Attempt = attempt,
        Hostname = Hostname(pod),
        Network = pod.Spec.HostNetwork ? SandboxNetwork.Host : SandboxNetwork.Pod,
        HostPorts = pod.Spec.HostNetwork
            ? []
            :
            [
                .. pod.AllContainers().SelectMany(c => c.Container.Ports).Where(port => port.HostPort > 0).Select(port => new HostPort(
                    port.HostPort, port.Port, port.Protocol, IPAddress.TryParse(port.HostIp, out var ip) && !ip.Equals(IPAddress.Any) ? ip : null)),
            ],
        Sysctls = pod.Spec.SecurityContext.Sysctls.ToDictionary(sysctl => sysctl.Name, sysctl => sysctl.Value, StringComparer.Ordinal),
        Annotations = pod.Metadata.Annotations,
        HostPid = pod.Spec.HostPid,
        HostIpc = pod.Spec.HostIpc,
    };

    private static string Hostname(PodDocument pod)
    {
        var name = pod.Spec.Hostname is { Length: > 0 } given ? given : pod.Metadata.Name;
        return name.Length <= 63 ? name : name[..63].TrimEnd('-', '.');
    }

    private async Task WritePodFilesAsync(SandboxStatus sandbox, CancellationToken cancellationToken)
    {
        if (_node.Store.DirectoryOf(Uid) is not { } directory)
            return;
        var (pod, _) = Snapshot();
        var aliases = pod.Spec.HostAliases.Select(alias => KeyValuePair.Create(alias.Ip, (IReadOnlyList<string>)alias.Hostnames)).ToList();
        string hosts;
        if (pod.Spec.HostNetwork)
        {
            hosts = PodFiles.HostNetworkHosts(File.Exists("/etc/hosts") ? await File.ReadAllTextAsync("/etc/hosts", cancellationToken) : "", aliases);
        }
        else
        {
            var hostname = Hostname(pod);
            var fullName = pod.Spec.Subdomain is { Length: > 0 } subdomain
                ? $"{hostname}.{subdomain}.{pod.Metadata.Namespace}.svc.cluster.local"
                : null;
            hosts = PodFiles.Hosts(sandbox.PodIP is { } ip ? [ip] : [], hostname, fullName, aliases);
        }
        await PodFiles.WriteAsync(ContainerSpecBuilder.HostsFile(directory), hosts, cancellationToken);
        await PodFiles.WriteAsync(ContainerSpecBuilder.ResolvConfFile(directory), PodFiles.ResolvConf(Dns(pod)), cancellationToken);
    }

    private PodDns Dns(PodDocument pod)
    {
        var ofCluster = pod.Spec.DnsPolicy == "ClusterFirstWithHostNet" || pod.Spec.DnsPolicy == "ClusterFirst" && !pod.Spec.HostNetwork;
        var dns = pod.Spec.DnsPolicy == "None" ? new PodDns([], [], [])
            : ofCluster && _node.ClusterDns is { } clusterDns ? clusterDns(pod.Metadata.Namespace)
            : _node.NodeDns;
        return pod.Spec.DnsConfig is { } config
            ? dns.Merge(config.Nameservers, config.Searches, [.. config.Options.Select(option => string.IsNullOrEmpty(option.Value) ? option.Name : $"{option.Name}:{option.Value}")])
            : dns;
    }

    // ---- images

    private async Task<Action> EnsureImageAsync(string name, CancellationToken cancellationToken)
    {
        // Pod start, step 5.
        var (record, spec) = Find(name);
        var policy = spec.ImagePullPolicy is { Length: > 0 } given ? given : HasMovingTag(spec.Image) ? "Always" : "IfNotPresent";
        var found = policy == "Always" ? null : await _node.Runtime.Images.FindAsync(spec.Image, cancellationToken);
        if (found is not null)
        {
            RecordEvent(warning: false, "Pulled", $"Container image \"{spec.Image}\" already present on machine", record);
        }
        else if (policy == "Never")
        {
            throw new RuntimeException(RuntimeFailure.ImageNeverPull, $"Container image \"{spec.Image}\" is not present with pull policy of Never");
        }
        else
        {
            RecordEvent(warning: false, "Pulling", $"Pulling image \"{spec.Image}\"", record);
            var began = _node.Services.Time.GetTimestamp();
            found = await _node.Runtime.Images.PullAsync(spec.Image, progress: null, cancellationToken);
            var took = WireFormat.Duration(_node.Services.Time.GetElapsedTime(began));
            RecordEvent(warning: false, "Pulled", string.Create(CultureInfo.InvariantCulture,
                $"Successfully pulled image \"{spec.Image}\" in {took} ({took} including waiting). Image size: {found.SizeBytes} bytes."), record);
        }
        return () =>
        {
            record.Image = found;
            record.Failure = null;
        };
    }

    /// <summary>Caller holds the lock.</summary>
    private void FailImage(ContainerRecord record, Exception exception, string message, DateTimeOffset now)
    {
        var image = ContainerRules.Spec(_state, record)?.Image ?? "";
        var reason = exception is RuntimeException runtime
            ? runtime.Reason is "RuntimeError" ? "ErrImagePull" : runtime.Reason
            : "ErrImagePull";
        var before = record.Failure is { OfImage: true } failure ? failure.Delay : TimeSpan.Zero;
        record.Failure = new Failure(reason, message, now, ContainerRules.NextDelay(before));
        switch (reason)
        {
            case "ErrImageNeverPull":
                RecordEvent(warning: true, "ErrImageNeverPull", message, record);
                RecordEvent(warning: true, "Failed", "Error: ErrImageNeverPull", record);
                break;
            case "InvalidImageName":
                RecordEvent(warning: true, "InspectFailed", $"Failed to apply default image tag \"{image}\": {message}", record);
                RecordEvent(warning: true, "Failed", "Error: InvalidImageName", record);
                break;
            default:
                var prefix = $"failed to pull image \"{image}\": ";
                var cause = message.StartsWith(prefix, StringComparison.Ordinal) ? message[prefix.Length..] : message;
                RecordEvent(warning: true, "Failed", $"Failed to pull image \"{image}\": {cause}", record);
                RecordEvent(warning: true, "Failed", $"Error: {reason}", record);
                RecordEvent(warning: false, "BackOff", $"Back-off pulling image \"{image}\"", record);
                RecordEvent(warning: true, "Failed", "Error: ImagePullBackOff", record);
                break;
        }
    }

    /// <summary>No tag or `latest`, and no digest.</summary>
    private static bool HasMovingTag(string image)
    {
        if (image.Contains('@', StringComparison.Ordinal))
            return false;
        var name = image[(image.LastIndexOf('/') + 1)..];
        var colon = name.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 || name[colon..] == ":latest";
    }

    // ---- containers

    private async Task<Action> CreateContainerAsync(string name, string sandboxId, CancellationToken cancellationToken)
    {
        // Pod start, step 6.
        var (record, spec) = Find(name);
        var (pod, facts) = Snapshot();
        var directory = _node.Store.DirectoryOf(Uid);
        int attempt;
        string? sharePidOf;
        ContainerImage? image;
        IReadOnlyDictionary<string, string> volumes;
        lock (_gate)
        {
            attempt = record.NextAttempt;
            image = record.Image;
            volumes = _volumePaths ?? new Dictionary<string, string>();
            sharePidOf = spec.TargetContainerName is { Length: > 0 } target ? _state.FindContainer(target)?.Current?.Id : null;
        }

        var environment = await EnvironmentAsync(pod, spec, facts, directory, cancellationToken);
        foreach (var (source, keys) in environment.InvalidNames)
        {
            RecordEvent(warning: true, "InvalidEnvironmentVariableNames",
                $"Keys [{string.Join(", ", keys)}] from the EnvFrom {source} were skipped since they are considered invalid environment variable names.", record);
        }
        if (image is null)
            throw new RuntimeException(RuntimeFailure.CreateContainer, $"image \"{spec.Image}\" is gone");
        if (directory is not null)
        {
            var message = ContainerSpecBuilder.TerminationLog(directory, name, attempt);
            Directory.CreateDirectory(Path.GetDirectoryName(message)!);
            await File.WriteAllBytesAsync(message, [], cancellationToken);
            // The container may run as any user.
            AtomicFiles.SetMode(message, 0b110_110_110);
        }
        var containerSpec = ContainerSpecBuilder.Build(new ContainerIngredients
        {
            Pod = pod,
            Container = spec,
            Attempt = attempt,
            Image = image,
            Environment = environment.Variables,
            Volumes = volumes,
            PodDirectory = directory,
            NodeMemory = _node.AllocatableMemory,
            SharePidOf = sharePidOf,
        });
        var id = await _node.Runtime.CreateContainerAsync(sandboxId, containerSpec, _stop.Token);
        var created = new ContainerStatus
        {
            Id = id,
            Pod = _identity,
            Name = name,
            Attempt = attempt,
            SandboxId = sandboxId,
            State = ContainerState.Created,
            Image = spec.Image,
            ImageId = image.Id,
            CreatedAt = _node.Services.Time.GetUtcNow(),
        };
        return () =>
        {
            if (record.Current is { State: ContainerState.Exited } ended && ended.SandboxId == sandboxId)
                record.CrashDelay = ContainerRules.RanLongEnough(ended) ? ContainerRules.FirstDelay : ContainerRules.NextDelay(record.CrashDelay);
            record.Observe(created);
            RecordEvent(warning: false, "Created", $"Created container: {name}", record);
        };
    }

    /// <summary>The container's environment; with the control plane away, the one it had last.</summary>
    private async Task<ContainerEnvironment> EnvironmentAsync(
        PodDocument pod, PodContainer spec, PodFacts facts, string? directory, CancellationToken cancellationToken)
    {
        var kept = directory is null ? null : KeptEnvironment.FileOf(directory, spec.Name);
        try
        {
            var environment = await _node.Environment.BuildAsync(pod, spec, facts, cancellationToken);
            if (kept is not null)
                await KeptEnvironment.SaveAsync(kept, environment, cancellationToken);
            return environment;
        }
        catch (Exception exception) when (exception is not (ContainerConfigException or OperationCanceledException) && File.Exists(kept))
        {
            return await KeptEnvironment.LoadAsync(kept, cancellationToken);
        }
    }

    private async Task<Action> StartContainerAsync(string name, string id, CancellationToken cancellationToken)
    {
        var (record, _) = Find(name);
        try
        {
            await _node.Runtime.StartContainerAsync(id, cancellationToken);
        }
        catch (RuntimeException exception) when (exception.Failure is RuntimeFailure.StartContainer or RuntimeFailure.NotFound)
        {
            var ended = await InspectedAsync(name, id, cancellationToken);
            return () =>
            {
                ended();
                if (record.Current?.Id == id && !record.IsRunning)
                {
                    if (!record.IsExited)
                        record.Forget(id);
                    record.Failure = new Failure("RunContainerError", exception.Message, _node.Services.Time.GetUtcNow(), record.CrashDelay);
                }
                RecordEvent(warning: true, "Failed", $"Error: {exception.Message}", record);
            };
        }
        var step = await InspectedAsync(name, id, cancellationToken);
        return () =>
        {
            RecordEvent(warning: false, "Started", $"Started container {name}", record);
            step();
            if (record.Current?.Id == id && record.IsRunning)
            {
                StartProbes(record, startedBefore: false, readyBefore: false);
                record.PostStartDone = ContainerRules.Spec(_state, record)?.Lifecycle?.PostStart is null;
            }
        };
    }

    private async Task<Action> PostStartAsync(string name, string id, CancellationToken cancellationToken)
    {
        var (record, spec) = Find(name);
        var result = spec.Lifecycle?.PostStart is { } hook
            ? await _node.Prober.RunHookAsync(Target(spec, id), hook, cancellationToken)
            : new ProbeResult(true, "");
        return () =>
        {
            if (record.Current?.Id != id || !record.IsRunning)
                return;
            record.PostStartDone = true;
            if (result.Success)
                return;
            RecordEvent(warning: true, "FailedPostStartHook", "PostStartHook failed", record);
            record.Stop = new ContainerStop(StopCause.Unhealthy, Grace(), $"FailedPostStartHook: Container {name} will be restarted");
        };
    }

    private async Task<Action> StopContainerAsync(string name, string id, ContainerStop stop, CancellationToken cancellationToken)
    {
        var (record, spec) = Find(name);
        if (spec.Lifecycle?.PreStop is { } hook && stop.Cause != StopCause.SandboxLost && !_state.Removed && stop.Grace > TimeSpan.Zero)
        {
            using var grace = new CancellationTokenSource(stop.Grace, _node.Services.Time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(grace.Token, cancellationToken);
            try
            {
                var result = await _node.Prober.RunHookAsync(Target(spec, id), hook, linked.Token);
                if (!result.Success)
                    RecordEvent(warning: true, "FailedPreStopHook", "PreStopHook failed", record);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                // The hook used up the whole grace.
            }
        }
        await _node.Runtime.StopContainerAsync(id, cancellationToken);
        var now = _node.Services.Time.GetUtcNow();
        var step = await InspectedAsync(name, id, cancellationToken);
        return () =>
        {
            stop.TermSentAt = now;
            step();
        };
    }

    private async Task<Action> ProbeAsync(string name, string id, ProbeKind kind, CancellationToken cancellationToken)
    {
        var (record, spec) = Find(name);
        var probe = kind switch
        {
            ProbeKind.Startup => spec.StartupProbe,
            ProbeKind.Readiness => spec.ReadinessProbe,
            _ => spec.LivenessProbe,
        };
        if (probe is null)
            return static () => { };
        var result = await _node.Prober.ProbeAsync(Target(spec, id), probe, cancellationToken);
        return () =>
        {
            if (record.Current?.Id != id || !record.IsRunning || record.Stop is not null)
                return;
            var state = kind switch
            {
                ProbeKind.Startup => record.Startup,
                ProbeKind.Readiness => record.Readiness,
                _ => record.Liveness,
            };
            if (state is null)
                return;
            if (!result.Success)
                RecordEvent(warning: true, "Unhealthy", $"{kind} probe {(result.Errored ? "errored" : "failed")}: {result.Output}", record);
            if (!state.Apply(result, probe, _node.Services.Time.GetUtcNow()) || state.Verdict == true || kind == ProbeKind.Readiness)
                return;
            var restarts = _state.Pod.Spec.RestartPolicy != "Never" || record.Kind == ContainerKind.Sidecar;
            record.Stop = new ContainerStop(
                StopCause.Unhealthy,
                probe.TerminationGracePeriodSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : Grace(),
                $"Container {name} failed {(kind == ProbeKind.Startup ? "startup" : "liveness")} probe{(restarts ? ", will be restarted" : "")}");
        };
    }

    /// <summary>Looks at a container and hands back the step that takes what was seen.</summary>
    private async Task<Action> InspectedAsync(string name, string id, CancellationToken cancellationToken)
    {
        var (record, spec) = Find(name);
        var seen = await _node.Runtime.InspectContainerAsync(id, cancellationToken);
        var message = seen is { State: ContainerState.Exited } ? await TerminationMessageAsync(spec, seen, cancellationToken) : null;
        return () =>
        {
            if (seen is null)
            {
                record.Forget(id);
                return;
            }
            var endedBefore = record.IsExited;
            record.Observe(seen);
            if (record.Previous?.Id == id)
                record.PreviousMessage = message ?? record.PreviousMessage;
            if (record.Current?.Id != id || !record.IsExited)
                return;
            record.CurrentMessage = message ?? record.CurrentMessage;
            if (!endedBefore)
                OnEnded(record);
        };
    }

    /// <summary>Caller holds the lock.</summary>
    private void Inspect(ContainerRecord record, string id)
    {
        var target = "inspect:" + id;
        if (!_state.Busy.Add(target))
            return;
        Track(target, _ => InspectedAsync(record.Name, id, _stop.Token), _ => _state.Hold(target, _node.Services.Time.GetUtcNow()));
    }

    /// <summary>Caller holds the lock.</summary>
    private void OnEnded(ContainerRecord record)
    {
        var ended = record.Current!;
        // An end that was asked for is no news.
        var level = _state.Ending || record.Stop is not null || _state.Outcome is not null ? LogLevel.Debug : LogLevel.Information;
        Log.ContainerEnded(_node.Logger, level, _identity.Namespace, _identity.Name, record.Name, ended.TerminationReason, ended.ExitCode);
        var now = _node.Services.Time.GetUtcNow();
        if (!_state.Ending && ContainerRules.RestartsAfterExit(_state, record) && ContainerRules.CrashBackOffUntil(record, now) is not null)
            RecordEvent(warning: true, "BackOff", $"Back-off restarting failed container {record.Name} in pod {_state.Pod.LongName}", record);
    }

    private async Task<string?> TerminationMessageAsync(PodContainer spec, ContainerStatus ended, CancellationToken cancellationToken)
    {
        if (_node.Store.DirectoryOf(Uid) is not { } directory)
            return null;
        try
        {
            var path = ContainerSpecBuilder.TerminationLog(directory, ended.Name, ended.Attempt);
            if (File.Exists(path))
            {
                await using var file = File.OpenRead(path);
                var buffer = new byte[MaxTerminationMessage];
                var length = await file.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken);
                if (length > 0)
                    return Encoding.UTF8.GetString(buffer, 0, length);
            }
            if (spec.TerminationMessagePolicy == "FallbackToLogsOnError" && ended.ExitCode != 0)
            {
                using var log = new MemoryStream();
                await _node.Runtime.ReadLogsAsync(ended.Id, new LogQuery { TailLines = MaxTerminationMessageLines }, log, log, cancellationToken);
                var bytes = log.ToArray();
                var tail = bytes.AsSpan(Math.Max(0, bytes.Length - MaxTerminationMessageFromLog));
                return tail.Length == 0 ? null : Encoding.UTF8.GetString(tail);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or RuntimeException)
        {
            // A message is a help, not a duty.
        }
        return null;
    }

    /// <summary>Caller holds the lock.</summary>
    private void ForgetRemoved(string name, string id)
    {
        var record = _state.Container(name);
        if (!_state.Ending)
        {
            record.Forget(id);
            return;
        }
        // The last status still tells how it ended: only the engine's object is gone.
        record.Release(id);
    }

    // ---- the end

    private async Task<Action> DeleteFromApiAsync(CancellationToken cancellationToken)
    {
        var reply = await _node.Services.ControlPlane.ExecuteAsync(
            new ObjectKey("pods", _identity.Namespace, _identity.Name), NodeRequests.DeletePod(_node.NodeName, Uid), cancellationToken);
        // Gone before us, or another pod under this name by now: both mean that this one is gone.
        if (reply.IsSuccess || reply.Code is 404 or 409)
        {
            // Held by finalizers: marked, not removed. Our part is done either way.
            return () => _state.ApiDeleted = true;
        }
        throw new StatusException(reply.GetError() ?? StatusError.InternalError($"code {reply.Code}"));
    }

    // ---- small things

    private (PodDocument Pod, PodFacts Facts) Snapshot()
    {
        lock (_gate)
        {
            var pod = _state.Pod;
            var podIP = pod.Spec.HostNetwork ? _node.NodeAddress.ToString() : _state.Sandbox?.PodIP?.ToString();
            return (pod, new PodFacts(_node.NodeName, _node.NodeAddress.ToString(), podIP, _node.AllocatableCpu, _node.AllocatableMemory));
        }
    }

    private (ContainerRecord Record, PodContainer Spec) Find(string name)
    {
        lock (_gate)
        {
            var record = _state.Container(name);
            return (record, ContainerRules.Spec(_state, record) ?? throw new InvalidOperationException($"Container {name} left the spec."));
        }
    }

    private ProbeTarget Target(PodContainer spec, string id)
    {
        var (pod, facts) = Snapshot();
        return new ProbeTarget(pod, spec, id, facts.PodIP);
    }

    private TimeSpan Grace() => TimeSpan.FromSeconds(_state.Pod.Spec.TerminationGracePeriodSeconds ?? 30);
}
