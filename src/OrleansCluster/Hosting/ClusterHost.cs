using Microsoft.Extensions.Logging.Console;
using Orleans.Configuration;
using OrleansCluster.Api;
using OrleansCluster.ApiServer;
using OrleansCluster.Client;
using OrleansCluster.Client.Security;
using OrleansCluster.ControlPlane;
using OrleansCluster.Kubelet;
using OrleansCluster.Proxy;
using OrleansCluster.Security;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>
/// The composition root of a whole cluster in one process: store, silo, API server, nodes and service proxy. The same modules, each told where
/// its neighbours are, make a cluster of many processes.
/// </summary>
internal static class ClusterHost
{
    /// <summary>SIGTERM to exit, at most; what is not done by then is done at the next start.</summary>
    internal static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(4.5);

    /// <summary>Places of grains a silo remembers; each takes about 200 bytes.</summary>
    private const int DirectoryCacheSize = 16_384;

    /// <summary>Builds the host; nothing listens and nothing runs before it is started.</summary>
    public static WebApplication Build(ClusterHostOptions options)
    {
        Directory.CreateDirectory(options.DataDirectory);
        var pki = ClusterPki.Open(Path.Combine(options.DataDirectory, "pki"), options.Time);
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions
        {
            ApplicationName = "orleanscluster",
            Args = [],
            // Not the folder it happens to be started in: the host watches its content root with everything below it for a changed
            // appsettings.json, and below that folder lies, more often than not, the store's own file, which changes with every commit.
            ContentRootPath = AppContext.BaseDirectory,
        });
        ConfigureLogging(builder.Logging, options.LogLevel);
        builder.Services.Configure<HostOptions>(host =>
        {
            host.ShutdownTimeout = ShutdownTimeout;
            host.ServicesStopConcurrently = false; // The silo outlives what calls its grains.
        });
        builder.Services.AddSingleton(options.Time);
        builder.Services.AddSingleton(Random.Shared);
        builder.Services.AddSingleton(pki);
        // For programs of this machine's operator on the client SDK (ClusterClientOptions.FromDataDirectory).
        pki.ClientCertificate(ClusterClientOptions.CertificateName, MemberCertificates.Group);
        builder.Services.AddSingleton(new ResourceRegistry(BuiltInResources.All));

        builder.Services.AddSqliteObjectStore(store =>
            store.Path = options.InMemory ? "" : Path.Combine(options.DataDirectory, "store", "objects.db"));
        builder.Services.AddResourceCaches();
        AddSilo(builder, options, pki);
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
        if (options.ServiceProxy)
        {
            builder.Services.AddSingleton<IServiceFeed, CacheServiceFeed>();
            builder.Services.AddServiceProxy(proxy => proxy.ServiceCidr = "10.96.0.0/16");
        }
        if (options.Nodes > 0)
        {
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
        return app;
    }

    private static void AddSilo(WebApplicationBuilder builder, ClusterHostOptions options, ClusterPki pki)
    {
        var siloPort = GatewayFile.FreePort();
        var gatewayPort = GatewayFile.Choose(options.DataDirectory, options.GatewayPort);
        builder.Host.UseOrleans(silo =>
        {
            silo.UseLocalhostClustering(siloPort, gatewayPort, serviceId: "orleanscluster", clusterId: "orleanscluster");
            silo.UseClusterTls(new MemberCertificates(
                pki.Authority, pki.ClientCertificate("orleanscluster:silo", MemberCertificates.Group), options.Time));
            silo.Configure<GrainCollectionOptions>(collection => collection.CollectionQuantum = TimeSpan.FromSeconds(30));
            // Where grains were found last. Orleans' default of a million places is 19 MB before the first is taken, and keeps places of grains that
            // are long gone; this is what is written to at one time, and a place that is forgotten is looked up again.
            silo.Configure<GrainDirectoryOptions>(directory => directory.CacheSize = DirectoryCacheSize);
            silo.Configure<SiloMessagingOptions>(messaging => messaging.ResponseTimeout = TimeSpan.FromSeconds(30));
        });
    }

    internal static void ConfigureLogging(ILoggingBuilder logging, LogLevel level)
    {
        logging.ClearProviders();
        logging.AddConsoleFormatter<LineFormatter, ConsoleFormatterOptions>();
        logging.AddConsole(console => console.FormatterName = LineFormatter.FormatterName);
        logging.SetMinimumLevel(LogLevel.Warning);
        logging.AddFilter("OrleansCluster", level);
        // The silo's remarks about the garbage collector are answered in docs/decisions/0009.
        logging.AddFilter("Orleans.Runtime.Silo", LogLevel.Error);
        logging.AddFilter("Orleans.Runtime.Watchdog", LogLevel.Error);
        // Retries inside Orleans while a silo is starting; what matters is logged by the callers.
        logging.AddFilter("Polly", LogLevel.Error);
    }
}
