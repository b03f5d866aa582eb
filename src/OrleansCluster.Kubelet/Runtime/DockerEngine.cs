using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Docker.DotNet;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>How to reach a Docker Engine and how hard to drive it.</summary>
public sealed class DockerEngineOptions
{
    /// <summary>The engine's endpoint; null asks <c>DOCKER_HOST</c> and the platform's default socket.</summary>
    public Uri? Endpoint { get; set; }

    /// <summary>
    /// The longest a short call may take before the engine counts as unavailable. Default 2 minutes: a start waits behind others on a loaded
    /// machine, and giving up earlier leaves its outcome unknown. Streams (logs, exec, events, pulls) have no limit.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// How many creates, starts and removes may be under way at once. Default twice the processors: beyond that an engine starts no more
    /// containers per second (measured 7–8 pods/s from 4 to 16 on 2 processors), only every single one takes longer.
    /// </summary>
    public int MaxConcurrentChanges { get; set; } = Math.Max(4, 2 * Environment.ProcessorCount);
}

/// <summary>
/// A Docker Engine, shared by all nodes of a process. The only place that touches the client library; its exceptions leave as
/// <see cref="RuntimeException"/>s.
/// </summary>
public sealed partial class DockerEngine : IDisposable
{
    private readonly DockerEngineOptions _options;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _changes;

    /// <summary>Prepares a client; nothing is sent.</summary>
    public DockerEngine(DockerEngineOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _time = time;
        _changes = new SemaphoreSlim(options.MaxConcurrentChanges);
        var builder = new DockerClientBuilder().WithTimeout(Timeout.InfiniteTimeSpan);
        if (options.Endpoint is not null)
        {
            builder = builder.WithEndpoint(options.Endpoint);
        }

        Client = builder.Build();
        SocketPath = FindSocket(options.Endpoint);
    }

    internal DockerClient Client { get; }

    /// <summary>The path of the engine's socket when it is a local one.</summary>
    internal string? SocketPath { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Client.Dispose();
        _changes.Dispose();
    }

    /// <summary>A short call that changes nothing heavy.</summary>
    internal async Task<T> CallAsync<T>(RuntimeFailure failure, Func<CancellationToken, Task<T>> call, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(_options.CallTimeout, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            return await call(linked.Token);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested && timeout.IsCancellationRequested)
        {
            throw new RuntimeException(RuntimeFailure.Unavailable, $"the engine did not answer within {_options.CallTimeout}", e);
        }
        catch (Exception e) when (Translate(e, failure) is not null)
        {
            throw Translate(e, failure)!;
        }
    }

    /// <summary>A short call without an answer.</summary>
    internal Task CallAsync(RuntimeFailure failure, Func<CancellationToken, Task> call, CancellationToken cancellationToken) =>
        CallAsync(
            failure,
            async token =>
            {
                await call(token);
                return true;
            },
            cancellationToken);

    /// <summary>A create, start or remove: waits for its turn.</summary>
    internal async Task<T> ChangeAsync<T>(RuntimeFailure failure, Func<CancellationToken, Task<T>> call, CancellationToken cancellationToken)
    {
        await _changes.WaitAsync(cancellationToken);
        try
        {
            return await CallAsync(failure, call, cancellationToken);
        }
        finally
        {
            _changes.Release();
        }
    }

    /// <summary>A create, start or remove without an answer.</summary>
    internal Task ChangeAsync(RuntimeFailure failure, Func<CancellationToken, Task> call, CancellationToken cancellationToken) =>
        ChangeAsync(
            failure,
            async token =>
            {
                await call(token);
                return true;
            },
            cancellationToken);

    /// <summary>Turns what the client raised into ours; null for what is not the engine's doing (cancellation, our own failures).</summary>
    internal static RuntimeException? Translate(Exception exception, RuntimeFailure failure) => exception switch
    {
        RuntimeException or OperationCanceledException => null,
        DockerApiException api => new RuntimeException(
            api.StatusCode == HttpStatusCode.NotFound && failure == RuntimeFailure.Other ? RuntimeFailure.NotFound : failure,
            MessageOf(api),
            api),
        HttpRequestException or IOException or SocketException or TimeoutException or ObjectDisposedException =>
            new RuntimeException(RuntimeFailure.Unavailable, $"the engine cannot be reached: {exception.Message}", exception),
        _ => null,
    };

    /// <summary>Whether the engine said that the object does not exist.</summary>
    internal static bool IsNotFound(RuntimeException exception) =>
        exception.InnerException is DockerApiException { StatusCode: HttpStatusCode.NotFound };

    /// <summary>Whether the engine said that the object's state or name stands against it.</summary>
    internal static bool IsConflict(RuntimeException exception) =>
        exception.InnerException is DockerApiException { StatusCode: HttpStatusCode.Conflict };

    private static string MessageOf(DockerApiException exception)
    {
        try
        {
            using var body = JsonDocument.Parse(exception.ResponseBody ?? "");
            if (body.RootElement.ValueKind == JsonValueKind.Object && body.RootElement.TryGetProperty("message", out var message))
            {
                return message.GetString() ?? exception.Message;
            }
        }
        catch (JsonException)
        {
            // Not every proxy in front of an engine answers JSON: its text is the message then.
        }

        return string.IsNullOrWhiteSpace(exception.ResponseBody) ? exception.Message : exception.ResponseBody.Trim();
    }

    private static string? FindSocket(Uri? endpoint)
    {
        endpoint ??= Uri.TryCreate(Environment.GetEnvironmentVariable("DOCKER_HOST"), UriKind.Absolute, out var fromEnvironment)
            ? fromEnvironment
            : null;
        var path = endpoint is null ? "/var/run/docker.sock" : endpoint.Scheme == "unix" ? endpoint.AbsolutePath : null;
        return path is not null && File.Exists(path) ? path : null;
    }
}
