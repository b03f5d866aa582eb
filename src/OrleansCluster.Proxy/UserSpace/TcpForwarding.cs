using System.Buffers;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace OrleansCluster.Proxy.UserSpace;

/// <summary>
/// A TCP listener and the way of a connection through it.
/// <code>
/// client ──(1) accept──► listener ──(2) choose, (3) connect──► endpoint
///        ◄──────────(4) copy both ways, half-closes included──────────►
/// </code>
/// Back-pressure is the kernel's: a side is read again only after the other has taken what was read.
/// </summary>
internal sealed partial class TcpForwarding : IListener
{
    // Enough that a fast stream needs few calls; rented only while bytes flow, so an idle connection holds no buffer.
    private const int BufferSize = 64 * 1024;

    // A full backlog makes the kernel drop new SYNs, which clients repeat after 1 s: room for a burst.
    private const int Backlog = 1024;

    private readonly Socket _socket;
    private readonly ForwarderContext _context;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _accepting;

    public TcpForwarding(Socket boundSocket, Balancer balancer, ForwarderContext context)
    {
        _socket = boundSocket;
        _context = context;
        Balancer = balancer;
        _socket.Listen(Backlog);
        Local = (IPEndPoint)_socket.LocalEndPoint!;
        _accepting = Task.Run(AcceptAsync);
    }

    public IPEndPoint Local { get; }

    public Balancer Balancer { get; set; }

    // Open connections to an endpoint that left the service may end in peace.
    public void EndpointsChanged()
    {
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _socket.Dispose();
        await _accepting;
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            var hasSlot = false;
            try
            {
                // At the limit nobody is accepted; clients wait in the backlog until a connection ends.
                await _context.Slots.WaitAsync(_stop.Token);
                hasSlot = true;
                var client = await _socket.AcceptAsync(_stop.Token);      // :: Step 1
                hasSlot = false;
                _context.Connections.Start(abort => ServeAsync(client, abort));
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException e) when (!_stop.IsCancellationRequested)
            {
                // Out of file descriptors or memory: pause, so that a lasting shortage does not spin.
                Log.AcceptFailed(_context.Logger, Local, e.SocketErrorCode);
                await Task.Delay(TimeSpan.FromMilliseconds(100), _context.TimeProvider, _stop.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (SocketException)
            {
                return;
            }
            finally
            {
                if (hasSlot)
                    _context.Slots.Release();
            }
        }
    }

    private async Task ServeAsync(Socket client, CancellationToken abort)
    {
        try
        {
            using (client)
            {
                var endpoint = await ConnectAsync(client, abort);
                if (endpoint is null)
                {
                    client.Close(0); // Reset rather than an orderly end: nothing was served.
                    return;
                }

                using (endpoint)
                    await CopyBothWaysAsync(client, endpoint, abort);       // :: Step 4
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // Either side went away; disposing both tells the other.
        }
        finally
        {
            _context.Slots.Release();
        }
    }

    /// <summary>Tries endpoints until one accepts, each at most once.</summary>
    private async Task<Socket?> ConnectAsync(Socket client, CancellationToken abort)
    {
        var address = ((IPEndPoint)client.RemoteEndPoint!).Address;
        HashSet<IPEndPoint>? failed = null;
        while (Balancer.Next(address, failed) is { } next)                  // :: Step 2
        {
            var socket = _context.Network.CreateSocket(next.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            using var limit = new CancellationTokenSource(_context.Options.ConnectTimeout, _context.TimeProvider);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(abort, limit.Token);
            try
            {
                await socket.ConnectAsync(next, either.Token);              // :: Step 3
                socket.NoDelay = true;
                client.NoDelay = true;
                return socket;
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException)
            {
                socket.Dispose();
                abort.ThrowIfCancellationRequested();
                (failed ??= []).Add(next);
                Log.EndpointFailed(_context.Logger, next, Local, (e as SocketException)?.SocketErrorCode ?? SocketError.TimedOut);
            }
        }

        return null;
    }

    private static async Task CopyBothWaysAsync(Socket client, Socket endpoint, CancellationToken abort)
    {
        using var broken = CancellationTokenSource.CreateLinkedTokenSource(abort);
        var there = CopyAsync(client, endpoint, broken);
        var back = CopyAsync(endpoint, client, broken);
        await Task.WhenAll(there, back);
    }

    private static async Task CopyAsync(Socket from, Socket to, CancellationTokenSource broken)
    {
        try
        {
            while (true)
            {
                // A zero-byte read returns when there is something to read, so idle streams hold no buffer.
                await from.ReceiveAsync(Memory<byte>.Empty, broken.Token);
                var buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
                try
                {
                    var count = await from.ReceiveAsync(buffer.AsMemory(), broken.Token);
                    if (count == 0)
                        break;
                    for (var sent = 0; sent < count;)
                        sent += await to.SendAsync(buffer.AsMemory(sent, count - sent), broken.Token);
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(buffer);
                }
            }

            // Half-close: the other direction may go on, as in `echo request | nc`.
            to.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // A reset on one side becomes a reset on the other: a cut answer must not look whole.
            await broken.CancelAsync();
            from.Close(0);
            to.Close(0);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(20, LogLevel.Warning, "Accepting on {Listen} failed: {Error}. Trying again.")]
        public static partial void AcceptFailed(ILogger logger, IPEndPoint listen, SocketError error);

        [LoggerMessage(21, LogLevel.Debug, "Endpoint {EndPoint} did not accept a connection from {Listen}: {Error}. Trying the next.")]
        public static partial void EndpointFailed(ILogger logger, IPEndPoint endPoint, IPEndPoint listen, SocketError error);
    }
}
