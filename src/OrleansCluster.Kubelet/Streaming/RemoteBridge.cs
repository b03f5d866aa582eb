using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>Carries bytes between a client and a process until one of them ends.</summary>
/// <remarks>
/// Two loops run side by side. The output's end decides: then the exit code is fetched and sent, and the input loop is told to stop. When the client leaves
/// first, the output loop is told to stop and the connection to the process is closed; the process itself goes on, as in Kubernetes.
/// </remarks>
internal static class RemoteBridge
{
    private const int BufferBytes = 32 * 1024;

    /// <summary>How long the client may take to answer the goodbye.</summary>
    private static readonly TimeSpan Goodbye = TimeSpan.FromSeconds(3);

    /// <param name="client">The client.</param>
    /// <param name="open">Starts or attaches to the process.</param>
    /// <param name="reportExitCode">False for attach: its client only learns that the streams ended.</param>
    /// <param name="time">For the time limit of the goodbye.</param>
    /// <param name="cancellationToken">Ends it all.</param>
    public static async Task RunAsync(
        RemoteClient client,
        Func<CancellationToken, Task<IProcessSession>> open,
        bool reportExitCode,
        TimeProvider time,
        CancellationToken cancellationToken)
    {
        IProcessSession session;
        try
        {
            session = await open(cancellationToken);
        }
        catch (RuntimeException e)
        {
            await client.FinishAsync(new RemoteOutcome(0, e.Message), cancellationToken);
            await DrainAsync(client, time, cancellationToken);
            return;
        }

        await using (session)
        {
            using var clientGone = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            using var outputEnded = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var input = PumpInputAsync(client, session, clientGone, outputEnded.Token);
            try
            {
                var outcome = await PumpOutputAsync(client, session, reportExitCode, clientGone.Token);
                await client.FinishAsync(outcome, clientGone.Token);
                outputEnded.CancelAfter(Goodbye);
                await input;
            }
            catch (OperationCanceledException) when (clientGone.IsCancellationRequested)
            {
                // The client left, or the server stops.
            }
            catch (Exception e) when (e is IOException or System.Net.WebSockets.WebSocketException)
            {
                // The client's connection broke.
            }
            finally
            {
                await outputEnded.CancelAsync();
                await input.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private static async Task<RemoteOutcome> PumpOutputAsync(
        RemoteClient client,
        IProcessSession session,
        bool reportExitCode,
        CancellationToken cancellationToken)
    {
        var buffer = new byte[BufferBytes];
        try
        {
            while (await session.ReadOutputAsync(buffer, cancellationToken) is { Count: > 0 } read)
            {
                await client.SendAsync(read.Stream, buffer.AsMemory(0, read.Count), cancellationToken);
            }

            return reportExitCode ? new RemoteOutcome(await session.WaitForExitAsync(cancellationToken)) : default;
        }
        catch (RuntimeException e)
        {
            return new RemoteOutcome(0, e.Message);
        }
    }

    private static async Task PumpInputAsync(
        RemoteClient client,
        IProcessSession session,
        CancellationTokenSource clientGone,
        CancellationToken outputEnded)
    {
        var stdinOpen = true;
        try
        {
            while (true)
            {
                var input = await client.ReceiveAsync(outputEnded);
                switch (input.Kind)
                {
                    case RemoteInputKind.Gone:
                        return;
                    case RemoteInputKind.Resize:
                        await session.ResizeAsync(input.Width, input.Height, outputEnded);
                        break;
                    case RemoteInputKind.StdinEnd when stdinOpen:
                        stdinOpen = false;
                        await session.CloseStdinAsync(outputEnded);
                        break;
                    case RemoteInputKind.Stdin when stdinOpen:
                        stdinOpen = await TryWriteAsync(session, input.Data, outputEnded);
                        break;
                    default:
                        break; // Input after its end.
                }
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or System.Net.WebSockets.WebSocketException)
        {
            // The output ended, or the connection broke; both end the input.
        }
        finally
        {
            await clientGone.CancelAsync();
        }
    }

    private static async Task<bool> TryWriteAsync(IProcessSession session, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        try
        {
            await session.WriteStdinAsync(data, cancellationToken);
            return true;
        }
        catch (RuntimeException)
        {
            return false; // It closed its input or ended; the output tells.
        }
    }

    private static async Task DrainAsync(RemoteClient client, TimeProvider time, CancellationToken cancellationToken)
    {
        using var limit = new CancellationTokenSource(Goodbye, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        try
        {
            while ((await client.ReceiveAsync(linked.Token)).Kind != RemoteInputKind.Gone)
            {
                // Whatever it still sends belongs to nobody.
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or System.Net.WebSockets.WebSocketException)
        {
            // Enough.
        }
    }
}
