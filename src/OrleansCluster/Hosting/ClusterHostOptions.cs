using System.Net;
using OrleansCluster.ControlPlane;
using OrleansCluster.Kubelet.Nodes;

namespace OrleansCluster.Hosting;

/// <summary>A whole cluster in one process.</summary>
internal sealed record ClusterHostOptions
{
    /// <summary>Folder of all state: store, certificates, kubeconfig, nodes' files.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Keep the store in memory only; certificates still go to <see cref="DataDirectory"/>.</summary>
    public bool InMemory { get; init; }

    /// <summary>Where the API listens; port 0 takes a free one.</summary>
    public IPEndPoint Endpoint { get; init; } = new(IPAddress.Loopback, 6443);

    /// <summary>Serve the Orleans dashboard.</summary>
    public bool Dashboard { get; init; }

    /// <summary>Where health and metrics are answered without a credential, in plain HTTP; null for nowhere but the API's own port.</summary>
    public IPEndPoint? Health { get; init; }

    /// <summary>Number of nodes in this process; 0 for none (node agents join from outside).</summary>
    public int Nodes { get; init; } = 1;

    /// <summary>What the nodes run on.</summary>
    public NodeRuntime Runtime { get; init; } = NodeRuntime.Docker;

    /// <summary>First part of the nodes' names: `node-` gives `node-1`, `node-2`, ...</summary>
    public string NodeNamePrefix { get; init; } = "node-";

    /// <summary>Port of the nodes' HTTPS endpoint (logs, exec); 0 takes a free one.</summary>
    public int KubeletPort { get; init; }

    /// <summary>Run the service proxy.</summary>
    public bool ServiceProxy { get; init; } = true;

    /// <summary>Orleans gateway for node agents of other processes, on loopback; 0 takes a free port.</summary>
    public int GatewayPort { get; init; }

    /// <summary>Addresses and times of the control plane.</summary>
    public Action<ControlPlaneOptions> ConfigureControlPlane { get; init; } = _ => { };

    /// <summary>Further settings of the silo.</summary>
    public Action<ISiloBuilder> ConfigureSilo { get; init; } = _ => { };

    /// <summary>Further settings of the nodes.</summary>
    public Action<NodeAgentOptions> ConfigureNodes { get; init; } = _ => { };

    /// <summary>Least level of this project's log lines.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>The clock of everything but Orleans' own membership.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Further registrations, after the built-in ones.</summary>
    public Action<IServiceCollection> ConfigureServices { get; init; } = _ => { };
}
