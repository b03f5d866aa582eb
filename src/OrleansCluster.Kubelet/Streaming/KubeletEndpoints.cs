using System.Globalization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>
/// What a kubelet serves to API servers: logs, exec, attach, port-forward. The API server authorises the request and passes the client's bytes through
/// unchanged, upgrades included, so this side speaks to the real client.
/// </summary>
/// <remarks>
/// <para>One server serves all nodes of a process: the first path segment is the node. The host authenticates callers; nothing here does.</para>
/// <para>Serve it with HTTP/1.1 (upgrades do not exist in HTTP/2) and without a limit on the request's time.</para>
/// </remarks>
public sealed partial class KubeletEndpoints(IPodContainers pods, TimeProvider time, ILogger<KubeletEndpoints> logger)
{
    /// <summary>Adds the routes <c>/{node}/containerLogs|exec|attach|portForward/…</c>.</summary>
    public IEndpointConventionBuilder Map(IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/{node}");
        string[] methods = ["GET", "POST"];
        group.MapGet("/containerLogs/{podNamespace}/{pod}/{container}", LogsAsync);
        group.MapMethods("/exec/{podNamespace}/{pod}/{container}", methods, context => ProcessAsync(context, exec: true));
        group.MapMethods("/attach/{podNamespace}/{pod}/{container}", methods, context => ProcessAsync(context, exec: false));
        group.MapMethods("/portForward/{podNamespace}/{pod}", methods, PortForwardAsync);
        return group;
    }

    /// <summary>A flag of a query: anything but <c>0</c> and <c>false</c> is true, also nothing after the name; absent is false.</summary>
    internal static bool Flag(HttpContext context, string name) =>
        context.Request.Query.TryGetValue(name, out var value)
        && value.ToString() is not "0"
        && !string.Equals(value.ToString(), "false", StringComparison.OrdinalIgnoreCase);

    private static string Route(HttpContext context, string name) => (string?)context.GetRouteValue(name) ?? "";

    private static async Task FailAsync(HttpContext context, StatusError error)
    {
        context.Response.StatusCode = error.Code;
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(error.ToJson().ToJsonString(), context.RequestAborted);
    }

    private (PodStreams? Pod, PodContainerStreams? Container, StatusError? Error) Find(HttpContext context)
    {
        var (podName, containerName) = (Route(context, "pod"), Route(context, "container"));
        if (pods.Find(Route(context, "node"), Route(context, "podNamespace"), podName) is not { } pod)
        {
            return (null, null, StatusError.NotFound("pods", "", podName));
        }

        if (containerName.Length == 0)
        {
            return (pod, null, null);
        }

        var container = pod.Containers.FirstOrDefault(container => container.Name == containerName);
        return container is null
            ? (pod, null, StatusError.BadRequest($"container {containerName} is not valid for pod {podName}"))
            : (pod, container, null);
    }

    private async Task LogsAsync(HttpContext context)
    {
        var (pod, container, error) = Find(context);
        if (error is null && TryParseLogQuery(context, out var query, out error))
        {
            var podName = Route(context, "pod");
            var previous = Flag(context, "previous");
            var id = previous ? container!.PreviousContainerId : container!.ContainerId;
            if (id is not null)
            {
                await CopyLogsAsync(context, pod!.Runtime, id, query);
                return;
            }

            error = previous
                ? StatusError.BadRequest($"previous terminated container \"{container.Name}\" in pod \"{podName}\" not found")
                : StatusError.BadRequest(
                    $"container \"{container.Name}\" in pod \"{podName}\" is waiting to start: {container.WaitingReason ?? "ContainerCreating"}");
        }

        await FailAsync(context, error!);
    }

