using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Support;

/// <summary>A node agent over a fake control plane and any runtime.</summary>
internal sealed class TestNode : IAsyncDisposable
{
    private readonly WakeWheel _wheel;
    private readonly StatusReporter _reporter;
    private readonly NodeEvents _events;
    private readonly NodeSettings _settings;
    private readonly NodeServices _services;

    private TestNode(
        FakeControlPlane controlPlane, TimeProvider time, IContainerRuntime runtime, IProber prober, string? dataDirectory, Action<NodeAgentOptions>? configure,
        string name, IPNetwork subnet)
    {
        ControlPlane = controlPlane;
        Runtime = runtime;
        var random = new Random(7);
        ILoggerFactory loggers = NullLoggerFactory.Instance;
        _wheel = new WakeWheel(time);
        _reporter = new StatusReporter(controlPlane, _wheel, time, random, 4, loggers.CreateLogger<StatusReporter>());
        _events = new NodeEvents(controlPlane, time, random, loggers.CreateLogger<NodeEvents>());
        _reporter.Start();
        _events.Start();
        var options = new NodeAgentOptions { DataDirectory = dataDirectory ?? "", RelistInterval = TimeSpan.FromMinutes(1) };
        configure?.Invoke(options);
        _settings = new NodeSettings
        {
            Name = name,
            Address = IPAddress.Parse("10.0.0.1"),
            PodSubnet = subnet,
            DataDirectory = dataDirectory,
            Hollow = dataDirectory is null,
            Labels = new Dictionary<string, string>(),
            Options = options,
            CreateRuntime = (_, _) => Task.FromResult((runtime, prober)),
        };
        _services = new NodeServices
        {
            ControlPlane = controlPlane,
            Objects = new NodeObjects(controlPlane),
            Reporter = _reporter,
            Events = _events,
            Wheel = _wheel,
            Time = time,
            Random = random,
            Loggers = loggers,
        };
        Agent = new NodeAgent(_settings, _services);
        Agent.Start(10250);
    }

    /// <summary>A further hollow node that shares this one's services.</summary>
    public NodeAgent Another(string name, IPNetwork subnet) => new(
        _settings with
        {
            Name = name,
            PodSubnet = subnet,
            CreateRuntime = (network, _) => Task.FromResult((
                (IContainerRuntime)new HollowRuntime(new HollowRuntimeOptions { Subnet = network }, _services.Time), (IProber)new HollowProber(_services.Time))),
        },
        _services);

    public FakeControlPlane ControlPlane { get; }

    public IContainerRuntime Runtime { get; }

    public NodeAgent Agent { get; }

    /// <summary>Starts a node and waits until its first session is open.</summary>
    public static async Task<TestNode> StartAsync(
        FakeControlPlane controlPlane,
        TimeProvider time,
        IContainerRuntime runtime,
        IProber? prober = null,
        string? dataDirectory = null,
        Action<NodeAgentOptions>? configure = null,
        bool waitForSession = true,
        string name = "node-1",
        string subnet = "10.244.1.0/24")
    {
        var before = controlPlane.Calls.GetValueOrDefault("connect");
        var node = new TestNode(controlPlane, time, runtime, prober ?? new HollowProber(time), dataDirectory, configure, name, IPNetwork.Parse(subnet));
        await node.Agent.RuntimeReady.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        if (waitForSession)
        {
            await controlPlane.WaitAsync(() => controlPlane.Calls.GetValueOrDefault("connect") > before, "the node to connect");
            await controlPlane.Pushing;
        }
        return node;
    }

    public async ValueTask DisposeAsync()
    {
        await Agent.StopAsync();
        await _reporter.DisposeAsync();
        await _events.DisposeAsync();
        _wheel.Dispose();
    }
}
