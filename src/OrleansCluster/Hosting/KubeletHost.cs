using System.Net;
using System.Security.Cryptography.X509Certificates;
using Orleans.Configuration;
using OrleansCluster.Api;
using OrleansCluster.ApiServer;
using OrleansCluster.Client.Security;
using OrleansCluster.Commands;
using OrleansCluster.Kubelet;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Security;

namespace OrleansCluster.Hosting;

/// <summary>Node agents in a process of their own: Orleans clients of a cluster on this machine.</summary>
internal static class KubeletHost
{
    /// <summary>A call that a dying silo does not answer is given up after this; the default of 30 s would hold status writes up for as long.</summary>
    private static readonly TimeSpan ResponseTimeout = TimeSpan.FromSeconds(5);

    /// <summary>Builds the host.</summary>
    /// <param name="cluster">Data directory of the cluster to join.</param>
    /// <param name="configure">The nodes.</param>
    /// <param name="level">Least level of log lines.</param>
    /// <exception cref="StartException">There is no cluster in that directory.</exception>
    public static IHost Build(string cluster, Action<NodeAgentOptions> configure, LogLevel level)
    {
        if (!File.Exists(Path.Combine(cluster, "pki", "ca.crt")) || GatewayFile.Read(cluster) is not { } gateway)
            throw new StartException($"There is no cluster in '{cluster}': start one with 'orleanscluster dev --data {cluster}' first.");
        var pki = ClusterPki.Open(Path.Combine(cluster, "pki"), TimeProvider.System);
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { ApplicationName = "orleanscluster", DisableDefaults = true });
        ClusterHost.ConfigureLogging(builder.Logging, level);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ClusterHost.ShutdownTimeout);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton(new ResourceRegistry(BuiltInResources.All));
        builder.UseOrleansClient(client =>
        {
            client.UseStaticClustering(gateway);
            client.Configure<ClusterOptions>(ids => ids.ServiceId = ids.ClusterId = "orleanscluster");
            client.Configure<ClientMessagingOptions>(messaging => messaging.ResponseTimeout = ResponseTimeout);
            client.Configure<GatewayOptions>(gateways => gateways.GatewayListRefreshPeriod = TimeSpan.FromSeconds(3));
            client.UseClusterTls(new MemberCertificates(
                pki.Authority, pki.ClientCertificate("orleanscluster:kubelet", MemberCertificates.Group), TimeProvider.System));
            // The control plane may come later than its nodes: they start with what they have on disk and go on trying.
            client.UseConnectionRetryFilter(async (_, token) =>
            {
                await Task.Delay(TimeSpan.FromSeconds(1), token);
                return true;
            });
        });
        builder.Services.AddNodeAgents(options => Configure(options, pki, configure));
        return builder.Build();
    }

    /// <summary>What all node agents of a cluster have in common: its certificates and its name on the container engine.</summary>
    public static void Configure(NodeAgentOptions options, ClusterPki pki, Action<NodeAgentOptions> configure)
    {
        // Clusters on one engine are told apart by their authority: it is made once and kept with the data.
        options.Cluster = pki.Authority.GetCertHashString(System.Security.Cryptography.HashAlgorithmName.SHA256)[..12].ToLowerInvariant();
        options.ServerCertificate = () => pki.NodeServingCertificate("nodes", [IPAddress.Loopback.ToString()]);
        options.ClientAuthority = () => X509CertificateLoader.LoadCertificate(pki.Authority.RawData);
        configure(options);
        if (options.DataDirectory.Length > 0)
        {
            // For people and scripts that look for this cluster's containers: `docker ps --filter label=orleanscluster.io/cluster=ID`.
            Directory.CreateDirectory(options.DataDirectory);
            File.WriteAllText(Path.Combine(options.DataDirectory, "cluster-id"), options.Cluster + "\n");
        }
    }
}
