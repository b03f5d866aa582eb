using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.ApiServer;
using OrleansCluster.Hosting;
using OrleansCluster.Kubelet;
using OrleansCluster.Kubelet.Nodes;

namespace OrleansCluster.Testing;

/// <summary>Hollow nodes of a <see cref="TestCluster"/> that live and die together.</summary>
public sealed class TestNodes
{
    private readonly ServiceProvider _services;
    private readonly IHostedService[] _agents;
    private bool _stopped;

    internal TestNodes(IReadOnlyList<string> names, IServiceProvider cluster, ClusterPki pki, Action<NodeAgentOptions> configure, TimeProvider time)
    {
        Names = names;
        var services = new ServiceCollection();
        services.AddSingleton(cluster.GetRequiredService<ILoggerFactory>());
        services.AddSingleton(typeof(ILogger<>), typeof(Logger<>));
        services.AddSingleton(cluster.GetRequiredService<IGrainFactory>());
        services.AddSingleton(cluster.GetRequiredService<IMeterFactory>()); // As in `dev`, the nodes' figures are among those of the cluster.
        services.AddSingleton(time);
        services.AddNodeAgents(agents => KubeletHost.Configure(agents, pki, nodes =>
        {
            foreach (var name in names)
                nodes.NodeNames.Add(name);
            nodes.Runtime = NodeRuntime.Hollow;
            nodes.Port = 0;
            // Simulated nodes: not a share of the machine that happens to run the test.
            nodes.Cpus = 8;
            nodes.MemoryBytes = 32L << 30;
            configure(nodes);
        }));
        _services = services.BuildServiceProvider();
        _agents = [.. _services.GetServices<IHostedService>()];
    }

    /// <summary>Their names.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Stops the nodes' agents and with them their heartbeats; nothing is said to the cluster, which finds out by itself.</summary>
    public async Task StopAsync()
    {
        if (_stopped)
            return;
        _stopped = true;
        foreach (var agent in _agents)
            await agent.StopAsync(CancellationToken.None);
        await _services.DisposeAsync();
    }

    internal async Task StartAsync()
    {
        foreach (var agent in _agents)
            await agent.StartAsync(CancellationToken.None);
    }
}
