using Microsoft.Extensions.DependencyInjection;
using OrleansCluster.ControlPlane;
using OrleansCluster.Kubelet.Nodes;

namespace OrleansCluster.Testing;

/// <summary>What kind of cluster a test gets. The defaults are the fastest: store in memory, one hollow node, real clock, no log.</summary>
public sealed record TestClusterOptions
{
    /// <summary>
    /// Hollow nodes, named `node-1`, `node-2`, …; 0 for none. Default 1. Starting waits until all of them are ready. Their pods are simulated: they
    /// start, get addresses and become ready without a container engine.
    /// </summary>
    public int Nodes { get; init; } = 1;

    /// <summary>
    /// Silos. Default 1. Several share one store, find each other as those of a real cluster do and can be killed apart (<see cref="TestCluster.KillSiloAsync"/>).
    /// </summary>
    public int Silos { get; init; } = 1;

    /// <summary>
    /// API servers of their own, Orleans clients of the silos. Default 0: with one silo the API server lives in it, as in `orleanscluster dev`; with several
    /// there is one.
    /// </summary>
    public int ApiServers { get; init; }

    /// <summary>True keeps the store in memory: fastest, and gone at a restart. False puts it on disk, in the data directory. Default true.</summary>
    public bool InMemory { get; init; } = true;

    /// <summary>
    /// Folder of certificates, kubeconfig and, unless in memory, the store. Null (the default) makes a temporary one that is deleted with the cluster;
    /// a folder of the caller's is kept, and a later cluster on it goes on where this one ended.
    /// </summary>
    public string? DataDirectory { get; init; }

    /// <summary>
    /// The clock of API server, control plane and nodes; a fake one makes grace periods and back-offs a matter of one call. Orleans' membership and
    /// <see cref="TestCluster.WaitForAsync"/> stay on the real clock. Default the real one.
    /// </summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Addresses and times of the control plane, for instance a short grace period for lost nodes.</summary>
    public Action<ControlPlaneOptions> ConfigureControlPlane { get; init; } = _ => { };

    /// <summary>Further settings of the silo, for instance call filters.</summary>
    public Action<ISiloBuilder> ConfigureSilo { get; init; } = _ => { };

    /// <summary>The nodes: capacity, labels, start latency.</summary>
    public Action<NodeAgentOptions> ConfigureNodes { get; init; } = _ => { };

    /// <summary>Further registrations, after the built-in ones: own controllers with `AddController`, plug-ins, replacements.</summary>
    public Action<IServiceCollection> ConfigureServices { get; init; } = _ => { };

    /// <summary>Gets every log line from Information up, e.g. the test's output. Null (the default): no log.</summary>
    public Action<string>? Log { get; init; }

    /// <summary>How long starting and waiting may take. Default 30 s, for machines that are busy with other tests.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);
}
