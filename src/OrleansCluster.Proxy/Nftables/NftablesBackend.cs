using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Rules;
using OrleansCluster.Proxy.UserSpace;

namespace OrleansCluster.Proxy.Nftables;

/// <summary>
/// Services as kernel rules. Keeps the state it last applied and sends only the difference, one transaction per sync.
/// At start, after any error and when the table was tampered with it does not know the kernel's state and replaces the
/// whole table instead (its own only), in one transaction too, so there is never a moment without rules.
/// </summary>
/// <param name="netfilter">The packet filter.</param>
/// <param name="network">The host whose routes are kept.</param>
/// <param name="loopback">Serves node ports on 127.0.0.1, which kernel rules cannot do safely (see <see cref="NftScript"/>).</param>
/// <param name="options">Table name, service range and time limits.</param>
/// <param name="logger">The log.</param>
internal sealed partial class NftablesBackend(
    INetfilter netfilter, IHostNetwork network, Forwarder loopback, ServiceProxyOptions options, ILogger<NftablesBackend> logger)
    : IProxyBackend
{
    private readonly NftScript _script = new(options.TableName);
    private readonly HostRoutes _routes = new(network, options);
    private readonly Conntrack _conntrack = new(network, logger);
    private ImmutableArray<ServiceRule> _settledUdp = [];
    private Dictionary<ServicePortKey, (ServiceRule Rule, NftFragment Fragment)> _fragments = [];

    // Null = the kernel's state is unknown.
    private NftState? _applied;

    public async Task<bool> SyncAsync(ImmutableArray<ServiceRule> rules, CancellationToken cancellationToken)
    {
        var desired = Compile(rules);
        var changed = await ApplyAsync(desired, cancellationToken);
        ForgetStaleFlows(rules);
        // A node port that cannot be opened on loopback is the forwarder's to report and retry; the kernel rules stand.
        return await loopback.SyncAsync(LoopbackNodePorts(rules), cancellationToken) || changed;
    }

    public async Task<bool> CheckAsync(CancellationToken cancellationToken)
    {
        if (_applied is null)
            return false;
        await _routes.EnsureServiceRouteAsync(cancellationToken);
        if (await netfilter.HasTableAsync(options.TableName, cancellationToken))
            return !loopback.HasFailedListeners;
        Log.TableLost(logger, options.TableName);
        _applied = null;
        return false;
    }

    public Task StopAsync(CancellationToken cancellationToken) => loopback.StopAsync(cancellationToken);

    public async Task RemoveAsync(CancellationToken cancellationToken)
    {
        _applied = null;
        await loopback.StopAsync(cancellationToken);
        await netfilter.ApplyAsync(_script.Remove(), cancellationToken);
        await _routes.RemoveServiceRouteAsync(cancellationToken);
    }

    private async Task<bool> ApplyAsync(NftState desired, CancellationToken cancellationToken)
    {
        var applied = _applied;
        if (applied is null)
            await _routes.EnsureServiceRouteAsync(cancellationToken);
        var transaction = applied is null ? _script.Full(desired) : _script.Incremental(applied, desired);
        if (transaction.Length == 0)
            return false;

        // Unknown from here until the kernel has said yes: an error, a time limit or a cancellation may strike at any point.
        _applied = null;
        await netfilter.ApplyAsync(transaction, cancellationToken);
        _applied = desired;
        if (applied is null)
            Log.FullSync(logger, options.TableName, desired.Chains.Count, desired.Elements.Count);
        return true;
    }

    // After the rules, never before: a flow forgotten earlier could be made anew by the old ones.
    private void ForgetStaleFlows(ImmutableArray<ServiceRule> rules)
    {
        ImmutableArray<ServiceRule> udp = [.. rules.Where(static r => r.Key.Protocol == ServiceProtocol.Udp)];
        if (udp.SequenceEqual(_settledUdp))
            return;
        _conntrack.ForgetStale(udp);
        _settledUdp = udp;
    }

    private NftState Compile(ImmutableArray<ServiceRule> rules)
    {
        var fragments = new Dictionary<ServicePortKey, (ServiceRule Rule, NftFragment Fragment)>(rules.Length);
        foreach (var rule in rules)
        {
            fragments[rule.Key] = _fragments.TryGetValue(rule.Key, out var known) && (ReferenceEquals(known.Rule, rule) || known.Rule.Equals(rule))
                ? known
                : (rule, NftState.Compile(rule));
        }

        _fragments = fragments;
        return NftState.Join(rules.Select(r => fragments[r.Key].Fragment));
    }

    // The listener dials the cluster IP, not an endpoint: so one counter, the kernel's, balances all ways to a service.
    internal static IReadOnlyList<Forward> LoopbackNodePorts(ImmutableArray<ServiceRule> rules) =>
    [
        .. from rule in rules
           where rule.NodePort != 0 && rule.ExternalEndpoints.Length > 0
           let target = rule.ClusterIPs.FirstOrDefault(static ip => ip.AddressFamily == AddressFamily.InterNetwork)
           where target is not null
           select new Forward(
               new IPEndPoint(IPAddress.Loopback, rule.NodePort), rule.Key, External: true, [new IPEndPoint(target, rule.Port)], Affinity: null),
    ];

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Information, "Replaced the whole table {Table}: {Chains} chains, {Elements} elements.")]
        public static partial void FullSync(ILogger logger, string table, int chains, int elements);

        [LoggerMessage(2, LogLevel.Warning, "Somebody removed the table {Table}; it will be built again.")]
        public static partial void TableLost(ILogger logger, string table);
    }
}
