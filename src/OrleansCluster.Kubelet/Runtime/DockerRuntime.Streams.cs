using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Docker.DotNet;
using Docker.DotNet.Models;
using OrleansCluster.Kubelet.Network;

namespace OrleansCluster.Kubelet.Runtime;

/// <content>Logs, commands, attachments, connections, use of resources.</content>
public sealed partial class DockerRuntime
{
    /// <summary>One read of a log: the engine's frames are single lines, at most 16 KiB.</summary>
    private const int LogBufferBytes = 16 * 1024;

    /// <inheritdoc/>
    public async Task ReadLogsAsync(string containerId, LogQuery query, Stream stdout, Stream stderr, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(query);
        var parameters = new ContainerLogsParameters
        {
            ShowStdout = true,
            ShowStderr = true,
            Follow = query.Follow,
            Timestamps = query.Timestamps,
            Tail = query.TailLines?.ToString(CultureInfo.InvariantCulture) ?? "all",
            Since = query.Since is { } since ? UnixTime(since) : null,
        };
        var left = query.LimitBytes ?? long.MaxValue;
        var buffer = new byte[LogBufferBytes];
        try
        {
            using var log = await _engine.Client.Containers.GetContainerLogsAsync(containerId, parameters, cancellationToken);
            while (left > 0)
            {
                var read = await log.ReadOutputAsync(buffer, 0, buffer.Length, cancellationToken);
                if (read.EOF)
                {
                    return;
                }

                var count = (int)Math.Min(read.Count, left);
                left -= count;
                var target = read.Target == MultiplexedStream.TargetStream.StandardError ? stderr : stdout;
                await target.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
                if (query.Follow)
                {
                    await target.FlushAsync(cancellationToken);
                }
            }
        }
        catch (DockerApiException e)
        {
            throw DockerEngine.Translate(e, RuntimeFailure.Other)!;
        }
    }

    /// <inheritdoc/>
    public async Task<IProcessSession> ExecAsync(string containerId, ExecSpec spec, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var created = await _engine.CallAsync(
            RuntimeFailure.Exec,
            token => _engine.Client.Exec.CreateContainerExecAsync(
                containerId,
                new ContainerExecCreateParameters
                {
                    Cmd = [.. spec.Command],
                    AttachStdin = spec.Stdin,
                    AttachStdout = spec.Stdout,
                    AttachStderr = spec.Stderr && !spec.Tty,
                    TTY = spec.Tty,
                },
                token),
            cancellationToken);
        var stream = await _engine.CallAsync(
            RuntimeFailure.Exec,
            token => _engine.Client.Exec.StartContainerExecAsync(
                created.ID,
                new ContainerExecStartParameters { Detach = false, TTY = spec.Tty },
                token),
            cancellationToken);
        return new DockerExecSession(_engine, created.ID, stream, spec.Tty, _time);
    }

    /// <inheritdoc/>
    public async Task<IProcessSession> AttachAsync(string containerId, AttachSpec spec, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var found = await InspectRawAsync(containerId, cancellationToken)
            ?? throw new RuntimeException(RuntimeFailure.NotFound, $"container {containerId} does not exist");
        if (!found.State!.Running)
        {
            throw new RuntimeException(RuntimeFailure.NotRunning, $"container {containerId} does not run");
        }

        var stream = await _engine.CallAsync(
            RuntimeFailure.Other,
            token => _engine.Client.Containers.AttachContainerAsync(
                containerId,
                new ContainerAttachParameters { Stream = true, Stdin = spec.Stdin, Stdout = spec.Stdout, Stderr = spec.Stderr && !found.Config!.Tty },
                token),
            cancellationToken);
        return new DockerAttachSession(_engine, containerId, stream, found.Config!.Tty);
    }

    /// <inheritdoc/>
    public async Task<Stream> ConnectAsync(string sandboxId, int port, CancellationToken cancellationToken)
    {
        var sandbox = await InspectSandboxAsync(sandboxId, cancellationToken)
            ?? throw new RuntimeException(RuntimeFailure.NotFound, $"sandbox {sandboxId} does not exist");
        if (!sandbox.Running)
        {
            throw new RuntimeException(RuntimeFailure.NotRunning, $"sandbox {sandboxId} does not run");
        }

        var inside = sandbox.Network == SandboxNetwork.Pod && !_network.EngineAssignsAddress;
        var target = sandbox.Network == SandboxNetwork.Pod && _network.EngineAssignsAddress ? sandbox.PodIP! : IPAddress.Loopback;
        Socket? socket = null;
        try
        {
            socket = inside
                ? await NetworkNamespaces.CreateSocketAsync(sandbox.Pid, cancellationToken)
                : new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.NoDelay = true;
            await socket.ConnectAsync(target, port, cancellationToken);
            var stream = new NetworkStream(socket, ownsSocket: true);
            socket = null;
            return stream;
        }
        catch (SocketException e)
        {
            throw new RuntimeException(
                RuntimeFailure.Other,
                $"failed to connect to localhost:{port} inside the pod's network namespace: {e.Message}",
                e);
        }
        finally
        {
            socket?.Dispose();
        }
    }

    /// <inheritdoc/>
    public async Task<ContainerStats?> GetStatsAsync(string containerId, CancellationToken cancellationToken)
    {
        if (await InspectRawAsync(containerId, cancellationToken) is not { State: { Running: true } state })
        {
            return null;
        }

        if (_engine.IsLocal && CgroupStats.TryRead((int)state.Pid, _time) is { } read)
        {
            return read;
        }

        ContainerStatsResponse? answer = null;
        try
        {
            await _engine.CallAsync(
                RuntimeFailure.Other,
                token => _engine.Client.Containers.GetContainerStatsAsync(
                    containerId,
                    new ContainerStatsParameters { Stream = false, OneShot = true },
                    new Receiver<ContainerStatsResponse>(value => answer = value),
                    token),
                cancellationToken);
        }
        catch (RuntimeException e) when (DockerEngine.IsNotFound(e) || DockerEngine.IsConflict(e))
        {
            return null;
        }

        if (answer is null || answer.Read.Year == 1 || answer.CPUStats?.CPUUsage is not { } cpu)
        {
            return null; // An ended container answers with zeros.
        }

        // Of a container that has just been started nothing may be accounted yet.
        var usage = answer.MemoryStats?.Usage ?? 0;

        // Hierarchical accounting on cgroup v1, the plain name on v2.
        var statistics = answer.MemoryStats?.Stats;
        ulong inactive = 0;
        if (statistics is not null && !statistics.TryGetValue("total_inactive_file", out inactive))
        {
            statistics.TryGetValue("inactive_file", out inactive);
        }

        var workingSet = usage > inactive ? usage - inactive : 0;
        return new ContainerStats(_time.GetUtcNow(), (long)cpu.TotalUsage, (long)workingSet, (long)usage);
    }

    private static string UnixTime(DateTimeOffset time)
    {
        var ticks = time.UtcTicks - DateTimeOffset.UnixEpoch.Ticks;
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{ticks / TimeSpan.TicksPerSecond}.{ticks % TimeSpan.TicksPerSecond * 100:D9}");
    }

    private sealed class Receiver<T>(Action<T> report) : IProgress<T>
    {
        public void Report(T value) => report(value);
    }
}
