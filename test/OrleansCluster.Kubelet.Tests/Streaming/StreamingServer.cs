using System.Net;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Kubelet.Streaming;

namespace OrleansCluster.Kubelet.Tests.Streaming;

/// <summary>
/// The kubelet's endpoints on a real server, and in front of them as much of an API server as kubectl asks for: the pod, and the subresources by their
/// public paths.
/// </summary>
internal sealed class StreamingServer : IPodContainers, IAsyncDisposable
{
    public const string Node = "n1";

    private static readonly Dictionary<string, string> Discovery = new(StringComparer.Ordinal)
    {
        ["/version"] = """{"major":"1","minor":"32","gitVersion":"v1.32.0"}""",
        ["/api"] = """{"kind":"APIVersions","versions":["v1"]}""",
        ["/apis"] = """{"kind":"APIGroupList","apiVersion":"v1","groups":[]}""",
        ["/api/v1"] = """
            {"kind":"APIResourceList","groupVersion":"v1","resources":[
            {"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"],"shortNames":["po"]}]}
            """,
    };

    private readonly WebApplication _app;
    private readonly Dictionary<string, PodStreams> _pods = new(StringComparer.Ordinal);

    private StreamingServer(WebApplication app)
    {
        _app = app;
    }

    public Uri Address => new(_app.Urls.First());

    public static async Task<StreamingServer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http1));
        var app = builder.Build();
        var server = new StreamingServer(app);
        app.Use(server.RewriteAsync);
        app.UseRouting();
        new KubeletEndpoints(server, TimeProvider.System, NullLogger<KubeletEndpoints>.Instance).Map(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return server;
    }

    public void Add(string podNamespace, string pod, PodStreams streams) => _pods[$"{podNamespace}/{pod}"] = streams;

    public PodStreams? Find(string nodeName, string podNamespace, string podName) =>
        nodeName == Node ? _pods.GetValueOrDefault($"{podNamespace}/{podName}") : null;

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private async Task RewriteAsync(HttpContext context, RequestDelegate next)
    {
        // api/v1/namespaces/NS/pods/POD[/SUBRESOURCE]
        var parts = context.Request.Path.Value!.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts is ["api", "v1", "namespaces", var podNamespace, "pods", var pod, ..])
        {
            if (parts.Length == 6)
            {
                await context.Response.WriteAsJsonAsync(Describe(podNamespace, pod));
                return;
            }

            var container = context.Request.Query["container"].ToString() is { Length: > 0 } named ? named : "app";
            context.Request.Path = parts[6] switch
            {
                "log" => $"/{Node}/containerLogs/{podNamespace}/{pod}/{container}",
                "portforward" => $"/{Node}/portForward/{podNamespace}/{pod}",
                var verb => $"/{Node}/{verb}/{podNamespace}/{pod}/{container}",
            };
        }

        if (Discovery.TryGetValue(context.Request.Path.Value!, out var document))
        {
            context.Response.ContentType = "application/json";
            await context.Response.WriteAsync(document);
            return;
        }

        await next(context);
    }

    private JsonObject Describe(string podNamespace, string pod) => new()
    {
        ["kind"] = "Pod",
        ["apiVersion"] = "v1",
        ["metadata"] = new JsonObject { ["name"] = pod, ["namespace"] = podNamespace, ["uid"] = "u" },
        ["spec"] = new JsonObject
        {
            ["nodeName"] = Node,
            ["containers"] = new JsonArray(
                new JsonObject
                {
                    ["name"] = "app",
                    ["image"] = "busybox",
                    ["stdin"] = true,
                    ["tty"] = _pods[$"{podNamespace}/{pod}"].Containers[0].Tty,
                    ["ports"] = new JsonArray(new JsonObject { ["containerPort"] = 8080 }),
                }),
        },
        ["status"] = new JsonObject
        {
            ["phase"] = "Running",
            ["containerStatuses"] = new JsonArray(
                new JsonObject { ["name"] = "app", ["ready"] = true, ["state"] = new JsonObject { ["running"] = new JsonObject() } }),
        },
    };
}
