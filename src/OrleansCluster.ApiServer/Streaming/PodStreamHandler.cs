using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Storage;
using Yarp.ReverseProxy.Forwarder;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Logs, exec, attach and port-forward: the request is forwarded as it is, upgrade included, to the agent of the pod's node. The agent sees this
/// server's client certificate, not the caller's credential; what the caller may do has been decided before.
/// <code>
/// client --(1) authorized--> (2) pod, container, node --(3) forward, own certificate--> https://NODE:PORT/{node}/containerLogs/{ns}/{pod}/{container}
/// </code>
/// </summary>
internal sealed partial class PodStreamHandler : IDisposable
{
    private static readonly HashSet<string> Names = new(StringComparer.Ordinal) { "log", "exec", "attach", "portforward" };

    private readonly IResourceCaches _caches;
    private readonly IHttpForwarder _forwarder;
    private readonly ClusterPki? _pki;
    private readonly ILogger<PodStreamHandler> _logger;
    private readonly Lazy<HttpMessageInvoker> _client;

    public PodStreamHandler(IResourceCaches caches, IHttpForwarder forwarder, ILogger<PodStreamHandler> logger, ClusterPki? pki = null)
    {
        _caches = caches;
        _forwarder = forwarder;
        _pki = pki;
        _logger = logger;
        _client = new Lazy<HttpMessageInvoker>(MakeClient);
    }

    /// <summary>True for the subresources served here.</summary>
    public static bool Serves(RequestInfo info) =>
        info.Group.Length == 0 && info.Resource == "pods" && info.Name.Length > 0 && Names.Contains(info.Subresource);