    private static async Task CopyLogsAsync(HttpContext context, IContainerRuntime runtime, string id, LogQuery query)
    {
        context.Response.ContentType = "text/plain";
        if (query.Follow)
        {
            // The client must see that it is connected before the first line, which may be long in coming.
            await context.Response.StartAsync(context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }

        try
        {
            await runtime.ReadLogsAsync(id, query, context.Response.Body, context.Response.Body, context.RequestAborted);
        }
        catch (RuntimeException e) when (!context.Response.HasStarted)
        {
            await FailAsync(context, e.Failure == RuntimeFailure.NotFound ? StatusError.BadRequest(e.Message) : StatusError.InternalError(e.Message));
        }
        catch (RuntimeException e)
        {
            await context.Response.WriteAsync(e.Message + "\n", context.RequestAborted);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client left.
        }
    }

    private bool TryParseLogQuery(HttpContext context, out LogQuery query, out StatusError? error)
    {
        error = null;
        query = new LogQuery { Follow = Flag(context, "follow"), Timestamps = Flag(context, "timestamps") };
        var asked = context.Request.Query;
        if (!TryNumber("tailLines", 0, out var tail, out error)
            || !TryNumber("limitBytes", 1, out var limit, out error)
            || !TryNumber("sinceSeconds", 1, out var sinceSeconds, out error))
        {
            return false;
        }

        DateTimeOffset? since = sinceSeconds is { } seconds ? time.GetUtcNow() - TimeSpan.FromSeconds(Math.Min(seconds, 1L << 31)) : null;
        if (asked["sinceTime"].ToString() is { Length: > 0 } text)
        {
            if (!DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var moment))
            {
                error = StatusError.BadRequest($"sinceTime: invalid time {text}");
                return false;
            }

            since = moment;
        }

        query = query with { TailLines = tail, LimitBytes = limit, Since = since };
        return true;

        bool TryNumber(string name, long least, out long? value, out StatusError? error)
        {
            (value, error) = (null, null);
            if (asked[name].ToString() is not { Length: > 0 } text)
            {
                return true;
            }

            if (!long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) || number < least)
            {
                error = StatusError.BadRequest(FormattableString.Invariant($"{name}: Invalid value: \"{text}\": must be greater than or equal to {least}"));
                return false;
            }

            value = number;
            return true;
        }
    }

    private async Task ProcessAsync(HttpContext context, bool exec)
    {
        var (pod, container, error) = Find(context);
        var command = context.Request.Query["command"].Select(part => part ?? "").ToList();
        var tty = exec ? Flag(context, "tty") : container?.Tty ?? false;
        bool stdin = Flag(context, "stdin"), stdout = Flag(context, "stdout"), stderr = Flag(context, "stderr") && !tty;
        if (error is null && !stdin && !stdout && !stderr)
        {
            error = StatusError.BadRequest("you must specify at least 1 of stdin, stdout, stderr");
        }

        if (error is null && exec && command.Count == 0)
        {
            error = StatusError.BadRequest("you must specify at least one command for the container");
        }

        if (error is null && (container!.ContainerId is null || !container.Running))
        {
            error = StatusError.BadRequest($"container {container.Name} of pod {Route(context, "pod")} is not running");
        }

        if (error is not null)
        {
            await FailAsync(context, error);
            return;
        }

        await using var client = await AcceptAsync(context, new RemoteStreamSet(stdin, stdout, stderr, tty));
        if (client is null)
        {
            return; // Refused, and answered.
        }

        var (runtime, id) = (pod!.Runtime, container!.ContainerId!);
        await RemoteBridge.RunAsync(
            client,
            token => exec
                ? runtime.ExecAsync(id, new ExecSpec { Command = command, Stdin = stdin, Stdout = stdout, Stderr = stderr, Tty = tty }, token)
                : runtime.AttachAsync(id, new AttachSpec(stdin, stdout, stderr), token),
            reportExitCode: exec,
            time,
            context.RequestAborted);
    }

    private async Task<RemoteClient?> AcceptAsync(HttpContext context, RemoteStreamSet streams)
    {
        if (Upgrade.IsWebSocket(context))
        {
            // A client that offers nothing speaks the oldest protocol.
            var offered = Upgrade.WebSocketProtocols(context);
            var protocol = offered.Length == 0 ? "channel.k8s.io" : WebSocketClient.Protocols.FirstOrDefault(offered.Contains);
            if (protocol is not null
                && await Upgrade.AcceptWebSocketAsync(context, offered.Length == 0 ? null : protocol) is { } socket)
            {
                return new WebSocketClient(socket, protocol);
            }

            await FailAsync(context, StatusError.BadRequest($"unable to upgrade: none of the protocols [{string.Join(' ', offered)}] is known"));
            return null;
        }

        if (Upgrade.IsSpdy(context))
        {
            return await AcceptSpdyAsync(context, streams);
        }

        await FailAsync(context, StatusError.BadRequest("Upgrade request required"));
        return null;
    }

    private static partial class Log
    {
        [LoggerMessage(EventId = 1, Level = LogLevel.Debug, Message = "A port-forward to {Pod} ended: {Error}")]
        public static partial void PortForwardEnded(ILogger logger, string pod, string error);
    }
}
