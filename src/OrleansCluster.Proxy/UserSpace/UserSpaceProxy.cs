using System.Collections.Immutable;
using System.Net;
using Microsoft.Extensions.Logging;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.UserSpace;

/// <summary>
/// Services as listeners of this process, for hosts without nftables or without the right to use them. With root the
/// whole service range is made local by one route, so that cluster IPs can be bound and unused ones refuse at once;
/// without it each cluster IP is served on a port of 127.0.0.1 (see <see cref="MappedAddresses"/>), and node ports work
/// all the same. Endpoints see the host as the client, and SCTP is not served.
/// </summary>
internal sealed partial class UserSpaceProxy(
    IHostNetwork network, Forwarder forwarder, ServiceProxyOptions options, ILogger<UserSpaceProxy> logger) : IProxyBackend
{
    private readonly HostRoutes _routes = new(network, options);
    private bool _isPrepared;
    private bool _isRangeLocal;
    private IReadOnlyList<IPAddress> _localAddresses = [];

    /// <summary>Where cluster IPs that cannot be bound on this host are served instead.</summary>
    public IReadOnlyDictionary<(IPEndPoint Listen, ServiceProtocol Protocol), IPEndPoint> MappedAddresses => forwarder.Mapped;

    public async Task<bool> SyncAsync(ImmutableArray<ServiceRule> rules, CancellationToken cancellationToken)
    {
        if (!_isPrepared)
        {
            var reason = await _routes.TryMakeServiceRangeLocalAsync(cancellationToken);
            _isRangeLocal = reason is null;
            if (reason is not null)
                Log.RangeNotLocal(logger, options.ServiceCidr, reason);
            _isPrepared = true;
        }

        _localAddresses = network.LocalAddresses();
        return await forwarder.SyncAsync(ForwardPlan.For(rules, _localAddresses), cancellationToken);
    }

    public Task<bool> CheckAsync(CancellationToken cancellationToken) =>
        Task.FromResult(_isPrepared && !forwarder.HasFailedListeners && _localAddresses.SequenceEqual(network.LocalAddresses()));

    public Task StopAsync(CancellationToken cancellationToken) => forwarder.StopAsync(cancellationToken);

    public async Task RemoveAsync(CancellationToken cancellationToken)
    {
        await forwarder.StopAsync(cancellationToken);
        if (_isRangeLocal)
            await _routes.RemoveServiceRouteAsync(cancellationToken);
        _isPrepared = false;
    }

    private static partial class Log
    {
        [LoggerMessage(30, LogLevel.Warning, "Cluster IPs ({Range}) cannot be bound on this host ({Reason}); they are served on ports of 127.0.0.1.")]
        public static partial void RangeNotLocal(ILogger logger, string range, string reason);
    }
}
