using System.Net.WebSockets;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>
/// Exec and attach over a WebSocket: each binary message begins with a channel byte (0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize); from v5 on the message
/// <c>ff 00</c> ends standard input.
/// </summary>
internal sealed class WebSocketClient(WebSocket socket, string protocol) : RemoteClient
{
    private const byte StdinChannel = 0, StdoutChannel = 1, StderrChannel = 2, ErrorChannel = 3, ResizeChannel = 4, CloseChannel = 255;
    private const int BufferBytes = 32 * 1024;

    /// <summary>Protocols this server speaks, the best first.</summary>
    public static readonly IReadOnlyList<string> Protocols =
        ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

    // A WebSocket takes one send at a time; output and outcome come from one loop, but a goodbye may cross them.
    private readonly SemaphoreSlim _sending = new(1);
    private readonly byte[] _receive = new byte[BufferBytes];
    private readonly byte[] _send = new byte[BufferBytes + 1];
    private readonly List<byte> _control = [];
    private int _channel = -1; // Of the message in progress; -1 between messages.

    public override async ValueTask<RemoteInput> ReceiveAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var received = await socket.ReceiveAsync(_receive.AsMemory(), cancellationToken);
            if (received.MessageType == WebSocketMessageType.Close)
            {
                return new RemoteInput(RemoteInputKind.Gone);
            }

            var data = _receive.AsMemory(0, received.Count);
            if (_channel < 0)
            {
                if (data.Length == 0)
                {
                    continue;
                }

                _channel = data.Span[0];
                data = data[1..];
                _control.Clear();
            }

            var channel = _channel;
            if (received.EndOfMessage)
            {
                _channel = -1;
            }

            if (Interpret(channel, data, received.EndOfMessage) is { } input)
            {
                return input;
            }
        }
    }

    public override async ValueTask SendAsync(OutputStream stream, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var channel = stream == OutputStream.Stderr ? StderrChannel : StdoutChannel;
        while (data.Length > 0)
        {
            var part = data[..Math.Min(data.Length, BufferBytes)];
            await SendMessageAsync(channel, part, cancellationToken);
            data = data[part.Length..];
        }
    }

    public override async ValueTask FinishAsync(RemoteOutcome outcome, CancellationToken cancellationToken)
    {
        var asStatus = protocol is "v5.channel.k8s.io" or "v4.channel.k8s.io";
        if (outcome.ToBytes(asStatus) is { Length: > 0 } bytes)
        {
            await SendMessageAsync(ErrorChannel, bytes, cancellationToken);
        }

        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, statusDescription: null, cancellationToken);
    }

    public override ValueTask DisposeAsync()
    {
        socket.Dispose();
        _sending.Dispose();
        return ValueTask.CompletedTask;
    }

    private RemoteInput? Interpret(int channel, ReadOnlyMemory<byte> data, bool complete)
    {
        switch (channel)
        {
            case StdinChannel:
                return data.Length > 0 ? new RemoteInput(RemoteInputKind.Stdin, data) : null;
            case ResizeChannel or CloseChannel:
                const int maxControlBytes = 4096;
                if (_control.Count + data.Length <= maxControlBytes)
                {
                    _control.AddRange(data.Span);
                }

                if (!complete)
                {
                    return null;
                }

                return channel == ResizeChannel
                    ? ParseSize(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_control))
                    : _control is [StdinChannel] ? new RemoteInput(RemoteInputKind.StdinEnd) : null;
            default:
                return null; // Clients do not write on the other channels.
        }
    }

    private async Task SendMessageAsync(byte channel, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        await _sending.WaitAsync(cancellationToken);
        try
        {
            var message = data.Length < _send.Length ? _send.AsMemory(0, data.Length + 1) : new byte[data.Length + 1];
            message.Span[0] = channel;
            data.CopyTo(message[1..]);
            await socket.SendAsync(message, WebSocketMessageType.Binary, endOfMessage: true, cancellationToken);
        }
        finally
        {
            _sending.Release();
        }
    }
}
