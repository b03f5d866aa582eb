using System.Net;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Variables;
using OrleansCluster.Kubelet.Volumes;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>
/// The agent of one node. Its parts, each with its own retry and none waiting for another longer than it must:
/// <code>
///   RunAsync ─ runtime ready? ─► pods from disk, running containers adopted ─► runtime events, relist      (works without the control plane)
///            └ session: register the Node ─► connect ─► heartbeats ─► (lost) ─► again                      NodeAgent.Session.cs
///            └ node status: on change and every few minutes                                                 NodeAgent.Status.cs
///   observer ─► SyncPods: complete set or changes ─► workers
/// </code>
/// Nothing of a pod is removed because the agent does not know it, before the first complete set of this run has come.
/// </summary>
internal sealed partial class NodeAgent
{
    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan MaxRetry = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, PodWorker> _workers = new(StringComparer.Ordinal);

    // Uids whose end is done here but that the API may still push (finalizers). Emptied by the pushes that remove them.
    private readonly HashSet<string> _done = new(StringComparer.Ordinal);
    private readonly NodeSettings _settings;
    private readonly NodeServices _services;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _runtimeReady = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private NodeContext? _context;
    private IContainerRuntime? _runtime;
    private RuntimeVersion? _version;
    private Task _run = Task.CompletedTask;
    private bool _complete;
    private int _port;

    public NodeAgent(NodeSettings settings, NodeServices services)
    {
        _settings = settings;
        _services = services;
        _logger = services.Loggers.CreateLogger("OrleansCluster.Kubelet.Node");
    }

    public string Name => _settings.Name;

    /// <summary>Ended when the runtime answered and what ran was adopted.</summary>
    public Task RuntimeReady => _runtimeReady.Task;

    /// <summary>True for a node without an engine.</summary>
    public bool IsHollow => _settings.Hollow;

    /// <summary>True while the node's grain takes its heartbeats.</summary>
    public bool IsConnected { get; private set; }

    /// <summary>Throws unless the engine answers.</summary>
    public async Task PingAsync(CancellationToken cancellationToken) => await _runtime!.GetVersionAsync(cancellationToken);

    /// <summary>Pods that are looked after.</summary>
    public int PodCount
    {
        get
        {
            lock (_gate)
                return _workers.Count;
        }
    }

    /// <summary>The pods that are looked after.</summary>
    public IReadOnlyList<PodWorker> Workers()
    {
        lock (_gate)
            return [.. _workers.Values];
    }

    /// <summary>Starts the agent; returns at once.</summary>
    /// <param name="port">Where the shared endpoint listens, for the node's status.</param>
    public void Start(int port)
    {
        _port = port;
        _run = Task.Run(() => RunAsync(_stop.Token));
    }

    /// <summary>Stops looking after the node; its containers run on and are adopted by the next start.</summary>
    public async Task StopAsync()
    {
        await _stop.CancelAsync();
        PodWorker[] workers;
        lock (_gate)
        {
            workers = [.. _workers.Values];
        }
        await Task.WhenAll(workers.Select(worker => worker.StopAsync()));
        await _run;
        if (_runtime is { } runtime)
            await runtime.DisposeAsync();
        _stop.Dispose();
    }

    /// <summary>The pod of that namespace and name; of several (one is still ending) the newest.</summary>
    public PodWorker? Find(string podNamespace, string podName)
    {
        lock (_gate)
        {
            PodWorker? found = null;
            foreach (var worker in _workers.Values)
            {
                if (worker.Identity.Name == podName && worker.Identity.Namespace == podNamespace && (found is null || !worker.IsEnding))
                    found = worker;
            }
            return found;
        }
    }

    /// <summary>Takes pods from the control plane.</summary>
    public void SyncPods(PodSync sync)
    {
        var wanted = new HashSet<string>(StringComparer.Ordinal);
        foreach (var bytes in sync.Pods)
        {
            PodDocument pod;
            try
            {
                pod = PodDocument.Parse(bytes);
            }
            catch (JsonException exception)
            {
                Log.BadPod(_logger, exception, Name);
                continue;
            }
            wanted.Add(pod.Uid);
            TakePod(pod, bytes, sync.Complete, sync.TraceParents?.GetValueOrDefault(pod.Uid));
        }

        List<PodWorker> gone = [];
        lock (_gate)
        {
            if (sync.Complete)
            {
                _done.RemoveWhere(uid => !wanted.Contains(uid));
                gone.AddRange(_workers.Values.Where(worker => !wanted.Contains(worker.Uid)));
            }
            foreach (var uid in sync.RemovedUids)
            {
                _done.Remove(uid);
                if (_workers.TryGetValue(uid, out var worker))
                    gone.Add(worker);
            }
        }
        foreach (var worker in gone)
            worker.SetRemoved();
        if (!sync.Complete)
            return;
        lock (_gate)
        {
            _complete = true;
            _unclaimed = null;
        }
        Log.CompleteSet(_logger, Name, wanted.Count, gone.Count);
        RequestRelist();
    }

