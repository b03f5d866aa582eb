using System.Net;
using Orleans.Dashboard;
using OrleansCluster.Client;
using OrleansCluster.Client.Security;
using OrleansCluster.ControlPlane;
using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>One silo of a cluster.</summary>
internal sealed record SiloHostOptions
{
    /// <summary>Folder that holds `pki/`; silos and API servers of one machine share it.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Redis: store and membership.</summary>
    public required ClusterAddress Cluster { get; init; }

    /// <summary>Name or address under which the other processes reach this one.</summary>
    public string Advertise { get; init; } = IPAddress.Loopback.ToString();

    /// <summary>Port for the other silos.</summary>
    public int SiloPort { get; init; } = 11_111;

    /// <summary>Port for clients: API servers, nodes, proxies, programs on the SDK.</summary>
    public int GatewayPort { get; init; } = 30_000;

    /// <summary>Addresses and times of the control plane; the same on every silo.</summary>
    public Action<ControlPlaneOptions> ConfigureControlPlane { get; init; } = _ => { };

    /// <summary>The clock of everything but Orleans' own membership.</summary>
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

/// <summary>`orleanscluster silo`: grains, controllers and a scheduler worker; no HTTP. Any number of them are one control plane.</summary>
internal static class SiloHost
{
    /// <summary>SIGTERM to exit, at most. Below the 10 s after which container engines kill.</summary>
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(9);

    /// <summary>Builds the host.</summary>
    /// <exception cref="Commands.StartException">The advertised name has no address.</exception>
    public static IHost Build(SiloHostOptions options)
    {
        var advertised = SiloSetup.Resolve(options.Advertise);
        var builder = HostSetup.CreateBuilder();
        var pki = builder.AddBasics(options.DataDirectory, options.LogLevel, options.Time);
        // Hand-over takes longer than the end of a cluster in one process, after which nobody is left to take over.
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ShutdownTimeout);
        // For programs of this machine's operator on the client SDK.
        pki.ClientCertificate(ClusterClientOptions.CertificateName, MemberCertificates.Group);
        builder.Services.AddSharedStore(options.Cluster);
        builder.UseOrleans(silo =>
        {
            silo.UseMemberSilo(options.Cluster, advertised, options.SiloPort, options.GatewayPort, pki, options.Time);
            if (options.Dashboard)
                silo.AddDashboard(DashboardPages.Configure);
        });
        builder.Services.AddControlPlane(controlPlane =>
        {
            controlPlane.ClusterCaPem = pki.AuthorityPem;
            options.ConfigureControlPlane(controlPlane);
        });
        builder.Services.AddExpirySweeper();
        builder.AddOperations(options.Health);
        options.ConfigureServices(builder.Services);
        return builder.Build();
    }
}
