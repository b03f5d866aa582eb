using System.Net;
using System.Security.Cryptography.X509Certificates;
using OrleansCluster.ApiServer;
using OrleansCluster.Commands;
using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Kubelet;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Operations;
using OrleansCluster.Operations;

namespace OrleansCluster.Hosting;

/// <summary>`orleanscluster kubelet`: node agents in a process of their own, Orleans clients of a cluster.</summary>
internal static class KubeletHost
{
    /// <summary>Builds the host.</summary>
    /// <param name="dataDirectory">Folder that holds `pki/`.</param>
    /// <param name="cluster">Where the cluster is.</param>
    /// <param name="configure">The nodes.</param>
    /// <param name="level">Least level of log lines.</param>
    /// <param name="health">Where health and metrics are answered in plain HTTP; null for nowhere.</param>
    public static IHost Build(
        string dataDirectory, ClusterAddress cluster, Action<NodeAgentOptions> configure, LogLevel level, IPEndPoint? health = null)
    {
        var builder = HostSetup.CreateBuilder();
        var pki = builder.AddBasics(dataDirectory, level, TimeProvider.System);
        builder.AddClusterClient(cluster, pki, "orleanscluster:kubelet");
        builder.Services.AddNodeAgents(options => Configure(options, pki, configure));
        builder.Services.AddNodeAgentHealth(HealthImpact.Readiness);
        builder.AddOperations(health);
        return builder.Build();
    }

    /// <summary>The cluster that `orleanscluster dev` runs on this machine.</summary>
    /// <param name="directory">Its data folder.</param>
    /// <exception cref="StartException">There is no cluster in that folder.</exception>
    public static ClusterAddress Local(string directory)
    {
        if (!File.Exists(Path.Combine(directory, "pki", "ca.crt")) || GatewayFile.Read(directory) is not { } gateway)
            throw new StartException($"There is no cluster in '{directory}': start one with 'orleanscluster dev --data {directory}' first.");
        return new ClusterAddress { Gateways = [new DnsEndPoint(gateway.Address.ToString(), gateway.Port)] };
    }

    /// <summary>What all node agents of a cluster have in common: its certificates and its name on the container engine.</summary>
    public static void Configure(NodeAgentOptions options, ClusterPki pki, Action<NodeAgentOptions> configure)
    {
        // Clusters on one engine are told apart by their authority: it is made once and kept with the data.
        options.Cluster = pki.Authority.GetCertHashString(System.Security.Cryptography.HashAlgorithmName.SHA256)[..12].ToLowerInvariant();
        options.ClientAuthority = () => X509CertificateLoader.LoadCertificate(pki.Authority.RawData);
        configure(options);
        // The certificate is good for the address that API servers dial. Machines that share a folder have one each, called by their address.
        var address = options.NodeAddress;
        var name = IPAddress.IsLoopback(address) ? "nodes" : "nodes-" + address.ToString().Replace(':', '-');
        options.ServerCertificate ??= () => pki.NodeServingCertificate(name, [address.ToString()]);
        if (options.DataDirectory.Length > 0)
        {
            // For people and scripts that look for this cluster's containers: `docker ps --filter label=orleanscluster.io/cluster=ID`.
            Directory.CreateDirectory(options.DataDirectory);
            File.WriteAllText(Path.Combine(options.DataDirectory, "cluster-id"), options.Cluster + "\n");
        }
    }
}
