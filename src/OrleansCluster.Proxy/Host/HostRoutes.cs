using System.Net;

namespace OrleansCluster.Proxy.Host;

/// <summary>
/// Routes that service addresses need. All are marked with one protocol number, so that only the proxy's own are ever
/// removed.
/// </summary>
internal sealed class HostRoutes(IHostNetwork network, ServiceProxyOptions options)
{
    // An unassigned routing protocol number (rt_protos leaves 4..253 above the well-known ones free).
    private const string Owner = "96";

    // The gateway that pods know, given to the loopback interface where a host has no address at all.
    private const string LonelyAddress = "169.254.1.1/32";

    // The ip program refuses a network with host bits; parsing clears them.
    private readonly string _range = IPNetwork.Parse(options.ServiceCidr).ToString();

    /// <summary>
    /// Kernel rules translate a packet only once it has a route. A host without a default route has none for a cluster IP,
    /// so one is added over any interface that is up; which one does not matter, as the destination is replaced before the
    /// packet leaves. On a host with a default route nothing is added.
    /// </summary>
    public async Task EnsureServiceRouteAsync(CancellationToken cancellationToken)
    {
        // A packet to a pod passes the host like a router.
        await EnableForwardingAsync(cancellationToken);
        var defaultRoute = await RunAsync(["-4", "route", "show", "default"], cancellationToken);
        if (!string.IsNullOrWhiteSpace(defaultRoute.Output))
            return;
        var addresses = await RunAsync(["-4", "-o", "address", "show", "up", "scope", "global"], cancellationToken);
        // "2: eth0    inet 172.30.0.2/24 …"
        var device = addresses.Output.Split('\n')[0].Split(' ', StringSplitOptions.RemoveEmptyEntries).ElementAtOrDefault(1);
        if (device is null)
        {
            // A host off every network: masqueraded packets need an address to carry, and pods reach this one already.
            device = "lo";
            await RunAsync(["-4", "address", "replace", LonelyAddress, "dev", device, "scope", "global"], cancellationToken);
        }

        var result = await RunAsync(["-4", "route", "replace", _range, "dev", device, "proto", Owner], cancellationToken);
        if (!result.Succeeded)
            throw new ProxyBackendException($"No route for {options.ServiceCidr} over {device}: {result.Error.Trim()}");
    }

    /// <summary>Makes all cluster IPs addresses of this host, so that listeners can bind to them.</summary>
    /// <returns>Why not; null if it worked.</returns>
    public async Task<string?> TryMakeServiceRangeLocalAsync(CancellationToken cancellationToken)
    {
        var result = await RunAsync(
            ["-4", "route", "replace", "local", _range, "dev", "lo", "proto", Owner], cancellationToken);
        return result.Succeeded ? null : result.Error.Trim();
    }

    public async Task RemoveServiceRouteAsync(CancellationToken cancellationToken)
    {
        // Fails where it was never added, which is nearly everywhere.
        await RunAsync(["-4", "address", "delete", LonelyAddress, "dev", "lo"], cancellationToken);
        foreach (var table in (string[])["main", "local"])
        {
            var result = await RunAsync(["-4", "route", "flush", "table", table, "proto", Owner], cancellationToken);
            if (!result.Succeeded)
                throw new ProxyBackendException($"Could not remove routes of table {table}: {result.Error.Trim()}");
        }
    }

    private async Task EnableForwardingAsync(CancellationToken cancellationToken)
    {
        // Written only when it is off: in a container the file is often read-only, and forwarding already on.
        const string Script = "f=/proc/sys/net/ipv4/ip_forward; read -r on < $f; [ \"$on\" = 1 ] || echo 1 > $f";
        var result = await network.RunAsync("sh", ["-c", Script], "", options.CommandTimeout, cancellationToken);
        if (!result.Succeeded)
            throw new ProxyBackendException($"Could not switch on IP forwarding: {result.Error.Trim()}");
    }

    private Task<CommandResult> RunAsync(string[] arguments, CancellationToken cancellationToken) =>
        network.RunAsync("ip", arguments, "", options.CommandTimeout, cancellationToken);
}
