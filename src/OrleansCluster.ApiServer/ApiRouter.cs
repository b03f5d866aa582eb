using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Operations;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Every request's way, top to bottom; the order is part of the contract:
/// <code>
/// (1) headers of every answer     first, so that errors carry them too
/// (2) error border                around everything below: whatever is thrown becomes a Status, here and nowhere else
/// (3) authentication              before the path is looked at: a wrong credential learns nothing about what exists
/// (4) impersonation               needs the real caller; all that follows sees the other one
/// (5) authorization               before the body is read: who may not write cannot make the server parse
/// (6) time limit                  not for watches and streams, which end in their own ways
/// (7) the handler                 health, discovery, OpenAPI, reviews, streams, objects
/// </code>
/// </summary>
internal sealed partial class ApiRouter(
    ResourceRegistry registry, Authentication authentication, Impersonation impersonation, RbacAuthorizer authorizer, HealthChecks health,
    DiscoveryHandler discovery, OpenApiHandler openApi, AccessReviews reviews, PodStreamHandler streams, ReadHandler reads, WatchHandler watches,
    WriteHandler writes, CollectionDeletion collections, PodWrites podWrites, RequestMetrics metrics, TimeProvider time, Func<Guid> newId,
    GracefulShutdown shutdown, IEnumerable<IProtectedPages> pages, ILogger<ApiRouter> logger)
{
    /// <summary>Longest a request other than a watch or a stream may take (wire contract, section 1).</summary>
    public static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(60);

    private readonly IProtectedPages[] _pages = [.. pages];

    /// <summary>Answers `/metrics`; set once, with the pipeline.</summary>
    public MetricsPage? Metrics { get; set; }

    /// <summary>Runs one request. It never throws, save when the client is gone or the answer has been cut.</summary>
    public async Task HandleAsync(HttpContext context)
    {
        var begun = time.GetTimestamp();
        // (1)
        var headers = context.Response.Headers;
        headers.CacheControl = "no-cache, private";
        headers["Audit-Id"] = AuditId(context.Request);

        RequestInfo? info = null;
        try
        {
            if (_pages.Length > 0 && PageOf(context.Request.Path) is not null && !BrowserLogin.Enter(context))
                throw new StatusException(StatusError.Unauthorized());
            // (3)
            var real = authentication.Authenticate(context);
            // (4)
            var caller = Impersonation.IsAskedFor(context.Request)
                ? await impersonation.ApplyAsync(context, real, context.RequestAborted)
                : real;
            info = ParseInfo(context.Request);
            // (5)
            if (!caller.IsMaster)
                await AuthorizeAsync(caller, info, context.RequestAborted);
            await DispatchAsync(context, info, caller);
        }
        catch (Exception error)
        {
            // (2)
            if (error is StatusException { Status.Code: 401 } && PageOf(context.Request.Path) is not null)
                BrowserLogin.Ask(context);
            await AnswerErrorAsync(context, error);
        }
        metrics.Count(info, context.Response.StatusCode, time.GetElapsedTime(begun));
    }

    private async ValueTask DispatchAsync(HttpContext context, RequestInfo info, Caller caller)
    {
        // (6) (7)
        var lasts = info.Verb == Verbs.Watch || PodStreamHandler.Serves(info);
        ApiTelemetry.Describe(info, lasts);
        if (!info.IsResource)
        {
            await HandlePathAsync(context, info.Path);
            return;
        }
        if (lasts)
        {
            metrics.Lasts(info, 1);
            try
            {
                await RunUnlimitedAsync(context, info, caller);
            }
            finally
            {
                metrics.Lasts(info, -1);
            }
            return;
        }
        metrics.Begin(info);
        try
        {
            await RunLimitedAsync(context, info, caller);
        }
        finally
        {
            metrics.End(info);
        }
    }

    private async ValueTask RunLimitedAsync(HttpContext context, RequestInfo info, Caller caller)
    {
        if (info.Verb is Verbs.Get or Verbs.List)
        {
            // A read waits for the cache alone, which has a limit of its own: no timer for the most frequent request.
            await HandleResourceAsync(new ApiRequest(context, info, caller, context.RequestAborted));
            return;
        }
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        using var timer = time.CreateTimer(static state => ((CancellationTokenSource)state!).Cancel(), limit, RequestTimeout, Timeout.InfiniteTimeSpan);
        try
        {
            await HandleResourceAsync(new ApiRequest(context, info, caller, limit.Token));
        }
        catch (OperationCanceledException) when (!context.RequestAborted.IsCancellationRequested)
        {
            throw new StatusException(StatusError.Timeout("Timeout: request did not complete within the allotted timeout"));
        }
    }

    /// <summary>
    /// Watches and streams last until they end by themselves, the client goes away, or the server stops: then they end at once and whole, or a
    /// shutdown would wait for them.
    /// </summary>
    private async ValueTask RunUnlimitedAsync(HttpContext context, RequestInfo info, Caller caller)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, shutdown.Ending);
        var request = new ApiRequest(context, info, caller, ending.Token);
        try
        {
            if (info.Verb == Verbs.Watch)
            {
                Require(info, Verbs.Watch);
                await watches.WatchAsync(request);
            }
            else
            {
                RequireSubresource(info);
                await streams.HandleAsync(request);
            }
        }
        catch (OperationCanceledException) when (shutdown.Ending.IsCancellationRequested && context.Response.HasStarted)
        {
            // A clean end: the client comes back from the last revision it has seen.
        }
    }

    private async ValueTask HandlePathAsync(HttpContext context, string path)
    {
        if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method))
            throw new StatusException(StatusError.MethodNotAllowed());
        if (HealthChecks.IsHealthPath(path))
            await HealthHandler.HandleAsync(context, health);
        else if (path == "/metrics" && Metrics is { } page)
            await page.HandleAsync(context);
        else if (PageOf(path) is { } pages)
            await pages.HandleAsync(context);
        else if (!await discovery.TryHandleAsync(context, path) && !await openApi.TryHandleAsync(context, path))
            throw new StatusException(StatusError.NoSuchPath());
    }

    private IProtectedPages? PageOf(PathString path)
    {
        foreach (var page in _pages)
        {
            if (path.StartsWithSegments(page.Path, StringComparison.Ordinal))
                return page;
        }
        return null;
    }

    private ValueTask HandleResourceAsync(ApiRequest request)
    {
        var info = request.Info;
        if (info.Definition is null)
        {
            if (VirtualResource.Find(info.Group, info.Version, info.Resource) is not { } review)
                throw new StatusException(StatusError.NoSuchPath());
            if (info.Verb != Verbs.Create || info.Name.Length > 0)
                throw new StatusException(MethodNotAllowed(info.Verb, info.Resource, info.Group));
            return review.Plural == "bindings" ? podWrites.BindAsync(request) : reviews.HandleAsync(request, review);
        }
        if (!info.Definition.Namespaced && info.Namespace.Length > 0)
            throw new StatusException(StatusError.NoSuchPath());
        // An object or a creation in a namespaced resource needs the namespace in the path; only collections may span all.
        if (info.Definition.Namespaced && info.Namespace.Length == 0 && (info.Verb is Verbs.Create || IsObject(info)))
            throw new StatusException(info.Verb == Verbs.Create ? MethodNotAllowed(info.Verb, info.Resource, info.Group) : StatusError.NoSuchPath());
        if (info.Subresource.Length > 0)
            return HandleSubresourceAsync(request);

        switch (info.Verb)
        {
            case Verbs.Get:
                Require(info, Verbs.Get);
                return reads.GetAsync(request);
            case Verbs.List:
                Require(info, Verbs.List);
                return reads.ListAsync(request);
            case Verbs.Create when info.Name.Length == 0:
                Require(info, Verbs.Create);
                return writes.CreateAsync(request);
            case Verbs.Update when info.Name.Length > 0:
                Require(info, Verbs.Update);
                return writes.UpdateAsync(request);
            case Verbs.Patch when info.Name.Length > 0:
                Require(info, Verbs.Patch);
                return writes.PatchAsync(request);
            case Verbs.Delete:
                Require(info, Verbs.Delete);
                return writes.DeleteAsync(request);
            case Verbs.DeleteCollection:
                Require(info, Verbs.DeleteCollection);
                return collections.HandleAsync(request);
            default:
                throw new StatusException(MethodNotAllowed(info.Verb, info.Resource, info.Group));
        }
    }

    private ValueTask HandleSubresourceAsync(ApiRequest request)
    {
        var info = request.Info;
        RequireSubresource(info);
        return (info.Subresource, info.Verb) switch
        {
            ("binding", Verbs.Create) => podWrites.BindAsync(request),
            ("eviction", Verbs.Create) => podWrites.EvictAsync(request),
            (_, Verbs.Get) => reads.GetAsync(request),
            (_, Verbs.Update) => writes.UpdateAsync(request),
            (_, Verbs.Patch) => writes.PatchAsync(request),
            _ => throw new StatusException(MethodNotAllowed(info.Verb, info.Resource, info.Group)),
        };
    }

    private RequestInfo ParseInfo(HttpRequest request)
    {
        var watch = false;
        var name = "";
        if (request.QueryString.HasValue && (HttpMethods.IsGet(request.Method) || HttpMethods.IsDelete(request.Method)))
        {
            watch = QueryValues.Flag(request.Query, "watch") ?? false;
            // A list narrowed to one name is authorized as a request for that name.
            var selector = QueryValues.Text(request.Query, "fieldSelector");
            if (selector.StartsWith("metadata.name=", StringComparison.Ordinal) && !selector.Contains(',', StringComparison.Ordinal))
                name = selector["metadata.name=".Length..].TrimStart('=');
        }
        return RequestInfoParser.Parse(registry, request.Method, request.Path.Value ?? "/", watch, name);
    }

    private async ValueTask AuthorizeAsync(Caller caller, RequestInfo info, CancellationToken cancellationToken)
    {
        var access = info.IsResource
            ? new AccessAttributes(info.Verb, info.Group, info.ResourceAndSubresource, info.AuthorizationNamespace, info.Name)
            : AccessAttributes.ForPath(info.Verb, info.Path);
        if (!(await authorizer.AuthorizeAsync(caller.User, access, cancellationToken)).Allowed)
            throw new StatusException(AccessDenied.For(caller.User, access));
    }

    private async ValueTask AnswerErrorAsync(HttpContext context, Exception error)
    {
        if (context.RequestAborted.IsCancellationRequested)
        {
            Log.ClientGone(logger, context.Request.Path);
            return;
        }
        var status = error switch
        {
            StatusException known => known.Status,
            ExpiredPageException expired => expired.Status,
            BadHttpRequestException bad => new StatusError(bad.StatusCode, bad.StatusCode == 413 ? "RequestEntityTooLarge" : "BadRequest", bad.Message),
            Storage.StoreUnavailableException => StatusError.ServiceUnavailable("the store does not answer"),
            TimeoutException => StatusError.Timeout("Timeout: a part of the cluster did not answer in time"),
            Orleans.Runtime.OrleansException => StatusError.ServiceUnavailable("no silo can take the request now"),
            _ => null,
        };
        if (error is Orleans.Runtime.OrleansException)
            Log.NoSilo(logger, context.Request.Method, context.Request.Path, error);
        if (status is null)
        {
            if (error is not SlowClientException)
                Log.OurBug(logger, error, context.Request.Method, context.Request.Path);
            status = StatusError.InternalError("an unexpected error; the server's log tells more");
        }
        if (context.Response.HasStarted)
        {
            // A cut answer must not look whole.
            context.Abort();
            return;
        }
        context.Response.Headers.ContentEncoding = default;
        context.Response.ContentLength = null;
        if (error is ExpiredPageException page)
        {
            var body = status.ToJson();
            body["metadata"]!["continue"] = page.ContinueToken;
            await Replies.WriteAsync(context, status.Code, body);
            return;
        }
        await Replies.WriteErrorAsync(context, status);
    }

    private string AuditId(HttpRequest request)
    {
        var sent = request.Headers["Audit-Id"].ToString();
        const int MaxLength = 64;
        return sent.Length is > 0 and <= MaxLength && sent.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') ? sent : newId().ToString();
    }

    private static void Require(RequestInfo info, string verb)
    {
        var definition = info.Definition ?? throw new StatusException(StatusError.NoSuchPath());
        if (info.Subresource.Length > 0 && verb == Verbs.Watch)
            throw new StatusException(StatusError.NoSuchPath());
        foreach (var known in definition.Verbs)
        {
            if (known == verb)
                return;
        }
        throw new StatusException(MethodNotAllowed(verb, info.Resource, info.Group));
    }

    private static void RequireSubresource(RequestInfo info)
    {
        var definition = info.Definition ?? throw new StatusException(StatusError.NoSuchPath());
        foreach (var subresource in definition.Subresources)
        {
            if (subresource.Name != info.Subresource)
                continue;
            if (subresource.Verbs.Contains(info.Verb, StringComparer.Ordinal))
                return;
            throw new StatusException(MethodNotAllowed(info.Verb, $"{info.Resource}/{info.Subresource}", info.Group));
        }
        throw new StatusException(StatusError.NoSuchPath());
    }

    private static bool IsObject(RequestInfo info) => info.Verb is Verbs.Get or Verbs.Update or Verbs.Patch or Verbs.Delete;

    private static StatusError MethodNotAllowed(string verb, string resource, string group) =>
        verb.Length == 0
            ? StatusError.MethodNotAllowed()
            : new StatusError(405, "MethodNotAllowed", $"{verb} is not supported on resources of kind \"{(group.Length == 0 ? resource : $"{resource}.{group}")}\"")
            {
                Group = group.Length == 0 ? null : group,
                Kind = resource,
            };

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Debug, "The client of {Path} went away")]
        public static partial void ClientGone(ILogger logger, string path);

        [LoggerMessage(LogLevel.Warning, "{Method} {Path}: no silo took the request")]
        public static partial void NoSilo(ILogger logger, string method, string path, Exception error);

        [LoggerMessage(LogLevel.Error, "Bug: {Method} {Path} met an unexpected error")]
        public static partial void OurBug(ILogger logger, Exception error, string method, string path);
    }
}