    private void TakePod(PodDocument pod, byte[] bytes, bool ofCompleteSet, string? traceParent)
    {
        // Pod start, step 2 (docs/architecture.md).
        PodWorker? worker;
        lock (_gate)
        {
            if (_done.Contains(pod.Uid) || _stop.IsCancellationRequested)
                return;
            if (!_workers.TryGetValue(pod.Uid, out worker))
            {
                if (_context is not { } context)
                    return;
                worker = new PodWorker(context, pod, traceParent);
                if (_unclaimed is { } found)
                    worker.Adopt(found.Sandboxes.Where(sandbox => sandbox.Pod.Uid == pod.Uid), found.Containers.Where(c => c.Pod.Uid == pod.Uid));
                _workers.Add(pod.Uid, worker);
            }
            // A change whose call timed out and was repeated may arrive after its successors. A complete set is the state, whatever its revisions.
            if (!ofCompleteSet && pod.Revision < worker.Revision)
                return;
            // Once its deletion is kept nothing new about a pod matters after a restart, and its directory may be on its way out already. Under the
            // lock: a worker that finishes takes the directory with it, and nothing may be written after that.
            if (!worker.IsEnding)
                Keep(pod, bytes);
        }
        worker.SetDesired(pod);
    }

    /// <summary>Caller holds the lock.</summary>
    private void Keep(PodDocument pod, byte[] bytes)
    {
        try
        {
            _context!.Store.Save(pod.Uid, bytes);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The pod runs all the same; only a restart of the agent during an outage would not know it.
            Log.NotKept(_logger, exception, Name, pod.FullName);
        }
    }

    private void OnFinished(PodWorker worker)
    {
        lock (_gate)
        {
            _workers.Remove(worker.Uid);
            if (!worker.WasRemoved)
                _done.Add(worker.Uid);
            RemoveDirectory(worker.Uid);
        }
    }

    /// <summary>Takes away what a push wrote after the worker had removed the directory. Caller holds the lock.</summary>
    private void RemoveDirectory(string podUid)
    {
        if (_context!.Store.DirectoryOf(podUid) is not { } directory)
            return;
        try
        {
            _context.Volumes.TearDown(directory);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Log.Unreadable(_logger, exception, Name, directory);
        }
    }

