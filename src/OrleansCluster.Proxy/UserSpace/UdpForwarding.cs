using System.Buffers;
using System.Net;
using System.Net.Sockets;

namespace OrleansCluster.Proxy.UserSpace;

/// <summary>
/// A UDP listener. Each client (address and port) gets an endpoint by round robin with its first datagram and keeps it
/// until it is idle, the endpoint leaves the service, or the endpoint's host says that nobody listens there.
/// </summary>
internal sealed class UdpForwarding : IListener
{
    private const int MaxDatagram = 65_535;

    private readonly Socket _socket;
    private readonly ForwarderContext _context;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new();
    private readonly Dictionary<IPEndPoint, Session> _sessions = [];
    private readonly List<Task> _ending = []; // Of evicted sessions; guarded by _lock.
    private readonly Task _receiving;
    private readonly Task _sweeping;

    public UdpForwarding(Socket boundSocket, Balancer balancer, ForwarderContext context)
    {
        _socket = boundSocket;
        _context = context;
        Balancer = balancer;
        Local = (IPEndPoint)_socket.LocalEndPoint!;
        _receiving = Task.Run(ReceiveAsync);
        _sweeping = Task.Run(SweepAsync);
    }

    public IPEndPoint Local { get; }

    public Balancer Balancer { get; set; }

    public void EndpointsChanged() => End(session => !Balancer.Has(session.EndPoint));

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _socket.Dispose();
        await Task.WhenAll(_receiving, _sweeping);
        Task[] answering;
        lock (_lock)
            answering = [.. _ending, .. _sessions.Values.Select(static s => s.Answering)];
        End(static _ => true);
        await Task.WhenAll(answering);
        _stop.Dispose();
    }

    private async Task ReceiveAsync()
    {
        var buffer = GC.AllocateUninitializedArray<byte>(MaxDatagram, pinned: true);
        var any = new IPEndPoint(_socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var received = await _socket.ReceiveFromAsync(buffer.AsMemory(), SocketFlags.None, any, _stop.Token);
                var session = SessionOf((IPEndPoint)received.RemoteEndPoint);
                if (session is not null)
                    await session.Socket.SendAsync(buffer.AsMemory(0, received.ReceivedBytes), SocketFlags.None, _stop.Token);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException && _stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // A refused send or a session that just ended: the datagram is lost, as datagrams may be.
            }
        }
    }

    private Session? SessionOf(IPEndPoint client)
    {
        var now = _context.TimeProvider.GetTimestamp();
        lock (_lock)
        {
            if (_sessions.TryGetValue(client, out var known))
            {
                known.LastUsed = now;
                return known;
            }

            if (Balancer.Next(client.Address) is not { } endpoint)
                return null;
            if (_sessions.Count >= _context.Options.MaxUdpClients)
                Evict();
            var socket = _context.Network.CreateSocket(endpoint.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            try
            {
                socket.Connect(endpoint); // UDP: sets the peer, sends nothing, does not block.
            }
            catch (SocketException)
            {
                socket.Dispose();
                return null;
            }

            var session = new Session(client, endpoint, socket) { LastUsed = now };
            _sessions.Add(client, session);
            session.Answering = Task.Run(() => AnswerAsync(session));
            return session;
        }
    }

    // Caller holds the lock. Most clients ask once and are done (DNS), so the one silent longest is the one to give up.
    private void Evict()
    {
        var oldest = _sessions.Values.MinBy(static s => s.LastUsed)!;
        _sessions.Remove(oldest.Client);
        oldest.Socket.Dispose();
        _ending.Add(oldest.Answering);
        _ending.RemoveAll(static t => t.IsCompleted);
    }

    private async Task AnswerAsync(Session session)
    {
        try
        {
            while (true)
            {
                // Looking without taking waits for a datagram, so that only clients being answered hold a buffer, which
                // must have room for the largest there is.
                await session.Socket.ReceiveAsync(Memory<byte>.Empty, SocketFlags.Peek, _stop.Token);
                var buffer = ArrayPool<byte>.Shared.Rent(MaxDatagram);
                try
                {
                    var count = await session.Socket.ReceiveAsync(buffer.AsMemory(), _stop.Token);
                    session.LastUsed = _context.TimeProvider.GetTimestamp();
                    await _socket.SendToAsync(buffer.AsMemory(0, count), session.Client, _stop.Token);
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(buffer);
                }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // Refused, idle, endpoint gone or stopping: the client's next datagram begins a new session.
        }
        finally
        {
            lock (_lock)
            {
                if (_sessions.GetValueOrDefault(session.Client) == session)
                    _sessions.Remove(session.Client);
            }

            session.Socket.Dispose();
        }
    }

    private async Task SweepAsync()
    {
        var idle = _context.Options.UdpIdleTimeout;
        using var timer = new PeriodicTimer(idle / 2, _context.TimeProvider);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
                End(session => _context.TimeProvider.GetElapsedTime(session.LastUsed) >= idle);
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    // Disposing the socket ends the session's receive, which then removes it.
    private void End(Func<Session, bool> condition)
    {
        lock (_lock)
        {
            foreach (var session in _sessions.Values.Where(condition))
                session.Socket.Dispose();
        }
    }

    private sealed class Session(IPEndPoint client, IPEndPoint endPoint, Socket socket)
    {
        private long _lastUsed;

        public IPEndPoint Client { get; } = client;
        public IPEndPoint EndPoint { get; } = endPoint;
        public Socket Socket { get; } = socket;
        public Task Answering { get; set; } = Task.CompletedTask;

        public long LastUsed
        {
            get => Volatile.Read(ref _lastUsed);
            set => Volatile.Write(ref _lastUsed, value);
        }
    }
}
