using System.Net;
using System.Net.Sockets;
using Orleans.Messaging;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>The gateways of silos by name and port, looked up at every refresh, for processes that hold no password of the store.</summary>
internal sealed partial class NamedGateways(IReadOnlyList<DnsEndPoint> gateways, TimeSpan refresh, ILogger<NamedGateways> logger) : IGatewayListProvider
{
    // What a name stood for last: a name server that is away must not take known gateways away.
    private readonly Dictionary<DnsEndPoint, IPAddress[]> _known = [];

    /// <inheritdoc/>
    public TimeSpan MaxStaleness => refresh;

    /// <inheritdoc/>
    public bool IsUpdatable => true;

    /// <inheritdoc/>
    public Task InitializeGatewayListProvider() => Task.CompletedTask;

    /// <inheritdoc/>
    public async Task<IList<Uri>> GetGateways()
    {
        var found = new List<Uri>();
        foreach (var gateway in gateways)
        {
            try
            {
                _known[gateway] = IPAddress.TryParse(gateway.Host, out var address)
                    ? [address]
                    : await Dns.GetHostAddressesAsync(gateway.Host, AddressFamily.InterNetwork);
            }
            catch (SocketException error)
            {
                Log.NotFound(logger, gateway.Host, error.Message);
            }
            foreach (var address in _known.GetValueOrDefault(gateway) ?? [])
                found.Add(SiloAddress.New(new IPEndPoint(address, gateway.Port), 0).ToGatewayUri());
        }
        return found;
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Debug, "The gateway {Host} has no address now: {Error}")]
        public static partial void NotFound(ILogger logger, string host, string error);
    }
}
