using System.Net;
using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Operations;
using OrleansCluster.Proxy;

namespace OrleansCluster.Hosting;

/// <summary>`orleanscluster proxy`: the service proxy of one machine, an Orleans client of its own.</summary>
internal static class ProxyHost
{
    /// <summary>Builds the host.</summary>
    /// <param name="dataDirectory">Folder that holds `pki/`.</param>
    /// <param name="cluster">Where the cluster is.</param>
    /// <param name="configure">The proxy.</param>
    /// <param name="level">Least level of log lines.</param>
    /// <param name="health">Where health and metrics are answered in plain HTTP; null for nowhere.</param>
    public static IHost Build(
        string dataDirectory, ClusterAddress cluster, Action<ServiceProxyOptions> configure, LogLevel level, IPEndPoint? health = null)
    {
        var builder = HostSetup.CreateBuilder();
        var pki = builder.AddBasics(dataDirectory, level, TimeProvider.System);
        builder.AddClusterClient(cluster, pki, "orleanscluster:proxy");
        builder.Services.AddSingleton<IServiceFeed, ClientServiceFeed>();
        builder.Services.AddServiceProxy(proxy =>
        {
            proxy.ServiceCidr = "10.96.0.0/16";
            configure(proxy);
        });
        builder.Services.AddServiceProxyHealth(HealthImpact.Readiness);
        builder.AddOperations(health);
        return builder.Build();
    }
}
