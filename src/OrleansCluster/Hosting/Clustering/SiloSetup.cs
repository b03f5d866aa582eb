using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using Orleans.Configuration;
using OrleansCluster.ApiServer;
using OrleansCluster.Client.Security;
using OrleansCluster.Commands;
using OrleansCluster.Security;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>What all silos have in common, whether one is alone in a process of its own or has company.</summary>
internal static class SiloSetup
{
    /// <summary>Places of grains a silo remembers; each takes about 200 bytes.</summary>
    private const int DirectoryCacheSize = 16_384;

    /// <summary>The only silo of a cluster in one process: no other joins, so nothing is asked of a membership table outside.</summary>
    public static void UseLoneSilo(this ISiloBuilder silo, int siloPort, int gatewayPort, ClusterPki pki, TimeProvider time)
    {
        silo.UseLocalhostClustering(siloPort, gatewayPort, serviceId: ClusterAddress.DefaultClusterId, clusterId: ClusterAddress.DefaultClusterId);
        silo.UseCommonSettings(pki, time);
        silo.Configure<SiloMessagingOptions>(messaging => messaging.ResponseTimeout = TimeSpan.FromSeconds(30));
    }

    /// <summary>One silo of several, which find each other through Redis.</summary>
    public static void UseMemberSilo(this ISiloBuilder silo, ClusterAddress cluster, IPAddress advertised, int siloPort, int gatewayPort, ClusterPki pki, TimeProvider time)
    {
        if (cluster.Local is { } local)
        {
            silo.Services.AddSingleton<IMembershipTable>(local.Membership);
            SteadyMembershipTable.Decorate(silo.Services, _ => local.Membership.RaiseVersionAsync);
        }
        else
        {
            silo.UseRedisClustering(redis => redis.ConfigurationOptions = cluster.MembershipConnection());
            silo.Services.AddSingleton<MembershipVersion>();
            SteadyMembershipTable.Decorate(silo.Services, provider => provider.GetRequiredService<MembershipVersion>().RaiseAsync);
        }
        silo.Configure<ClusterOptions>(ids => ids.ServiceId = ids.ClusterId = cluster.ClusterId);
        silo.Configure<EndpointOptions>(endpoints =>
        {
            endpoints.AdvertisedIPAddress = advertised;
            endpoints.SiloPort = siloPort;
            endpoints.GatewayPort = gatewayPort;
            // An address that is a forwarder's (NAT, a published port) cannot be listened on.
            var listen = IsOwn(advertised) ? advertised : IPAddress.Any;
            endpoints.SiloListeningEndpoint = new IPEndPoint(listen, siloPort);
            endpoints.GatewayListeningEndpoint = new IPEndPoint(listen, gatewayPort);
        });
        silo.UseCommonSettings(pki, time);
        silo.UseMembershipSettings();
    }

    /// <summary>
    /// How soon silos find out about each other: with Orleans' own settings a killed silo's grains are away for 10 to 17 s, with these for 1 to 4 s. Shorter
    /// probes would take a silo that collects garbage on a busy machine for dead.
    /// </summary>
    public static void UseMembershipSettings(this ISiloBuilder silo)
    {
#pragma warning disable ORLEANSEXP003 // The default directory loses up to half of the survivors' activations when a silo dies (docs/decisions/0013).
        silo.AddDistributedGrainDirectory();
#pragma warning restore ORLEANSEXP003
        // The directory would keep a dead silo's grains away for what is left of 30 s, lest it still acts. It may act: the store's compare-and-set decides.
        silo.Configure<GrainDirectoryOptions>(directory => directory.RangeLeaseDuration = TimeSpan.Zero);
        silo.Configure<ClusterMembershipOptions>(membership =>
        {
            membership.ProbeTimeout = TimeSpan.FromSeconds(1);
            membership.MinProbeTimeout = TimeSpan.FromSeconds(1);
            membership.MaxProbeTimeout = TimeSpan.FromSeconds(4);
            membership.NumMissedProbesLimit = 3;
            membership.NumVotesForDeathDeclaration = 2;
            membership.TableRefreshTimeout = TimeSpan.FromSeconds(5);
            membership.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(2);
            membership.NumMissedTableIAmAliveLimit = 3;
            membership.DefunctSiloExpiration = TimeSpan.FromHours(1);
            membership.DefunctSiloCleanupPeriod = TimeSpan.FromMinutes(10);
        });
        silo.Configure<SiloMessagingOptions>(messaging =>
        {
            messaging.ResponseTimeout = messaging.SystemResponseTimeout = TimeSpan.FromSeconds(5);
            // At a polite end clients are told to use other gateways, and get the answers that are under way, before the connections go. Without it (Orleans'
            // default) they wait for answers that were given, until their time-out.
            messaging.ClientGatewayShutdownNotificationTimeout = TimeSpan.FromSeconds(1.5);
        });
    }

    /// <summary>The address that a name stands for, or that it is.</summary>
    /// <exception cref="StartException">It stands for none.</exception>
    public static IPAddress Resolve(string host)
    {
        if (IPAddress.TryParse(host, out var address))
            return address;
        try
        {
            if (Dns.GetHostAddresses(host, AddressFamily.InterNetwork) is [var first, ..])
                return first;
        }
        catch (SocketException)
        {
            // Told below.
        }
        throw new StartException($"--advertise '{host}' is no name with an IPv4 address: give the address under which the other processes reach this silo.");
    }

    private static void UseCommonSettings(this ISiloBuilder silo, ClusterPki pki, TimeProvider time)
    {
        silo.UseClusterTls(new MemberCertificates(pki.Authority, pki.ClientCertificate("orleanscluster:silo", MemberCertificates.Group), time));
        if (Traces.Wanted)
            silo.AddActivityPropagation();
        silo.Configure<GrainCollectionOptions>(collection => collection.CollectionQuantum = TimeSpan.FromSeconds(30));
        // Where grains were found last. Orleans' default of a million places is 19 MB before the first is taken, and keeps places of grains that
        // are long gone; this is what is written to at one time, and a place that is forgotten is looked up again.
        silo.Configure<GrainDirectoryOptions>(directory => directory.CacheSize = DirectoryCacheSize);
    }

    private static bool IsOwn(IPAddress address) =>
        IPAddress.IsLoopback(address)
        || NetworkInterface.GetAllNetworkInterfaces().Any(i => i.GetIPProperties().UnicastAddresses.Any(a => a.Address.Equals(address)));
}
