using Orleans.Configuration;
using OrleansCluster.Client.Security;

namespace OrleansCluster.Security;

/// <summary>Puts mutual TLS on the Orleans connections of a silo or a client.</summary>
internal static class ClusterTls
{
    /// <summary>Secures a silo.</summary>
    public static ISiloBuilder UseClusterTls(this ISiloBuilder silo, MemberCertificates members) =>
        silo.Configure<SiloConnectionOptions>(options =>
        {
            options.ConfigureSiloInboundConnection(connection => connection.Use(next => context => members.AcceptAsync(context, next)));
            options.ConfigureGatewayInboundConnection(connection => connection.Use(next => context => members.AcceptAsync(context, next)));
            options.ConfigureSiloOutboundConnection(connection => connection.Use(next => context => members.ConnectAsync(context, next)));
        });

    /// <summary>Secures a client.</summary>
    public static IClientBuilder UseClusterTls(this IClientBuilder client, MemberCertificates members) =>
        client.Configure<ClientConnectionOptions>(options =>
            options.ConfigureConnection(connection => connection.Use(next => context => members.ConnectAsync(context, next))));
}
