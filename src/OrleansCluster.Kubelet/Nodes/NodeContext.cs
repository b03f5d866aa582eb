using System.Net;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Variables;
using OrleansCluster.Kubelet.Volumes;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>What all nodes of a process share.</summary>
internal sealed class NodeServices
{
    public required IControlPlane ControlPlane { get; init; }

    public required INodeObjects Objects { get; init; }

    public required IStatusReporter Reporter { get; init; }

    public required INodeEvents Events { get; init; }

    public required WakeWheel Wheel { get; init; }

    public required TimeProvider Time { get; init; }

    /// <summary>Used under its own lock.</summary>
    public required Random Random { get; init; }

    public required ILoggerFactory Loggers { get; init; }

    public double NextRandom()
    {
        lock (Random)
            return Random.NextDouble();
    }

    /// <summary>The time span ± a quarter.</summary>
    public TimeSpan Jitter(TimeSpan span) => span * (0.75 + 0.5 * NextRandom());
}

/// <summary>What the pod workers of one node work with.</summary>
internal sealed class NodeContext
{
    public required NodeServices Services { get; init; }

    public required string NodeName { get; init; }

    public required IPAddress NodeAddress { get; init; }

    public required IContainerRuntime Runtime { get; init; }

    public required IProber Prober { get; init; }

    public required PodVolumes Volumes { get; init; }

    public required EnvironmentBuilder Environment { get; init; }

    public required IPodStore Store { get; init; }

    public required PodStatusBuilder StatusBuilder { get; init; }

    /// <summary>The DNS of `dnsPolicy: ClusterFirst` by namespace, or null where the cluster has none: then pods get the node's.</summary>
    public Func<string, PodDns>? ClusterDns { get; init; }

    /// <summary>The node's own DNS.</summary>
    public required PodDns NodeDns { get; init; }

    public decimal AllocatableCpu { get; set; }

    public decimal AllocatableMemory { get; set; }

    public required ILogger Logger { get; init; }

    /// <summary>Called once when nothing of a pod is left.</summary>
    public required Action<PodWorker> Finished { get; init; }
}
