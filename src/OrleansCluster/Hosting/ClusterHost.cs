using Orleans.Dashboard;
using OrleansCluster.ApiServer;
using OrleansCluster.Client;
using OrleansCluster.Client.Security;
using OrleansCluster.ControlPlane;
using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Kubelet;
using OrleansCluster.Kubelet.Operations;
using OrleansCluster.Operations;
using OrleansCluster.Proxy;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>
/// The composition root of a whole cluster in one process: store, silo, API server, nodes and service proxy. The same modules, each told where
/// its neighbours are, make a cluster of many processes (<see cref="SiloHost"/>, <see cref="ApiServerHost"/>, <see cref="KubeletHost"/>,
/// <see cref="ProxyHost"/>).
/// </summary>
internal static class ClusterHost
{
    /// <summary>Builds the host; nothing listens and nothing runs before it is started.</summary>
    public static WebApplication Build(ClusterHostOptions options)
    {
        var builder = HostSetup.CreateWebBuilder();
        var pki = builder.AddBasics(options.DataDirectory, options.LogLevel, options.Time);
        // For programs of this machine's operator on the client SDK (ClusterClientOptions.FromDataDirectory).
        pki.ClientCertificate(ClusterClientOptions.CertificateName, MemberCertificates.Group);
        builder.Services.AddEmbeddedStore(options.DataDirectory, options.InMemory);
        var siloPort = GatewayFile.FreePort();
        var gatewayPort = GatewayFile.Choose(options.DataDirectory, options.GatewayPort);
        builder.Host.UseOrleans(silo =>
        {
            silo.UseLoneSilo(siloPort, gatewayPort, pki, options.Time);
            if (options.Dashboard)
                silo.AddDashboard(DashboardPages.Configure);
            options.ConfigureSilo(silo);
        });
        builder.Services.AddControlPlane(controlPlane =>
        {
            controlPlane.ClusterCaPem = pki.AuthorityPem;
            options.ConfigureControlPlane(controlPlane);
        });
        builder.Services.AddExpirySweeper();
        builder.AddKubernetesApiServer(api =>
        {
            api.DataDirectory = options.DataDirectory;
            api.Endpoints.Add(options.Endpoint);
        });
        builder.AddOperations(options.Health);
        if (options.Dashboard)
            builder.Services.AddDashboardPages();
        if (options.ServiceProxy)
        {
            builder.Services.AddServiceProxyHealth(HealthImpact.Report);
            builder.Services.AddSingleton<IServiceFeed, CacheServiceFeed>();
            builder.Services.AddServiceProxy(proxy => proxy.ServiceCidr = "10.96.0.0/16");
        }
        if (options.Nodes > 0)
        {
            builder.Services.AddNodeAgentHealth(HealthImpact.Report);
            builder.Services.AddNodeAgents(agents => KubeletHost.Configure(agents, pki, nodes =>
            {
                nodes.NodeCount = options.Nodes;
                nodes.NodeNamePrefix = options.NodeNamePrefix;
                nodes.Runtime = options.Runtime;
                nodes.DataDirectory = options.DataDirectory;
                nodes.Port = options.KubeletPort;
                options.ConfigureNodes(nodes);
            }));
        }
        options.ConfigureServices(builder.Services);

        var app = builder.Build();
        app.MapKubernetesApi();
        app.MapDashboard();
        return app;
    }
}
