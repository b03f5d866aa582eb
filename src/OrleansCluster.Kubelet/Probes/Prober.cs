using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Probes;

/// <summary>A container to be asked.</summary>
/// <param name="Pod">Its pod.</param>
/// <param name="Container">Its spec.</param>
/// <param name="ContainerId">Its engine container.</param>
/// <param name="PodIP">Where it listens, or null.</param>
internal sealed record ProbeTarget(PodDocument Pod, PodContainer Container, string ContainerId, string? PodIP);

/// <summary>Asks containers how they are, and runs their lifecycle hooks.</summary>
internal interface IProber
{
    /// <summary>Runs a probe within its time limit.</summary>
    Task<ProbeResult> ProbeAsync(ProbeTarget target, Probe probe, CancellationToken cancellationToken);

    /// <summary>Runs a lifecycle hook. The caller bounds the time.</summary>
    Task<ProbeResult> RunHookAsync(ProbeTarget target, LifecycleHandler hook, CancellationToken cancellationToken);
}

/// <summary>The prober of hollow nodes: there is nobody to ask, so everything is well.</summary>
internal sealed class HollowProber(TimeProvider time) : IProber
{
    public Task<ProbeResult> ProbeAsync(ProbeTarget target, Probe probe, CancellationToken cancellationToken) =>
        Task.FromResult(new ProbeResult(true, ""));

    public async Task<ProbeResult> RunHookAsync(ProbeTarget target, LifecycleHandler hook, CancellationToken cancellationToken)
    {
        if (hook.Sleep is { Seconds: > 0 } sleep)
            await Task.Delay(TimeSpan.FromSeconds(sleep.Seconds), time, cancellationToken);
        return new ProbeResult(true, "");
    }
}

/// <summary>
/// HTTP and TCP go from the node to the pod's address (cheap); exec goes through the container engine (tens of milliseconds of CPU each). gRPC probes are
/// not supported yet and count as errored, which neither passes nor fails them.
/// </summary>
internal sealed class Prober : IProber, IDisposable
{
    /// <summary>What of a response or an output is kept.</summary>
    private const int MaxOutput = 10 * 1024;

    private readonly IContainerRuntime _runtime;
    private readonly TimeProvider _time;
    private readonly HttpMessageInvoker _http;

