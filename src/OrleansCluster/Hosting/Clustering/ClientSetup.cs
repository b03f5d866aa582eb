using Orleans.Configuration;
using Orleans.Dashboard;
using Orleans.Messaging;
using OrleansCluster.ApiServer;
using OrleansCluster.Client.Security;
using OrleansCluster.Security;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>Makes a process an Orleans client of the cluster.</summary>
internal static class ClientSetup
{
    /// <summary>A call that a dying silo does not answer is given up after this; the default of 30 s would hold its caller up for as long.</summary>
    public static readonly TimeSpan ResponseTimeout = TimeSpan.FromSeconds(5);

    /// <summary>How soon a new silo's gateway is used, and a dead one's no more.</summary>
    public static readonly TimeSpan GatewayRefresh = TimeSpan.FromSeconds(2);

    /// <summary>Adds the client.</summary>
    /// <param name="builder">The host.</param>
    /// <param name="cluster">Where the cluster is.</param>
    /// <param name="pki">Issues this process's certificate.</param>
    /// <param name="user">Name in that certificate, e.g. `orleanscluster:kubelet`.</param>
    /// <param name="dashboard">True for a client that serves the dashboard's pages.</param>
    public static void AddClusterClient(this IHostApplicationBuilder builder, ClusterAddress cluster, ClusterPki pki, string user, bool dashboard = false)
    {
        // The control plane may come later than its clients: they start with what they have and go on trying. Meanwhile the host's other services run.
        builder.Services.Configure<HostOptions>(host => host.ServicesStartConcurrently = true);
        builder.UseOrleansClient(client =>
        {
            if (cluster.Local is { } local)
            {
                client.Services.AddSingleton<IGatewayListProvider>(local.Membership);
            }
            else if (cluster.Gateways.Count > 0)
            {
                client.Services.AddSingleton<IGatewayListProvider>(provider => new NamedGateways(
                    cluster.Gateways, GatewayRefresh, provider.GetRequiredService<ILogger<NamedGateways>>()));
            }
            else
            {
                client.UseRedisClustering(redis => redis.ConfigurationOptions = cluster.MembershipConnection());
            }
            client.Configure<ClusterOptions>(ids => ids.ServiceId = ids.ClusterId = cluster.ClusterId);
            client.Configure<ClientMessagingOptions>(messaging => messaging.ResponseTimeout = ResponseTimeout);
            client.Configure<GatewayOptions>(gateways => gateways.GatewayListRefreshPeriod = GatewayRefresh);
            client.UseClusterTls(new MemberCertificates(pki.Authority, pki.ClientCertificate(user, MemberCertificates.Group), TimeProvider.System));
            if (dashboard)
                client.AddDashboard(DashboardPages.Configure);
            if (Traces.Wanted)
                client.AddActivityPropagation();
            client.UseConnectionRetryFilter(async (_, token) =>
            {
                await Task.Delay(TimeSpan.FromMilliseconds(500), token);
                return true;
            });
        });
    }
}
