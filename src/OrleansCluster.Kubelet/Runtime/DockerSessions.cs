using System.Buffers;
using System.Text;
using Docker.DotNet;
using Docker.DotNet.Models;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>What commands and attachments have in common: one multiplexed connection.</summary>
internal abstract class DockerSession(DockerEngine engine, MultiplexedStream stream) : IProcessSession
{
    protected DockerEngine Engine { get; } = engine;

    public async ValueTask WriteStdinAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        // The client library takes arrays only.
        var copy = ArrayPool<byte>.Shared.Rent(data.Length);
        try
        {
            data.CopyTo(copy);
            await stream.WriteAsync(copy, 0, data.Length, cancellationToken);
        }
        catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.NotRunning) is not null)
        {
            throw DockerEngine.Translate(e, RuntimeFailure.NotRunning)!;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(copy);
        }
    }

    public ValueTask CloseStdinAsync(CancellationToken cancellationToken)
    {
        try
        {
            stream.CloseWrite();
        }
        catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.NotRunning) is not null)
        {
            // It ended before.
        }

        return ValueTask.CompletedTask;
    }

    public virtual async ValueTask<OutputRead> ReadOutputAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var array = ArrayPool<byte>.Shared.Rent(buffer.Length);
        try
        {
            var read = await stream.ReadOutputAsync(array, 0, buffer.Length, cancellationToken);
            array.AsSpan(0, read.Count).CopyTo(buffer.Span);
            return new OutputRead(
                read.Target == MultiplexedStream.TargetStream.StandardError ? OutputStream.Stderr : OutputStream.Stdout,
                read.Count);
        }
        catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.NotRunning) is not null)
        {
            throw DockerEngine.Translate(e, RuntimeFailure.NotRunning)!;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(array);
        }
    }

    public abstract Task ResizeAsync(int width, int height, CancellationToken cancellationToken);

    public abstract Task<int> WaitForExitAsync(CancellationToken cancellationToken);

    public ValueTask DisposeAsync()
    {
        stream.Dispose();
        return ValueTask.CompletedTask;
    }
}

/// <summary>A command in a container.</summary>
/// <remarks>
/// Docker does not fail when the program is missing: it writes its own words to the output and reports 126 or 127. Output that begins with those
/// words is held back until the exit code tells whether they are the program's own.
/// </remarks>
internal sealed class DockerExecSession(DockerEngine engine, string execId, MultiplexedStream stream, bool tty, TimeProvider time)
    : DockerSession(engine, stream)
{
    /// <summary>How the engine's words begin when it cannot start a command.</summary>
    private static ReadOnlySpan<byte> Refusal => "OCI runtime exec failed"u8;

    /// <summary>The exit code may lag behind the end of the output; doubles from here.</summary>
    private static readonly TimeSpan FirstExitPoll = TimeSpan.FromMilliseconds(2);

    /// <summary>Polls of the exit code: 2 ms doubling to 0.5 s, about 10 s in all.</summary>
    private const int MaxExitPolls = 28;

    private bool _started;
    private int? _exitCode;
    private string? _refusal;

    public override async ValueTask<OutputRead> ReadOutputAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var read = await base.ReadOutputAsync(buffer, cancellationToken);
        if (_started || read.Count == 0)
        {
            return read;
        }

        _started = true;
        if (!buffer.Span[..read.Count].StartsWith(Refusal))
        {
            return read;
        }

        var held = read.Count;
        while (held < buffer.Length)
        {
            read = await base.ReadOutputAsync(buffer[held..], cancellationToken);
            if (read.Count == 0)
            {
                break;
            }

            held += read.Count;
        }

        _exitCode = read.Count == 0 ? await WaitForExitAsync(cancellationToken) : null;
        if (_exitCode is not (126 or 127))
        {
            return new OutputRead(read.Stream, held); // The program's own words.
        }

        _refusal = Encoding.UTF8.GetString(buffer.Span[..held]).Trim();
        return new OutputRead(read.Stream, 0);
    }

    public override async Task ResizeAsync(int width, int height, CancellationToken cancellationToken)
    {
        if (!tty || width <= 0 || height <= 0)
        {
            return;
        }

        try
        {
            await Engine.CallAsync(
                RuntimeFailure.Other,
                token => Engine.Client.Exec.ResizeExecTtyAsync(execId, new ContainerResizeParameters { Width = width, Height = height }, token),
                cancellationToken);
        }
        catch (RuntimeException e) when (e.Failure != RuntimeFailure.Unavailable)
        {
            // Not started yet or already ended: the next size, if any, will fit.
        }
    }

    public override async Task<int> WaitForExitAsync(CancellationToken cancellationToken)
    {
        if (_exitCode is { } known)
        {
            return _refusal is null ? known : throw new RuntimeException(RuntimeFailure.Exec, _refusal);
        }

        var delay = FirstExitPoll;
        for (var poll = 0; poll < MaxExitPolls; poll++)
        {
            var state = await Engine.CallAsync(
                RuntimeFailure.Other,
                token => Engine.Client.Exec.InspectContainerExecAsync(execId, token),
                cancellationToken);
            if (!state.Running && state.ExitCode is { } exitCode)
            {
                return (int)exitCode;
            }

            await Task.Delay(delay, time, cancellationToken);
            delay = delay < TimeSpan.FromMilliseconds(500) ? delay * 2 : delay;
        }

        throw new RuntimeException(RuntimeFailure.Other, "the command closed its output but goes on running");
    }
}

/// <summary>The main process of a container.</summary>
internal sealed class DockerAttachSession(DockerEngine engine, string containerId, MultiplexedStream stream, bool tty)
    : DockerSession(engine, stream)
{
    public override async Task ResizeAsync(int width, int height, CancellationToken cancellationToken)
    {
        if (!tty || width <= 0 || height <= 0)
        {
            return;
        }

        try
        {
            await Engine.CallAsync(
                RuntimeFailure.Other,
                token => Engine.Client.Containers.ResizeContainerTtyAsync(
                    containerId,
                    new ContainerResizeParameters { Width = width, Height = height },
                    token),
                cancellationToken);
        }
        catch (RuntimeException e) when (e.Failure != RuntimeFailure.Unavailable)
        {
            // It ended.
        }
    }

    public override async Task<int> WaitForExitAsync(CancellationToken cancellationToken)
    {
        try
        {
            var answer = await Engine.Client.Containers.WaitContainerAsync(containerId, cancellationToken);
            return (int)answer.StatusCode;
        }
        catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.Other) is not null)
        {
            throw DockerEngine.Translate(e, RuntimeFailure.Other)!;
        }
    }
}
