using System.Buffers.Binary;
using System.Globalization;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <content>SPDY clients of exec and attach, and port-forward in its three forms.</content>
public sealed partial class KubeletEndpoints
{
    private const string TunnelProtocol = "SPDY/3.1+portforward.k8s.io";
    private const string PortForwardProtocol = "portforward.k8s.io";

    /// <summary>How long a SPDY client may take to open the streams it promised.</summary>
    private static readonly TimeSpan StreamCreation = TimeSpan.FromSeconds(30);

    private static readonly string[] SpdyExecProtocols =
        ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

    private async Task<RemoteClient?> AcceptSpdyAsync(HttpContext context, RemoteStreamSet streams)
    {
        var offered = Upgrade.SpdyProtocols(context);
        var protocol = offered.Length == 0 ? "channel.k8s.io" : Array.Find(SpdyExecProtocols, offered.Contains);
        if (protocol is null)
        {
            context.Response.Headers["X-Accepted-Stream-Protocol-Versions"] = string.Join(',', SpdyExecProtocols);
            await FailAsync(context, new StatusError(403, "Forbidden", $"unable to upgrade: unable to negotiate protocol: client supports [{string.Join(' ', offered)}]"));
            return null;
        }

        if (await Upgrade.AcceptSpdyAsync(context, protocol) is not { } stream)
        {
            await FailAsync(context, StatusError.BadRequest("the connection cannot be upgraded"));
            return null;
        }

        using var limit = new CancellationTokenSource(StreamCreation, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, limit.Token);
        return await SpdyClient.AcceptAsync(stream, streams, asStatus: protocol is "v5.channel.k8s.io" or "v4.channel.k8s.io", linked.Token);
    }

    private async Task PortForwardAsync(HttpContext context)
    {
        var (pod, _, error) = Find(context);
        if (error is null && pod!.SandboxId is null)
        {
            error = StatusError.BadRequest($"pod {Route(context, "pod")} is not running");
        }

        if (error is not null)
        {
            await FailAsync(context, error);
            return;
        }

        var (runtime, sandbox) = (pod!.Runtime, pod.SandboxId!);
        Task<Stream> ConnectAsync(int port, CancellationToken token) => runtime.ConnectAsync(sandbox, port, token);
        try
        {
            if (Upgrade.IsWebSocket(context))
            {
                await ForwardOverWebSocketAsync(context, ConnectAsync);
            }
            else if (Upgrade.IsSpdy(context) && await Upgrade.AcceptSpdyAsync(context, PortForwardProtocol) is { } stream)
            {
                await using (stream)
                {
                    await SpdyPortForward.RunAsync(stream, ConnectAsync, context.RequestAborted);
                }
            }
            else
            {
                await FailAsync(context, StatusError.BadRequest("Upgrade request required"));
            }
        }
        catch (Exception e) when (e is IOException or WebSocketException or OperationCanceledException or InvalidDataException)
        {
            Log.PortForwardEnded(logger, Route(context, "pod"), e.Message);
        }
    }

    private static async Task ForwardOverWebSocketAsync(HttpContext context, Func<int, CancellationToken, Task<Stream>> connect)
    {
        var offered = Upgrade.WebSocketProtocols(context);
        if (offered.Contains(TunnelProtocol, StringComparer.Ordinal))
        {
            using var tunnel = await Upgrade.AcceptWebSocketAsync(context, TunnelProtocol);
            if (tunnel is not null)
            {
                await using var stream = new WebSocketStream(tunnel);
                await SpdyPortForward.RunAsync(stream, connect, context.RequestAborted);
                return;
            }
        }

        var ports = context.Request.Query["ports"].SelectMany(value => (value ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries)).ToList();
        var numbers = new List<int>();
        foreach (var text in ports)
        {
            if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port is < 1 or > 65535)
            {
                await FailAsync(context, StatusError.BadRequest($"invalid port \"{text}\""));
                return;
            }

            numbers.Add(port);
        }

        const int maxPorts = 127; // Two channels each, named by one byte.
        var protocol = Array.Find([.. WebSocketClient.Protocols, PortForwardProtocol], offered.Contains);
        if (numbers.Count is 0 or > maxPorts || (protocol is null && offered.Length > 0))
        {
            await FailAsync(context, StatusError.BadRequest("query parameter \"ports\" is required, or the protocol is unknown"));
            return;
        }

        using var socket = await Upgrade.AcceptWebSocketAsync(context, protocol);
        if (socket is null)
        {
            await FailAsync(context, StatusError.BadRequest("the connection cannot be upgraded"));
            return;
        }

