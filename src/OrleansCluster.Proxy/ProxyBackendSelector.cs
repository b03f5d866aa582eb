using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Nftables;
using OrleansCluster.Proxy.UserSpace;

namespace OrleansCluster.Proxy;

/// <summary>Chooses how rules are brought into force on this machine.</summary>
public interface IProxyBackendSelector
{
    /// <returns>The way chosen, never Auto, and its backend.</returns>
    /// <exception cref="ProxyBackendException">The configured way does not work here.</exception>
    Task<(ServiceProxyMode Mode, IProxyBackend Backend)> SelectAsync(CancellationToken cancellationToken);
}

/// <summary>Kernel rules if a dry run of them works, else user space, unless the options insist.</summary>
internal sealed partial class ProxyBackendSelector(
    IHostNetwork network, IOptions<ServiceProxyOptions> options, TimeProvider timeProvider, ILoggerFactory loggers) : IProxyBackendSelector, IDisposable
{
    private readonly ServiceProxyOptions _options = options.Value;
    private readonly Forwarder _forwarder = new(network, options.Value, timeProvider, loggers.CreateLogger<Forwarder>());

    public async Task<(ServiceProxyMode Mode, IProxyBackend Backend)> SelectAsync(CancellationToken cancellationToken)
    {
        var logger = loggers.CreateLogger<ProxyBackendSelector>();
        if (_options.Mode != ServiceProxyMode.UserSpace)
        {
            var netfilter = new NftProgram(network, _options.CommandTimeout);
            var reason = await netfilter.WhyUnavailableAsync(cancellationToken);
            if (reason is null)
            {
                Log.Chosen(logger, ServiceProxyMode.Nftables);
                return (ServiceProxyMode.Nftables,
                    new NftablesBackend(netfilter, network, _forwarder, _options, loggers.CreateLogger<NftablesBackend>()));
            }

            if (_options.Mode == ServiceProxyMode.Nftables)
            {
                throw new ProxyBackendException(
                    $"Mode Nftables needs Linux, the nft program and root (CAP_NET_ADMIN): {reason} Use mode UserSpace or Auto to do without.");
            }

            Log.FallingBack(logger, reason);
        }

        Log.Chosen(logger, ServiceProxyMode.UserSpace);
        return (ServiceProxyMode.UserSpace, new UserSpaceProxy(network, _forwarder, _options, loggers.CreateLogger<UserSpaceProxy>()));
    }

    public void Dispose() => _forwarder.Dispose();

    private static partial class Log
    {
        [LoggerMessage(50, LogLevel.Information, "Services are made by {Mode}.")]
        public static partial void Chosen(ILogger logger, ServiceProxyMode mode);

        [LoggerMessage(51, LogLevel.Warning, "Kernel rules are not possible here, so services go through this process: {Reason}")]
        public static partial void FallingBack(ILogger logger, string reason);
    }
}
