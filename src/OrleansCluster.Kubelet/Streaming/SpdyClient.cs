using System.Buffers;
using System.Threading.Channels;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>Which streams a client wants.</summary>
internal readonly record struct RemoteStreamSet(bool Stdin, bool Stdout, bool Stderr, bool Tty);

/// <summary>
/// Exec and attach over SPDY: one stream per direction, told apart by the header <c>streamtype</c>; the outcome goes to the stream <c>error</c>.
/// </summary>
internal sealed class SpdyClient : RemoteClient
{
    private readonly Stream _transport;
    private readonly SpdyConnection _connection;
    private readonly bool _asStatus;
    private readonly CancellationTokenSource _stop = new();

    // One piece at a time: the next is read when it was taken.
    private readonly Channel<RemoteInput> _input = Channel.CreateBounded<RemoteInput>(1);
    private readonly SemaphoreSlim _taken = new(0);
    private readonly Dictionary<string, SpdyStream> _streams = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<Task> _tasks = [];
    private bool _lent;

    private SpdyClient(Stream transport, bool asStatus)
    {
        (_transport, _asStatus) = (transport, asStatus);
        _connection = new SpdyConnection(transport);
    }

    /// <summary>Waits until the client has opened all streams it announced.</summary>
    /// <returns>The client, or null when it left before.</returns>
    public static async Task<SpdyClient?> AcceptAsync(Stream transport, RemoteStreamSet wanted, bool asStatus, CancellationToken cancellationToken)
    {
        var client = new SpdyClient(transport, asStatus);
        var expected = 1 + (wanted.Stdin ? 1 : 0) + (wanted.Stdout ? 1 : 0) + (wanted.Stderr ? 1 : 0) + (wanted.Tty ? 1 : 0);
        var complete = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var running = client._connection.RunAsync(
            stream =>
            {
                if (stream.Headers.TryGetValue("streamtype", out var type) && client._streams.TryAdd(type, stream) && client._streams.Count == expected)
                {
                    complete.TrySetResult();
                }

                return Task.CompletedTask;
            },
            client._stop.Token);
        client._tasks.Add(running);
        try
        {
            var first = await Task.WhenAny(complete.Task, running).WaitAsync(cancellationToken);
            if (first != complete.Task)
            {
                await client.DisposeAsync();
                return null;
            }
        }
        catch (OperationCanceledException)
        {
            await client.DisposeAsync();
            return null;
        }

        client._tasks.Add(client.TellWhenGoneAsync(running));
        if (client._streams.TryGetValue("stdin", out var stdin))
        {
            client._tasks.Add(client.PumpStdinAsync(stdin));
        }

        if (client._streams.TryGetValue("resize", out var resize))
        {
            client._tasks.Add(client.PumpSizesAsync(resize));
        }

        return client;
    }

    public override async ValueTask<RemoteInput> ReceiveAsync(CancellationToken cancellationToken)
    {
        if (_lent)
        {
            _lent = false;
            _taken.Release();
        }

        var input = await _input.Reader.ReadAsync(cancellationToken);
        _lent = input.Kind == RemoteInputKind.Stdin;
        return input;
    }

    public override async ValueTask SendAsync(OutputStream stream, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        if (_streams.TryGetValue(stream == OutputStream.Stderr ? "stderr" : "stdout", out var target))
        {
            await target.WriteAsync(data, cancellationToken);
        }
    }

    public override async ValueTask FinishAsync(RemoteOutcome outcome, CancellationToken cancellationToken)
    {
        if (_streams.TryGetValue("error", out var error))
        {
            await error.WriteAsync(outcome.ToBytes(_asStatus), cancellationToken);
        }

        foreach (var stream in _streams.Values)
        {
            await stream.FinishAsync(cancellationToken);
        }
    }

    public override async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _transport.DisposeAsync();
        await Task.WhenAll(_tasks).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _connection.Dispose();
        _taken.Dispose();
        _stop.Dispose();
    }

    private async Task TellWhenGoneAsync(Task running)
    {
        await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _input.Writer.WriteAsync(new RemoteInput(RemoteInputKind.Gone), _stop.Token);
    }

    private async Task PumpStdinAsync(SpdyStream stdin)
    {
        while (true)
        {
            var read = await stdin.Input.ReadAsync(_stop.Token);
            if (read.Buffer.Length > 0)
            {
                await _input.Writer.WriteAsync(new RemoteInput(RemoteInputKind.Stdin, read.Buffer.ToArray()), _stop.Token);
                await _taken.WaitAsync(_stop.Token);
            }

            stdin.Input.AdvanceTo(read.Buffer.End);
            if (read.IsCompleted)
            {
                await _input.Writer.WriteAsync(new RemoteInput(RemoteInputKind.StdinEnd), _stop.Token);
                return;
            }
        }
    }

    private async Task PumpSizesAsync(SpdyStream resize)
    {
        // Sizes are JSON objects one after another; each ends with its brace.
        while (true)
        {
            var read = await resize.Input.ReadAsync(_stop.Token);
            var rest = read.Buffer;
            while (rest.PositionOf((byte)'}') is { } brace)
            {
                var end = rest.GetPosition(1, brace);
                if (ParseSize(rest.Slice(0, end).ToArray()) is { } size)
                {
                    await _input.Writer.WriteAsync(size, _stop.Token);
                }

                rest = rest.Slice(end);
            }

            resize.Input.AdvanceTo(rest.Start, rest.End);
            if (read.IsCompleted)
            {
                return;
            }
        }
    }
}
