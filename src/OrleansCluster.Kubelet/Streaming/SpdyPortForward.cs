using System.Buffers;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>
/// Port-forward as kubectl speaks it: for each local connection an <c>error</c> and a <c>data</c> stream of the same <c>requestid</c> and <c>port</c>.
/// </summary>
internal static class SpdyPortForward
{
    private const int BufferBytes = 32 * 1024;

    public static async Task RunAsync(Stream transport, Func<int, CancellationToken, Task<Stream>> connect, CancellationToken cancellationToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var connection = new SpdyConnection(transport);
        var halves = new Dictionary<string, SpdyStream>(StringComparer.Ordinal);
        var forwards = new HashSet<Task>();
        try
        {
            await connection.RunAsync(
                stream =>
                {
                    var request = stream.Headers.GetValueOrDefault("requestid") ?? stream.Headers.GetValueOrDefault("port") ?? "";
                    if (!halves.Remove(request, out var other))
                    {
                        halves.Add(request, stream);
                        return Task.CompletedTask;
                    }

                    var isError = stream.Headers.GetValueOrDefault("streamtype") == "error";
                    forwards.RemoveWhere(forward => forward.IsCompleted);
                    forwards.Add(ForwardAsync(isError ? other : stream, isError ? stream : other, connect, over.Token));
                    return Task.CompletedTask;
                },
                cancellationToken);
        }
        finally
        {
            await over.CancelAsync();
            await Task.WhenAll(forwards).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task ForwardAsync(
        SpdyStream data,
        SpdyStream error,
        Func<int, CancellationToken, Task<Stream>> connect,
        CancellationToken cancellationToken)
    {
        var portText = data.Headers.GetValueOrDefault("port") ?? "";
        try
        {
            if (!int.TryParse(portText, NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port is < 1 or > 65535)
            {
                throw new RuntimeException(RuntimeFailure.Other, $"invalid port \"{portText}\"");
            }

            await using var pod = await connect(port, cancellationToken);
            using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var into = CopyInAsync(data, pod, over.Token);
            try
            {
                await CopyOutAsync(pod, data, over.Token);
            }
            finally
            {
                // What the server closed cannot take more.
                await data.FinishAsync(cancellationToken);
                await over.CancelAsync();
                await into.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
        catch (Exception e) when (e is RuntimeException or IOException or SocketException)
        {
            var text = $"an error occurred forwarding {portText} -> {portText}: {e.Message}";
            await error.WriteAsync(Encoding.UTF8.GetBytes(text), cancellationToken);
        }

        await error.FinishAsync(cancellationToken);
        await data.FinishAsync(cancellationToken);
    }

    private static async Task CopyInAsync(SpdyStream data, Stream pod, CancellationToken cancellationToken)
    {
        while (true)
        {
            var read = await data.Input.ReadAsync(cancellationToken);
            foreach (var segment in read.Buffer)
            {
                await pod.WriteAsync(segment, cancellationToken);
            }

            data.Input.AdvanceTo(read.Buffer.End);
            if (read.IsCompleted)
            {
                // The client's end of sending is the server's end of receiving; its answer may still come.
                if (pod is NetworkStream network)
                {
                    network.Socket.Shutdown(SocketShutdown.Send);
                }

                return;
            }
        }
    }

    private static async Task CopyOutAsync(Stream pod, SpdyStream data, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            int count;
            while ((count = await pod.ReadAsync(buffer, cancellationToken)) > 0)
            {
                await data.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