    public Prober(IContainerRuntime runtime, TimeProvider time)
    {
        _runtime = runtime;
        _time = time;
        _http = new HttpMessageInvoker(new SocketsHttpHandler
        {
            // Probes say whether a new connection works; certificates of pods prove nothing to a node.
            PooledConnectionLifetime = TimeSpan.Zero,
            AllowAutoRedirect = false,
            UseProxy = false,
            UseCookies = false,
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = static (_, _, _, _) => true },
        });
    }

    public async Task<ProbeResult> ProbeAsync(ProbeTarget target, Probe probe, CancellationToken cancellationToken)
    {
        var timeout = TimeSpan.FromSeconds(probe.TimeoutSeconds);
        if (probe.Exec is { } exec)
            return await ExecAsync(target, exec, timeout, cancellationToken);
        if (probe.HttpGet is { } http)
            return await HttpAsync(target, http, timeout, "HTTP probe failed with statuscode: ", cancellationToken);
        if (probe.TcpSocket is { } tcp)
            return await TcpAsync(target, tcp, timeout, cancellationToken);
        return new ProbeResult(false, probe.Grpc is null ? "missing probe handler" : "gRPC probes are not supported by this node", Errored: true);
    }

    public async Task<ProbeResult> RunHookAsync(ProbeTarget target, LifecycleHandler hook, CancellationToken cancellationToken)
    {
        if (hook.Exec is { } exec)
            return await ExecAsync(target, exec, Timeout.InfiniteTimeSpan, cancellationToken);
        if (hook.HttpGet is { } http)
            return await HttpAsync(target, http, Timeout.InfiniteTimeSpan, "HTTP hook failed with statuscode: ", cancellationToken);
        if (hook.TcpSocket is { } tcp)
            return await TcpAsync(target, tcp, Timeout.InfiniteTimeSpan, cancellationToken);
        if (hook.Sleep is { Seconds: > 0 } sleep)
            await Task.Delay(TimeSpan.FromSeconds(sleep.Seconds), _time, cancellationToken);
        return new ProbeResult(true, "");
    }

    public void Dispose() => _http.Dispose();

    private async Task<ProbeResult> ExecAsync(ProbeTarget target, ExecAction exec, TimeSpan timeout, CancellationToken cancellationToken)
    {
        using var limit = new CancellationTokenSource(timeout, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        try
        {
            await using var session = await _runtime.ExecAsync(target.ContainerId, new ExecSpec { Command = exec.Command }, linked.Token);
            var output = new StringBuilder();
            var buffer = new byte[4096];
            while (await session.ReadOutputAsync(buffer, linked.Token) is { Count: > 0 } read)
            {
                if (output.Length < MaxOutput)
                    output.Append(Encoding.UTF8.GetString(buffer, 0, read.Count));
            }
            var code = await session.WaitForExitAsync(linked.Token);
            return new ProbeResult(code == 0, output.ToString());
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new ProbeResult(false, $"command timed out: \"{string.Join(' ', exec.Command)}\" timed out after {WireFormat.Duration(timeout)}");
        }
        catch (RuntimeException exception)
        {
            // A missing executable is the container's fault; an engine that is away is not.
            return new ProbeResult(false, exception.Message, Errored: exception.Failure is RuntimeFailure.Unavailable or RuntimeFailure.NotRunning or RuntimeFailure.NotFound);
        }
    }

    private async Task<ProbeResult> HttpAsync(
        ProbeTarget target, HttpGetAction action, TimeSpan timeout, string failure, CancellationToken cancellationToken)
    {
        if (ResolvePort(action.Port, target.Container) is not { } port)
            return new ProbeResult(false, "invalid port: no such container port", Errored: true);
        var host = action.Host is { Length: > 0 } given ? given : target.PodIP;
        if (host is null)
            return new ProbeResult(false, "the pod has no address", Errored: true);
        var scheme = string.Equals(action.Scheme, "HTTPS", StringComparison.OrdinalIgnoreCase) ? "https" : "http";
        var path = action.Path is { Length: > 0 } p ? p[0] == '/' ? p : "/" + p : "/";
        var url = string.Create(CultureInfo.InvariantCulture, $"{scheme}://{(host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host)}:{port}{path}");
        using var limit = new CancellationTokenSource(timeout, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, url);
            request.Headers.ConnectionClose = true;
            request.Headers.TryAddWithoutValidation("User-Agent", "kube-probe/1.32");
            request.Headers.TryAddWithoutValidation("Accept", "*/*");
            foreach (var header in action.HttpHeaders)
            {
                if (string.Equals(header.Name, "Host", StringComparison.OrdinalIgnoreCase))
                {
                    request.Headers.Host = header.Value;
                    continue;
                }
                request.Headers.Remove(header.Name);
                request.Headers.TryAddWithoutValidation(header.Name, header.Value);
            }
            using var response = await _http.SendAsync(request, linked.Token);
            var code = (int)response.StatusCode;
            return new ProbeResult(code is >= 200 and < 400, code is >= 200 and < 400 ? "" : failure + code.ToString(CultureInfo.InvariantCulture));
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new ProbeResult(false, $"Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
        }
        catch (HttpRequestException exception)
        {
            return new ProbeResult(false, $"Get \"{url}\": {Describe(exception, host, port)}");
        }
        catch (UriFormatException exception)
        {
            return new ProbeResult(false, exception.Message, Errored: true);
        }
    }

    private async Task<ProbeResult> TcpAsync(ProbeTarget target, TcpSocketAction action, TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (ResolvePort(action.Port, target.Container) is not { } port)
            return new ProbeResult(false, "invalid port: no such container port", Errored: true);
        var host = action.Host is { Length: > 0 } given ? given : target.PodIP;
        if (host is null)
            return new ProbeResult(false, "the pod has no address", Errored: true);
        using var limit = new CancellationTokenSource(timeout, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        try
        {
            using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            if (IPAddress.TryParse(host, out var address))
                await socket.ConnectAsync(new IPEndPoint(address, port), linked.Token);
            else
                await socket.ConnectAsync(host, port, linked.Token);
            return new ProbeResult(true, "");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new ProbeResult(false, string.Create(CultureInfo.InvariantCulture, $"dial tcp {host}:{port}: i/o timeout"));
        }
        catch (SocketException exception)
        {
            return new ProbeResult(false, Describe(exception, host, port));
        }
    }

    /// <summary>A number, a number as text, or the name of one of the container's ports.</summary>
    internal static int? ResolvePort(JsonElement port, PodContainer container)
    {
        if (port.ValueKind == JsonValueKind.Number)
            return port.TryGetInt32(out var number) && number is > 0 and < 65536 ? number : null;
        if (port.ValueKind != JsonValueKind.String)
            return null;
        var name = port.GetString()!;
        if (int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var parsed))
            return parsed is > 0 and < 65536 ? parsed : null;
        return Array.Find(container.Ports, candidate => candidate.Name == name)?.Port;
    }

    private static string Describe(Exception exception, string host, int port)
    {
        for (var cause = exception; cause is not null; cause = cause.InnerException)
        {
            if (cause is SocketException socket)
            {
                return string.Create(CultureInfo.InvariantCulture, $"dial tcp {host}:{port}: connect: {socket.SocketErrorCode switch
                {
                    SocketError.ConnectionRefused => "connection refused",
                    SocketError.HostUnreachable => "no route to host",
                    SocketError.NetworkUnreachable => "network is unreachable",
                    SocketError.ConnectionReset => "connection reset by peer",
                    SocketError.TimedOut => "connection timed out",
                    _ => socket.Message,
                }}");
            }
        }
        return exception.InnerException is IOException ? "EOF" : exception.Message;
    }
}
