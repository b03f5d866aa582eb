using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using OrleansCluster.ApiServer;
using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>One API server of a cluster.</summary>
internal sealed record ApiServerHostOptions
{
    /// <summary>Folder of `pki/`, `token` and `kubeconfig`; all API servers of a cluster share its contents.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Redis: store and membership.</summary>
    public required ClusterAddress Cluster { get; init; }

    /// <summary>Where the API listens.</summary>
    public IPEndPoint Endpoint { get; init; } = new(IPAddress.Loopback, 6443);

    /// <summary>Further names and addresses in the serving certificate, e.g. that of a load balancer.</summary>
    public IReadOnlyList<string> TlsNames { get; init; } = [];

    /// <summary>What the kubeconfig shall say; null: this server's own address.</summary>
    public Uri? PublicUrl { get; init; }

    /// <summary>Several API servers of one machine listen on the same port, and the kernel deals connections out to them.</summary>
    public bool ReusePort { get; init; }

    /// <summary>Most connections open at once; 0 for no limit.</summary>
    public int MaxConnections { get; init; } = new ApiServerOptions().MaxConnections;

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Serve the Orleans dashboard.</summary>
    public bool Dashboard { get; init; }

    /// <summary>Where health and metrics are answered in plain HTTP; null for nowhere (an API server answers them on its own port too).</summary>
    public IPEndPoint? Health { get; init; }

    /// <summary>Least level of this project's log lines.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>Further registrations, after the built-in ones.</summary>
    public Action<IServiceCollection> ConfigureServices { get; init; } = _ => { };
}

/// <summary>
/// `orleanscluster apiserver`: HTTP only. It reads from its own caches, which follow the store's change log, and writes through the objects' grains as an
/// Orleans client. It keeps nothing that another one needs, so any number may stand behind any load balancer.
/// </summary>
internal static class ApiServerHost
{
    /// <summary>How long a server that was told to stop goes on answering, each time asking the client to come back on another connection.</summary>
    private static readonly TimeSpan ShutdownDelay = TimeSpan.FromSeconds(1);

    private const int SolSocket = 1;
    private const int SoReusePort = 15;

    /// <summary>Builds the host.</summary>
    public static WebApplication Build(ApiServerHostOptions options)
    {
        var builder = HostSetup.CreateWebBuilder();
        var pki = builder.AddBasics(options.DataDirectory, options.LogLevel, options.Time);
        builder.Services.AddSharedStore(options.Cluster);
        builder.Services.FillResourceCachesAtStart();
        builder.AddClusterClient(options.Cluster, pki, "orleanscluster:apiserver", options.Dashboard);
        builder.AddKubernetesApiServer(api =>
        {
            api.DataDirectory = options.DataDirectory;
            api.Endpoints.Add(options.Endpoint);
            api.PublicUrl = options.PublicUrl;
            api.ShutdownDelay = ShutdownDelay;
            api.MaxConnections = options.MaxConnections;
            foreach (var name in options.TlsNames)
                api.ExtraHosts.Add(name);
        });
        if (options.ReusePort)
        {
            builder.Services.Configure<SocketTransportOptions>(transport => transport.CreateBoundListenSocket = endpoint =>
            {
                var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                try
                {
                    socket.SetRawSocketOption(SolSocket, SoReusePort, BitConverter.GetBytes(1));
                    socket.Bind(endpoint);
                    return socket;
                }
                catch
                {
                    socket.Dispose();
                    throw;
                }
            });
        }
        builder.AddOperations(options.Health);
        if (options.Dashboard)
            builder.Services.AddDashboardPages();
        options.ConfigureServices(builder.Services);
        var app = builder.Build();
        app.MapKubernetesApi();
        app.MapDashboard();
        return app;
    }
}