        await new ChannelPortForward(socket, numbers).RunAsync(connect, context.RequestAborted);
    }
}

/// <summary>
/// Port-forward as other clients than kubectl speak it: port i has channel 2i for data and 2i+1 for errors, and one connection into the pod.
/// </summary>
internal sealed class ChannelPortForward(WebSocket socket, IReadOnlyList<int> ports)
{
    private const int BufferBytes = 32 * 1024;

    private readonly SemaphoreSlim _sending = new(1);

    public async Task RunAsync(Func<int, CancellationToken, Task<Stream>> connect, CancellationToken cancellationToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var streams = new Stream?[ports.Count];
        var copies = new List<Task>();
        try
        {
            for (var index = 0; index < ports.Count; index++)
            {
                var announcement = new byte[2];
                BinaryPrimitives.WriteUInt16LittleEndian(announcement, (ushort)ports[index]);
                await SendAsync(2 * index, announcement, over.Token);
                await SendAsync((2 * index) + 1, announcement, over.Token);
                try
                {
                    streams[index] = await connect(ports[index], over.Token);
                    copies.Add(CopyOutAsync(index, streams[index]!, over.Token));
                }
                catch (RuntimeException e)
                {
                    await SendErrorAsync(index, e.Message, over.Token);
                }
            }

            await CopyInAsync(streams, over.Token);
        }
        finally
        {
            await over.CancelAsync();
            foreach (var stream in streams)
            {
                if (stream is not null)
                {
                    await stream.DisposeAsync();
                }
            }

            await Task.WhenAll(copies).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _sending.Dispose();
        }
    }

    private async Task CopyInAsync(Stream?[] streams, CancellationToken cancellationToken)
    {
        var buffer = new byte[BufferBytes];
        var channel = -1;
        while (true)
        {
            var received = await socket.ReceiveAsync(buffer.AsMemory(), cancellationToken);
            if (received.MessageType == WebSocketMessageType.Close)
            {
                return;
            }

            var data = buffer.AsMemory(0, received.Count);
            if (channel < 0 && data.Length > 0)
            {
                channel = data.Span[0];
                data = data[1..];
            }

            var index = channel / 2;
            if (channel >= 0 && channel % 2 == 0 && index < streams.Length && streams[index] is { } stream && data.Length > 0)
            {
                try
                {
                    await stream.WriteAsync(data, cancellationToken);
                }
                catch (IOException e)
                {
                    await SendErrorAsync(index, e.Message, cancellationToken);
                }
            }

            if (received.EndOfMessage)
            {
                channel = -1;
            }
        }
    }

    private async Task CopyOutAsync(int index, Stream stream, CancellationToken cancellationToken)
    {
        var buffer = new byte[BufferBytes];
        try
        {
            int count;
            while ((count = await stream.ReadAsync(buffer, cancellationToken)) > 0)
            {
                await SendAsync(2 * index, buffer.AsMemory(0, count), cancellationToken);
            }

            if (ports.Count == 1)
            {
                // The only connection has ended: nothing more can come.
                await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, statusDescription: null, cancellationToken);
            }
        }
        catch (IOException e)
        {
            await SendErrorAsync(index, e.Message, cancellationToken);
        }
    }

    private Task SendErrorAsync(int index, string message, CancellationToken cancellationToken) => SendAsync(
        (2 * index) + 1,
        System.Text.Encoding.UTF8.GetBytes(FormattableString.Invariant($"error forwarding port {ports[index]} to pod: {message}")),
        cancellationToken);

    private async Task SendAsync(int channel, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var message = new byte[data.Length + 1];
        message[0] = (byte)channel;
        data.CopyTo(message.AsMemory(1));
        await _sending.WaitAsync(cancellationToken);
        try
        {
            await socket.SendAsync(message.AsMemory(), WebSocketMessageType.Binary, endOfMessage: true, cancellationToken);
        }
        finally
        {
            _sending.Release();
        }
    }
}

/// <summary>The bytes of a WebSocket's binary messages as one stream; the borders of messages mean nothing.</summary>
internal sealed class WebSocketStream(WebSocket socket) : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            var received = await socket.ReceiveAsync(buffer, cancellationToken);
            if (received.MessageType == WebSocketMessageType.Close)
            {
                return 0;
            }

            if (received.Count > 0)
            {
                return received.Count;
            }
        }
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        socket.SendAsync(buffer, WebSocketMessageType.Binary, endOfMessage: true, cancellationToken);

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Flush()
    {
        // Every write is sent at once.
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