    // ---- start and the runtime

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await PrepareRuntimeAsync(cancellationToken);
            AdoptWorkers(await ListAsync(cancellationToken));
            _runtimeReady.TrySetResult();
            await Task.WhenAll(
                RunSessionsAsync(cancellationToken),
                FollowRuntimeAsync(cancellationToken),
                RelistAsync(cancellationToken),
                ReportNodeAsync(cancellationToken));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Stopping.
        }
        finally
        {
            _runtimeReady.TrySetCanceled(CancellationToken.None);
        }
    }

    private async Task PrepareRuntimeAsync(CancellationToken cancellationToken)
    {
        var subnet = _settings.PodSubnet ?? RememberedSubnet() ?? await AskForSubnetAsync(cancellationToken);
        RememberSubnet(subnet);
        await RetryAsync("prepare the container runtime", async token =>
        {
            var (runtime, prober) = await _settings.CreateRuntime(subnet, token);
            _version = await runtime.GetVersionAsync(token);
            await runtime.PrepareAsync(token);
            _runtime = runtime;
            _context = MakeContext(runtime, prober);
            return true;
        }, cancellationToken);
        Log.RuntimeReady(_logger, Name, _version!.Name, _version.Version, subnet);
    }

    private NodeContext MakeContext(IContainerRuntime runtime, Probes.IProber prober)
    {
        var options = _settings.Options;
        var facts = Facts();
        return new NodeContext
        {
            Services = _services,
            NodeName = Name,
            NodeAddress = _settings.Address,
            Runtime = runtime,
            Prober = prober,
            Volumes = new PodVolumes(_services.Objects, _services.Time, materialise: !_settings.Hollow),
            Environment = new EnvironmentBuilder(_services.Objects),
            Store = _settings.DataDirectory is { } directory ? new DiskPodStore(directory) : new NoPodStore(),
            StatusBuilder = new PodStatusBuilder(_settings.Address.ToString(), _version!.Name),
            ClusterDns = options.ClusterDns is { } dns ? ns => PodDns.ClusterFirst(dns.ToString(), ns, options.ClusterDomain) : null,
            NodeDns = _settings.Hollow ? new PodDns([], [], []) : HostDns.Read("/etc/resolv.conf"),
            AllocatableCpu = Math.Max(0, facts.Cpus - facts.ReservedCpuMillis / 1000m),
            AllocatableMemory = Math.Max(0, facts.MemoryBytes - facts.ReservedMemoryBytes),
            Logger = _services.Loggers.CreateLogger("OrleansCluster.Kubelet.Pod"),
            Finished = OnFinished,
        };
    }

    /// <summary>Makes workers for the pods on disk and hands them the containers that run.</summary>
    private void AdoptWorkers(Listing listing)
    {
        var adopted = 0;
        foreach (var bytes in _context!.Store.Load((path, exception) => Log.Unreadable(_logger, exception, Name, path)))
        {
            PodDocument pod;
            try
            {
                pod = PodDocument.Parse(bytes);
            }
            catch (JsonException exception)
            {
                Log.BadPod(_logger, exception, Name);
                continue;
            }
            var worker = new PodWorker(_context, pod);
            worker.Adopt(listing.Sandboxes.Where(sandbox => sandbox.Pod.Uid == pod.Uid), listing.Containers.Where(c => c.Pod.Uid == pod.Uid));
            lock (_gate)
            {
                _workers[pod.Uid] = worker;
            }
            adopted++;
            worker.Signal();
        }
        _unclaimed = listing;
        if (adopted > 0)
            Log.Adopted(_logger, Name, adopted);
    }

    private async Task FollowRuntimeAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                await foreach (var runtimeEvent in _runtime!.WatchEventsAsync(cancellationToken))
                {
                    if (runtimeEvent.Kind == RuntimeEventKind.Resync)
                    {
                        RequestRelist();
                        continue;
                    }
                    PodWorker? worker;
                    lock (_gate)
                    {
                        worker = runtimeEvent.Pod is { } pod ? _workers.GetValueOrDefault(pod.Uid) : null;
                    }
                    worker?.OnRuntimeEvent(runtimeEvent);
                }
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                // The stream reconnects by itself; this is for what nobody foresaw.
                Log.Retrying(_logger, exception, Name, "follow the container runtime", MaxRetry.TotalSeconds);
                await Task.Delay(_services.Jitter(MaxRetry), _services.Time, cancellationToken);
            }
        }
    }

    private async Task RelistAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var requested = _relistRequested.Task;
            await WaitAsync(requested, _services.Jitter(_settings.Hollow ? TimeSpan.FromHours(1) : _settings.Options.RelistInterval), cancellationToken);
            _relistRequested = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            try
            {
                await ReconcileAsync(cancellationToken);
            }
            catch (Exception exception) when (exception is RuntimeException or IOException or TimeoutException)
            {
                Log.Retrying(_logger, exception, Name, "list the container runtime", _settings.Options.RelistInterval.TotalSeconds);
            }
        }
    }

    private volatile TaskCompletionSource _relistRequested = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // What was found at the start and belongs to no pod on disk; a worker made later claims its part.
    private Listing? _unclaimed;

    private void RequestRelist() => _relistRequested.TrySetResult();

    private async Task WaitAsync(Task signal, TimeSpan most, CancellationToken cancellationToken)
    {
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var delay = Task.Delay(most, _services.Time, waiting.Token);
        await Task.WhenAny(signal, delay);
        await waiting.CancelAsync();
        cancellationToken.ThrowIfCancellationRequested();
    }

    private async Task ReconcileAsync(CancellationToken cancellationToken)
    {
        var listing = await ListAsync(cancellationToken);
        PodWorker[] workers;
        bool complete;
        lock (_gate)
        {
            workers = [.. _workers.Values];
            complete = _complete;
        }
        var sandboxes = listing.Sandboxes.ToLookup(sandbox => sandbox.Pod.Uid, StringComparer.Ordinal);
        var containers = listing.Containers.ToLookup(container => container.Pod.Uid, StringComparer.Ordinal);
        foreach (var worker in workers)
            worker.Reconcile([.. sandboxes[worker.Uid]], [.. containers[worker.Uid]], listing.TakenAt);
        if (!complete)
            return;

        // What belongs to no pod of this node is removed: the pod was deleted while no agent ran.
        var known = workers.Select(worker => worker.Uid).ToHashSet(StringComparer.Ordinal);
        foreach (var container in listing.Containers.Where(container => !known.Contains(container.Pod.Uid)))
        {
            Log.Orphan(_logger, Name, container.Name, container.Pod.Namespace, container.Pod.Name);
            await _runtime!.RemoveContainerAsync(container.Id, cancellationToken);
        }
        foreach (var sandbox in listing.Sandboxes.Where(sandbox => !known.Contains(sandbox.Pod.Uid)))
            await _runtime!.RemoveSandboxAsync(sandbox.Id, cancellationToken);
        RemoveOrphanDirectories(known);
    }

    private void RemoveOrphanDirectories(HashSet<string> known)
    {
        if (_settings.DataDirectory is not { } directory || !Directory.Exists(Path.Combine(directory, "pods")))
            return;
        foreach (var pod in Directory.GetDirectories(Path.Combine(directory, "pods")))
        {
            lock (_gate)
            {
                if (!known.Contains(Path.GetFileName(pod)) && !_workers.ContainsKey(Path.GetFileName(pod)))
                    RemoveDirectory(Path.GetFileName(pod));
            }
        }
    }

    private async Task<Listing> ListAsync(CancellationToken cancellationToken) => await RetryAsync("list the container runtime", async token =>
    {
        var takenAt = _services.Time.GetUtcNow();
        var sandboxes = await _runtime!.ListSandboxesAsync(token);
        var containers = await _runtime.ListContainersAsync(token);
        return new Listing(takenAt, sandboxes, containers);
    }, cancellationToken);

    /// <summary>Tries until it works, with a bounded, jittered wait.</summary>
    private async Task<T> RetryAsync<T>(string what, Func<CancellationToken, Task<T>> attempt, CancellationToken cancellationToken)
    {
        for (var delay = FirstRetry; ; delay = delay * 2 > MaxRetry ? MaxRetry : delay * 2)
        {
            try
            {
                return await attempt(cancellationToken);
            }
            catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
            {
                Log.Retrying(_logger, exception, Name, what, delay.TotalSeconds);
            }
            await Task.Delay(_services.Jitter(delay), _services.Time, cancellationToken);
        }
    }

    private sealed record Listing(DateTimeOffset TakenAt, IReadOnlyList<SandboxStatus> Sandboxes, IReadOnlyList<ContainerStatus> Containers);

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Information, "Node {Node}: {Runtime} {Version} ready, pods get addresses of {Subnet}")]
        public static partial void RuntimeReady(ILogger logger, string node, string runtime, string version, IPNetwork subnet);

        [LoggerMessage(2, LogLevel.Information, "Node {Node}: took {Count} pods over from the last run")]
        public static partial void Adopted(ILogger logger, string node, int count);

        [LoggerMessage(3, LogLevel.Warning, "Node {Node}: cannot {What}, trying again in about {Seconds} s")]
        public static partial void Retrying(ILogger logger, Exception exception, string node, string what, double seconds);

        [LoggerMessage(4, LogLevel.Error, "Node {Node}: a pod could not be read and is ignored")]
        public static partial void BadPod(ILogger logger, Exception exception, string node);

        [LoggerMessage(5, LogLevel.Warning, "Node {Node}: pod {Pod} could not be kept on disk")]
        public static partial void NotKept(ILogger logger, Exception exception, string node, string pod);

        [LoggerMessage(6, LogLevel.Warning, "Node {Node}: {Path} cannot be used")]
        public static partial void Unreadable(ILogger logger, Exception exception, string node, string path);

        [LoggerMessage(7, LogLevel.Debug, "Node {Node}: complete set of {Count} pods, {Gone} are gone")]
        public static partial void CompleteSet(ILogger logger, string node, int count, int gone);

        [LoggerMessage(8, LogLevel.Information, "Node {Node}: container {Container} of {Namespace}/{Pod} belongs to no pod any more and is removed")]
        public static partial void Orphan(ILogger logger, string node, string container, string @namespace, string pod);

        [LoggerMessage(9, LogLevel.Information, "Node {Node}: connected to the control plane, heartbeat every {Seconds} s")]
        public static partial void Connected(ILogger logger, string node, double seconds);

        [LoggerMessage(10, LogLevel.Warning, "Node {Node}: the control plane does not answer ({Why}); pods run on, trying again in about {Seconds} s")]
        public static partial void Disconnected(ILogger logger, string node, string why, double seconds);

        [LoggerMessage(11, LogLevel.Warning, "Node {Node}: status not written: {Why}")]
        public static partial void StatusNotWritten(ILogger logger, string node, string why);
    }
}