    /// <summary>Answers one.</summary>
    public async ValueTask HandleAsync(ApiRequest request)
    {
        var info = request.Info;
        // (2)
        var state = await _caches.Get("pods").GetLatestAsync(request.Aborted);
        var found = state.Find(info.Namespace, info.Name)
            ?? throw new StatusException(StatusError.NotFound("pods", "", info.Name));
        var pod = PodContainers.Read(found.Bytes);
        var query = request.Http.Query;
        var container = info.Subresource == "portforward" ? "" : pod.Choose(QueryValues.Text(query, "container"));
        if (info.Subresource == "log")
            CheckLogOptions(query);
        if (pod.NodeName.Length == 0)
        {
            if (info.Subresource != "log")
                throw new StatusException(StatusError.BadRequest($"pod {pod.PodName} does not have a host assigned"));
            // Nothing has run yet: an empty log, as kube-apiserver answers.
            request.Response.ContentType = "text/plain";
            return;
        }
        if (info.Subresource == "portforward" && pod.Phase is "Succeeded" or "Failed")
            throw new StatusException(StatusError.BadRequest($"cannot forward ports of pod {pod.PodName}: it has ended"));
        if (info.Subresource is "exec" or "attach" && pod.Phase is "Succeeded" or "Failed")
            throw new StatusException(StatusError.BadRequest($"cannot exec into a container in a completed pod; current phase is {pod.Phase}"));
        if (info.Subresource is "exec" or "attach" && !WantsAnyStream(query))
            throw new StatusException(StatusError.BadRequest("you must specify at least one of stdin, stdout, stderr"));

        var address = await FindAgentAsync(pod.NodeName, request.Aborted);
        var kind = info.Subresource switch { "log" => "containerLogs", "portforward" => "portForward", var other => other };
        var path = $"/{Escape(pod.NodeName)}/{kind}/{Escape(info.Namespace)}/{Escape(info.Name)}" + (container.Length > 0 ? "/" + Escape(container) : "");
        // (3)
        await ForwardAsync(request.Context, address, path, request.Aborted);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_client.IsValueCreated)
            _client.Value.Dispose();
    }

    private async ValueTask ForwardAsync(HttpContext context, string address, string path, CancellationToken ending)
    {
        var error = await _forwarder.SendAsync(
            context, address, _client.Value,
            new ForwarderRequestConfig { ActivityTimeout = TimeSpan.FromHours(4), Version = HttpVersion.Version11, VersionPolicy = HttpVersionPolicy.RequestVersionExact },
            new AgentTransformer(path), ending);
        if (error == ForwarderError.None)
            return;
        var cause = context.Features.Get<IForwarderErrorFeature>()?.Exception;
        if (context.Response.HasStarted)
        {
            // A stream under way ends like this whenever either side goes first: the usual end of an exec or a followed log.
            Log.StreamEnded(_logger, address, error, cause?.Message ?? "");
            context.Abort();
            return;
        }
        Log.ForwardingFailed(_logger, address, error, cause?.Message ?? "");
        if (!context.RequestAborted.IsCancellationRequested)
        {
            await Replies.WriteErrorAsync(context, error is ForwarderError.RequestTimedOut
                ? StatusError.Timeout("the node agent did not answer in time")
                : StatusError.InternalError($"error dialing backend: the agent at {address} does not answer"));
        }
    }

    private async ValueTask<string> FindAgentAsync(string nodeName, CancellationToken cancellationToken)
    {
        var nodes = await _caches.Get("nodes").GetSnapshotAsync(cancellationToken);
        var node = nodes.Find("", nodeName) ?? throw new StatusException(StatusError.NotFound("nodes", "", nodeName));
        using var document = JsonDocument.Parse(node.Bytes);
        if (!document.RootElement.TryGetProperty("status", out var status)
            || !status.TryGetProperty("daemonEndpoints", out var endpoints)
            || !endpoints.TryGetProperty("kubeletEndpoint", out var endpoint)
            || !endpoint.TryGetProperty("Port", out var port)
            || !port.TryGetInt32(out var number) || number is < 1 or > IPEndPoint.MaxPort)
        {
            throw new StatusException(StatusError.ServiceUnavailable($"node {nodeName} has not told where its agent listens"));
        }

        var host = "127.0.0.1";
        if (status.TryGetProperty("addresses", out var addresses))
        {
            foreach (var item in addresses.EnumerateArray())
            {
                if (Text(item, "type") != "InternalIP" || Text(item, "address") is not { Length: > 0 } internalIp)
                    continue;
                // A node's status is written by the node; only an address may become part of a URL and of a log line.
                host = IPAddress.TryParse(internalIp, out var ip)
                    ? ip.ToString()
                    : throw new StatusException(StatusError.ServiceUnavailable($"node {nodeName} names an InternalIP that is none"));
                break;
            }
        }
        return $"https://{(host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host)}:{number}";
    }

    private HttpMessageInvoker MakeClient()
    {
        var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            ConnectTimeout = TimeSpan.FromSeconds(10),
            ActivityHeadersPropagator = new ReverseProxyPropagator(DistributedContextPropagator.Current),
        };
        if (_pki is { } pki)
        {
            handler.SslOptions = new SslClientAuthenticationOptions
            {
                LocalCertificateSelectionCallback = (_, _, _, _, _) => pki.KubeletClientCertificate(),
                // Only our own authority counts, and the name must be the one dialled.
                RemoteCertificateValidationCallback = (_, certificate, _, errors) =>
                    certificate is X509Certificate2 agent && !errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch) && pki.Issued(agent),
            };
        }
        return new HttpMessageInvoker(handler);
    }

    private static void CheckLogOptions(IQueryCollection query)
    {
        var errors = new FieldErrors();
        if (QueryValues.Integer(query, "tailLines") is < 0)
            errors.Invalid(FieldPath.Root("tailLines"), QueryValues.Integer(query, "tailLines"), "must be greater than or equal to 0");
        if (QueryValues.Integer(query, "limitBytes") is < 1)
            errors.Invalid(FieldPath.Root("limitBytes"), QueryValues.Integer(query, "limitBytes"), "must be greater than 0");
        if (QueryValues.Integer(query, "sinceSeconds") is < 1)
            errors.Invalid(FieldPath.Root("sinceSeconds"), QueryValues.Integer(query, "sinceSeconds"), "must be greater than 0");
        if (QueryValues.Text(query, "sinceSeconds").Length > 0 && QueryValues.Text(query, "sinceTime").Length > 0)
            errors.Forbidden(FieldPath.Root("sinceSeconds"), "at most one of `sinceTime` or `sinceSeconds` may be specified");
        if (!errors.IsEmpty)
            throw new StatusException(errors.ToStatus("PodLogOptions", "", ""));
    }

    private static bool WantsAnyStream(IQueryCollection query) =>
        QueryValues.Flag(query, "stdin") == true || QueryValues.Flag(query, "stdout") == true || QueryValues.Flag(query, "stderr") == true;

    private static string Text(JsonElement obj, string member) =>
        obj.TryGetProperty(member, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() ?? "" : "";

    private static string Escape(string segment) => Uri.EscapeDataString(segment);

    /// <summary>Puts the agent's path in place of the API's and takes the caller's credentials off.</summary>
    private sealed class AgentTransformer(string path) : HttpTransformer
    {
        public override async ValueTask TransformRequestAsync(
            HttpContext httpContext, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancellationToken)
        {
            await base.TransformRequestAsync(httpContext, proxyRequest, destinationPrefix, cancellationToken);
            proxyRequest.RequestUri = new Uri(destinationPrefix + path + httpContext.Request.QueryString.ToUriComponent());
            proxyRequest.Headers.Host = null;
            foreach (var (name, _) in httpContext.Request.Headers)
            {
                if (name.Equals("Authorization", StringComparison.OrdinalIgnoreCase)
                    || name.Equals("Cookie", StringComparison.OrdinalIgnoreCase)
                    || name.StartsWith("Impersonate-", StringComparison.OrdinalIgnoreCase))
                {
                    proxyRequest.Headers.Remove(name);
                }
            }
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Debug, "A stream to the node agent at {Address} ended: {Error} {Cause}")]
        public static partial void StreamEnded(ILogger logger, string address, ForwarderError error, string cause);

        [LoggerMessage(LogLevel.Warning, "Forwarding to the node agent at {Address} failed: {Error} {Cause}")]
        public static partial void ForwardingFailed(ILogger logger, string address, ForwarderError error, string cause);
    }
}
