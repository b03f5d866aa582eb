using System.Net;
using Microsoft.Extensions.Options;

namespace OrleansCluster.ControlPlane;

/// <summary>Addresses and times of the control plane.</summary>
public sealed class ControlPlaneOptions
{
    /// <summary>Cluster IPs of services are taken from here. IPv4 CIDR; default `10.96.0.0/16`. Must not overlap the pods' or the hosts' networks.</summary>
    public string ServiceCidr { get; set; } = "10.96.0.0/16";

    /// <summary>Every node gets a subnet for its pods from here. IPv4 CIDR; default `10.244.0.0/16`.</summary>
    public string PodCidr { get; set; } = "10.244.0.0/16";

    /// <summary>Prefix length of a node's subnet; default 24: 254 pods a node, 256 nodes in the default network.</summary>
    public int NodePodCidrPrefix { get; set; } = 24;

    /// <summary>First node port; default 30000.</summary>
    public int NodePortFirst { get; set; } = 30000;

    /// <summary>Last node port; default 32767.</summary>
    public int NodePortLast { get; set; } = 32767;

    /// <summary>PEM of the cluster's certificate authority, published to every namespace as ConfigMap `kube-root-ca.crt`; null: not published.</summary>
    public string? ClusterCaPem { get; set; }

    /// <summary>
    /// How long a node may be silent before it counts as lost. Default 50 s as in Kubernetes 1.32; shorter replaces pods sooner and mistakes a
    /// slow network for a dead node more often.
    /// </summary>
    public TimeSpan NodeMonitorGracePeriod { get; set; } = TimeSpan.FromSeconds(50);

    /// <summary>How often node agents report. Default 10 s; at most a third of the grace period is sensible.</summary>
    public TimeSpan NodeHeartbeatInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a pod stays bound to a lost node before it is deleted there and replaced, where the pod itself tolerates no other time.
    /// Default 300 s as in Kubernetes (the tolerationSeconds that admission gives).
    /// </summary>
    public TimeSpan DefaultEvictionDelay { get; set; } = TimeSpan.FromSeconds(300);

    /// <summary>Finished pods kept before the oldest are deleted; default 12,500 as in Kubernetes; 0 keeps all.</summary>
    public int TerminatedPodThreshold { get; set; } = 12_500;
}

/// <summary>Checks <see cref="ControlPlaneOptions"/> at start.</summary>
public sealed class ControlPlaneOptionsValidator : IValidateOptions<ControlPlaneOptions>
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, ControlPlaneOptions options)
    {
        var errors = new List<string>();
        if (!IsIPv4Network(options.ServiceCidr))
            errors.Add($"ServiceCidr '{options.ServiceCidr}' is not an IPv4 network such as 10.96.0.0/16.");
        if (!IsIPv4Network(options.PodCidr))
            errors.Add($"PodCidr '{options.PodCidr}' is not an IPv4 network such as 10.244.0.0/16.");
        else if (options.NodePodCidrPrefix is < 8 or > 30 || options.NodePodCidrPrefix < IPNetwork.Parse(options.PodCidr).PrefixLength)
            errors.Add($"NodePodCidrPrefix {options.NodePodCidrPrefix} must lie between the prefix of PodCidr {options.PodCidr} and 30.");
        if (options.NodePortFirst is < 1 or > 65535 || options.NodePortLast is < 1 or > 65535 || options.NodePortFirst > options.NodePortLast)
            errors.Add($"NodePortFirst {options.NodePortFirst} to NodePortLast {options.NodePortLast} is not a range of ports.");
        if (options.NodeHeartbeatInterval <= TimeSpan.Zero || options.NodeMonitorGracePeriod < 2 * options.NodeHeartbeatInterval)
            errors.Add("NodeMonitorGracePeriod must be at least twice NodeHeartbeatInterval, or healthy nodes count as lost.");
        if (options.DefaultEvictionDelay < TimeSpan.Zero)
            errors.Add("DefaultEvictionDelay must not be negative.");
        if (options.TerminatedPodThreshold < 0)
            errors.Add("TerminatedPodThreshold must not be negative; 0 keeps all finished pods.");
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private static bool IsIPv4Network(string text) =>
        IPNetwork.TryParse(text, out var network) && network.BaseAddress.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork;
}
