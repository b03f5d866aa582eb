using System.Diagnostics.Metrics;
using System.Net;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Operations;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Server;
using OrleansCluster.Kubelet.Streaming;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>
/// All node agents of a process and what they share. Starting does not wait for the control plane or the engine; stopping leaves containers running.
/// </summary>
internal sealed class NodeAgentHost : IHostedService, IPodContainers, IAsyncDisposable
{
    private readonly NodeAgentOptions _options;
    private readonly IGrainFactory _grains;
    private readonly TimeProvider _time;
    private readonly IMeterFactory _meters;
    private readonly ILoggerFactory _loggers;
    private readonly Dictionary<string, NodeAgent> _agents = new(StringComparer.Ordinal);
    private WakeWheel? _wheel;
    private StatusReporter? _reporter;
    private NodeEvents? _events;
    private DockerEngine? _engine;
    private KubeletServer? _server;
    private bool _stopped;

    public NodeAgentHost(IOptions<NodeAgentOptions> options, IGrainFactory grains, TimeProvider time, IMeterFactory meters, ILoggerFactory loggers)
    {
        _options = options.Value;
        _grains = grains;
        _time = time;
        _meters = meters;
        _loggers = loggers;
    }

    /// <summary>The port of the endpoint, 0 when there is none.</summary>
    public int Port => _server?.Port ?? 0;

    public IReadOnlyDictionary<string, NodeAgent> Agents => _agents;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        // Jitter only: nothing secret is made of it.
        var random = _options.Seed is { } seed ? new Random(seed) : new Random();
        var controlPlane = new OrleansControlPlane(_grains, _options.CallTimeout, _time);
        _wheel = new WakeWheel(_time);
        _reporter = new StatusReporter(controlPlane, _wheel, _time, random, _options.StatusParallelism, _loggers.CreateLogger<StatusReporter>());
        _events = new NodeEvents(controlPlane, _time, random, _loggers.CreateLogger<NodeEvents>());
        _reporter.Start();
        _events.Start();
        var services = new NodeServices
        {
            ControlPlane = controlPlane,
            Objects = new NodeObjects(controlPlane),
            Reporter = _reporter,
            Events = _events,
            Wheel = _wheel,
            Time = _time,
            Random = random,
            Loggers = _loggers,
        };
        if (_options.Runtime == NodeRuntime.Docker)
            _engine = new DockerEngine(_options.Docker, _time);

        foreach (var name in _options.Names())
            _agents.Add(name, new NodeAgent(SettingsOf(name), services));
        KubeletHealth.AddGauges(_meters, _agents);
        if (_options.ServerCertificate is not null)
        {
            _server = new KubeletServer(_options, this, _agents, _time, _loggers);
            await _server.StartAsync(cancellationToken);
        }
        foreach (var agent in _agents.Values)
            agent.Start(Port);
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_stopped)
            return;
        _stopped = true;
        if (_server is not null)
            await _server.StopAsync();
        await Task.WhenAll(_agents.Values.Select(agent => agent.StopAsync()));
        if (_reporter is not null)
            await _reporter.DisposeAsync();
        if (_events is not null)
            await _events.DisposeAsync();
        _wheel?.Dispose();
        _engine?.Dispose();
    }

    public async ValueTask DisposeAsync() => await StopAsync(CancellationToken.None);

    PodStreams? IPodContainers.Find(string nodeName, string podNamespace, string podName) =>
        _agents.TryGetValue(nodeName, out var agent) ? agent.Find(podNamespace, podName)?.Streams() : null;

    private NodeSettings SettingsOf(string name) => new()
    {
        Name = name,
        Address = _options.NodeAddress,
        PodSubnet = _options.PodSubnets.TryGetValue(name, out var subnet) ? subnet : null,
        DataDirectory = _options.Runtime == NodeRuntime.Hollow ? null : Path.GetFullPath(Path.Combine(_options.DataDirectory, "nodes", name)),
        Hollow = _options.Runtime == NodeRuntime.Hollow,
        Labels = new Dictionary<string, string>(_options.Labels, StringComparer.Ordinal),
        Options = _options,
        CreateRuntime = _options.Runtime == NodeRuntime.Hollow ? CreateHollowAsync : (network, token) => CreateDockerAsync(name, network, token),
    };

    private Task<(IContainerRuntime, IProber)> CreateHollowAsync(IPNetwork subnet, CancellationToken cancellationToken)
    {
        var runtime = new MeteredRuntime(new HollowRuntime(new HollowRuntimeOptions { Subnet = subnet, StartLatency = _options.HollowStartLatency }, _time));
        return Task.FromResult(((IContainerRuntime)runtime, (IProber)new HollowProber(_time)));
    }

    private async Task<(IContainerRuntime, IProber)> CreateDockerAsync(string name, IPNetwork subnet, CancellationToken cancellationToken)
    {
        var network = await PodNetworks.ChooseAsync(_engine!, new RoutedPodNetworkOptions { Subnet = subnet }, _loggers, cancellationToken);
        var runtime = new MeteredRuntime(new DockerRuntime(
            _engine!, new DockerRuntimeOptions { Cluster = _options.Cluster, NodeName = name }, network, _time, _loggers.CreateLogger<DockerRuntime>()));
        return (runtime, new Prober(runtime, _time));
    }
}
