using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.UserSpace;

/// <summary>An open listener.</summary>
internal interface IListener : IAsyncDisposable
{
    /// <summary>Where it really listens.</summary>
    IPEndPoint Local { get; }

    /// <summary>Who chooses endpoints; may be replaced while the listener runs.</summary>
    Balancer Balancer { get; set; }

    /// <summary>The balancer's endpoints have changed.</summary>
    void EndpointsChanged();
}

/// <summary>What all listeners share.</summary>
internal sealed record ForwarderContext(
    IHostNetwork Network, ServiceProxyOptions Options, TimeProvider TimeProvider, ILogger Logger, TaskSet Connections, SemaphoreSlim Slots);

/// <summary>
/// Opens, re-targets and closes listeners until they are those of the plan. Calls come one at a time. A listener that
/// cannot be opened (its port is taken) is reported once and tried again with every sync.
/// </summary>
internal sealed partial class Forwarder : IDisposable
{
    private readonly Dictionary<(IPEndPoint Listen, ServiceProtocol Protocol), IListener> _listeners = [];
    private readonly Dictionary<(ServicePortKey Service, bool External), Balancer> _balancers = [];
    private readonly HashSet<(IPEndPoint Listen, ServiceProtocol Protocol)> _failed = [];
    private readonly ConcurrentDictionary<(IPEndPoint Listen, ServiceProtocol Protocol), IPEndPoint> _mapped = [];
    private readonly ForwarderContext _context;

    public Forwarder(IHostNetwork network, ServiceProxyOptions options, TimeProvider timeProvider, ILogger<Forwarder> logger)
    {
        _context = new ForwarderContext(
            network, options, timeProvider, logger, new TaskSet(), new SemaphoreSlim(options.MaxConnections, options.MaxConnections));
    }

    /// <summary>True when a listener of the last plan could not be opened.</summary>
    public bool HasFailedListeners => _failed.Count > 0;

    /// <summary>Service addresses that are not this host's, and the port of 127.0.0.1 that stands for them. Thread-safe.</summary>
    public IReadOnlyDictionary<(IPEndPoint Listen, ServiceProtocol Protocol), IPEndPoint> Mapped => _mapped;

    /// <summary>Number of open TCP connections.</summary>
    public int ConnectionCount => _context.Connections.Count;

    /// <returns>False when nothing had to change.</returns>
    public async Task<bool> SyncAsync(IReadOnlyList<Forward> plan, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var desired = plan.ToDictionary(static f => (f.Listen, f.Service.Protocol));
        var changed = await CloseAllButAsync(desired.Keys);

        // 1. Balancers first: a new listener finds its endpoints ready.
        var used = plan.GroupBy(static f => (f.Service, f.External)).ToDictionary(static g => g.Key, static g => g.First());
        foreach (var gone in _balancers.Keys.Where(k => !used.ContainsKey(k)).ToArray())
            _balancers.Remove(gone);
        foreach (var (key, forward) in used)
        {
            if (!_balancers.TryGetValue(key, out var balancer))
                _balancers.Add(key, balancer = new Balancer(_context.TimeProvider));
            balancer.Set(forward.Endpoints, forward.Affinity);
        }

        // 2. Listeners.
        foreach (var (key, forward) in desired)
        {
            var balancer = _balancers[(forward.Service, forward.External)];
            if (_listeners.TryGetValue(key, out var listener))
            {
                listener.Balancer = balancer;
                listener.EndpointsChanged();
                continue;
            }

            if (Open(forward, balancer) is { } opened)
            {
                _listeners.Add(key, opened);
                _failed.Remove(key);
                changed = true;
            }
        }

        return changed;
    }

    /// <summary>Closes all listeners and waits for open connections, at most the drain time.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await CloseAllButAsync([]);
        _balancers.Clear();
        await _context.Connections.DrainAsync(_context.Options.DrainTimeout, _context.TimeProvider, cancellationToken);
    }

    public void Dispose()
    {
        _context.Connections.Dispose();
        _context.Slots.Dispose();
    }

    private async Task<bool> CloseAllButAsync(IReadOnlyCollection<(IPEndPoint Listen, ServiceProtocol Protocol)> kept)
    {
        var gone = _listeners.Keys.Where(k => !kept.Contains(k)).ToArray();
        foreach (var key in gone)
        {
            _listeners.Remove(key, out var listener);
            _mapped.TryRemove(key, out _);
            await listener!.DisposeAsync();
        }

        _failed.RemoveWhere(k => !kept.Contains(k));
        return gone.Length > 0;
    }

    private IListener? Open(Forward forward, Balancer balancer)
    {
        var key = (forward.Listen, forward.Service.Protocol);
        try
        {
            return Open(forward.Listen, forward.Service.Protocol, balancer);
        }
        catch (SocketException e) when (forward.MayMap && e.SocketErrorCode is SocketError.AddressNotAvailable or SocketError.AccessDenied)
        {
            // Not root, or the address lies outside the service range: any free port of 127.0.0.1 stands for it.
            var loopback = forward.Listen.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Loopback : IPAddress.IPv6Loopback;
            var listener = Open(new IPEndPoint(loopback, 0), forward.Service.Protocol, balancer);
            _mapped[key] = listener.Local;
            Log.Mapped(_context.Logger, forward.Listen, forward.Service, listener.Local);
            return listener;
        }
        catch (SocketException e)
        {
            if (_failed.Add(key))
                Log.CannotListen(_context.Logger, forward.Listen, forward.Service, e.SocketErrorCode);
            return null;
        }
    }

    private IListener Open(IPEndPoint address, ServiceProtocol protocol, Balancer balancer)
    {
        var isTcp = protocol == ServiceProtocol.Tcp;
        var socket = isTcp
            ? _context.Network.CreateSocket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
            : _context.Network.CreateSocket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            socket.Bind(address);
            return isTcp ? new TcpForwarding(socket, balancer, _context) : new UdpForwarding(socket, balancer, _context);
        }
        catch (SocketException)
        {
            socket.Dispose();
            throw;
        }
    }

    private static partial class Log
    {
        [LoggerMessage(10, LogLevel.Information, "{Listen} of {Service} is not an address of this host; it is served on {Mapped}.")]
        public static partial void Mapped(ILogger logger, IPEndPoint listen, ServicePortKey service, IPEndPoint mapped);

        [LoggerMessage(11, LogLevel.Warning, "Cannot listen on {Listen} for {Service}: {Error}. Will be tried again.")]
        public static partial void CannotListen(ILogger logger, IPEndPoint listen, ServicePortKey service, SocketError error);
    }
}
