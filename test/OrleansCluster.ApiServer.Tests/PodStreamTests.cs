using System.Net;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace OrleansCluster.ApiServer.Tests;

/// <summary>Logs, exec and port-forward on their way to a node agent, which here only tells what it was asked.</summary>
public sealed class PodStreamTests(TestCluster cluster) : KubernetesTest(cluster)
{
    [Fact]
    public async Task Logs_come_from_the_agent_of_the_pods_node_by_our_own_certificate()
    {
        await using var agent = await Agent.StartAsync(Cluster, "127.0.0.1");
        var (ns, pod) = await PodOnAsync(agent, """[{"name":"c","image":"i"}]""");
        var answer = await GetAsync($"/api/v1/namespaces/{ns}/pods/{pod}/log?tailLines=5&follow=true");
        Assert.Equal(200, answer.Code);
        Assert.Equal("text/plain", answer.ContentType);
        var asked = JsonNode.Parse(answer.Text)!;
        Assert.Equal($"/{agent.Node}/containerLogs/{ns}/{pod}/c", (string)asked["path"]!);
        Assert.Equal("?tailLines=5&follow=true", (string)asked["query"]!);
        Assert.Contains("CN=kube-apiserver-kubelet-client", (string)asked["client"]!, StringComparison.Ordinal);
        Assert.Equal("", (string)asked["authorization"]!);
    }

    [Fact]
    public async Task Exec_is_upgraded_through_to_the_agent()
    {
        await using var agent = await Agent.StartAsync(Cluster, "127.0.0.1");
        var (ns, pod) = await PodOnAsync(agent, """[{"name":"a","image":"i"},{"name":"b","image":"i"}]""");
        using var socket = new ClientWebSocket();
        socket.Options.AddSubProtocol("v5.channel.k8s.io");
        socket.Options.SetRequestHeader("Authorization", "Bearer " + Cluster.AdminToken);
        socket.Options.RemoteCertificateValidationCallback = (_, _, _, _) => true;
        await socket.ConnectAsync(new Uri($"wss://{Cluster.Url.Authority}/api/v1/namespaces/{ns}/pods/{pod}/exec?command=ls&container=b&stdout=1"), Token);
        Assert.Equal("v5.channel.k8s.io", socket.SubProtocol);
        var buffer = new byte[1024];
        var message = await socket.ReceiveAsync(buffer, Token);
        Assert.Equal($"/{agent.Node}/exec/{ns}/{pod}/b?command=ls&container=b&stdout=1", Encoding.UTF8.GetString(buffer, 0, message.Count));
        await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Binary, true, Token);
        message = await socket.ReceiveAsync(buffer, Token);
        Assert.Equal("hello", Encoding.UTF8.GetString(buffer, 0, message.Count));
        await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", Token);
    }

    [Fact]
    public async Task Wrong_containers_options_and_pods_are_refused_before_the_agent_is_asked()
    {
        var ns = await NewNamespaceAsync();
        await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            """{"metadata":{"name":"p"},"spec":{"schedulerName":"nobody","containers":[{"name":"a","image":"i"},{"name":"b","image":"i"}]}}""");
        var root = $"/api/v1/namespaces/{ns}/pods/p";
        Assert.Equal("a container name must be specified for pod p, choose one of: [a b]", (await GetAsync(root + "/log")).Message);
        Assert.Equal("container x is not valid for pod p", (await GetAsync(root + "/log?container=x")).Message);
        Assert.Equal(422, (await GetAsync(root + "/log?container=a&tailLines=-1")).Code);
        Assert.Equal("pod p does not have a host assigned", (await GetAsync(root + "/exec?container=a&stdout=1&command=ls")).Message);
        var none = await GetAsync(root + "/log?container=a");
        Assert.Equal((200, ""), (none.Code, none.Text));
        Assert.Equal(404, (await GetAsync($"/api/v1/namespaces/{ns}/pods/absent/log")).Code);
    }

    [Fact]
    public async Task An_agent_that_does_not_answer_or_is_somebody_else_is_a_500_that_says_so()
    {
        var agent = await Agent.StartAsync(Cluster, "127.0.0.1");
        var (ns, pod) = await PodOnAsync(agent, """[{"name":"c","image":"i"}]""");
        await agent.DisposeAsync();
        var gone = await GetAsync($"/api/v1/namespaces/{ns}/pods/{pod}/log");
        Assert.Equal(500, gone.Code);
        Assert.Contains("error dialing backend", gone.Message, StringComparison.Ordinal);

        var folder = Directory.CreateTempSubdirectory("other-pki-").FullName;
        using var other = ClusterPki.Open(folder, TimeProvider.System);
        await using var impostor = await Agent.StartAsync(Cluster, "127.0.0.1", other);
        (ns, pod) = await PodOnAsync(impostor, """[{"name":"c","image":"i"}]""");
        Assert.Equal(500, (await GetAsync($"/api/v1/namespaces/{ns}/pods/{pod}/log")).Code);
        Assert.Equal(0, impostor.Requests);
        Directory.Delete(folder, recursive: true);
    }

    private async Task<(string Namespace, string Pod)> PodOnAsync(Agent agent, string containers)
    {
        var ns = await NewNamespaceAsync();
        var node = await SendAsync(Admin, HttpMethod.Post, "/api/v1/nodes", $$"""{"metadata":{"name":"{{agent.Node}}"} }""");
        Assert.Equal(201, node.Code);
        var status = await SendAsync(Admin, HttpMethod.Patch, $"/api/v1/nodes/{agent.Node}/status",
            $$$"""{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":{{{agent.Port}}}} } } }""",
            "application/merge-patch+json");
        Assert.Equal(200, status.Code);
        var pod = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            $$"""{"metadata":{"name":"p"},"spec":{"nodeName":"{{agent.Node}}","containers":{{containers}}} }""");
        Assert.True(pod.Code == 201, pod.Text);
        return (ns, "p");
    }

    private sealed class Agent : IAsyncDisposable
    {
        private readonly WebApplication _app;

        private Agent(WebApplication app) => _app = app;

        public string Node { get; } = "node-" + Guid.NewGuid().ToString("N")[..8];

        public int Port { get; private set; }

        public int Requests { get; private set; }

        public static async Task<Agent> StartAsync(TestCluster cluster, string host, ClusterPki? pki = null)
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.UseKestrelHttpsConfiguration();
            var certificate = (pki ?? cluster.Pki).NodeServingCertificate("agent", [host]);
            builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(https =>
            {
                https.ServerCertificate = certificate;
                https.ClientCertificateMode = ClientCertificateMode.RequireCertificate;
                https.ClientCertificateValidation = (client, _, _) => cluster.Pki.Issued(client);
            })));
            var app = builder.Build();
            var agent = new Agent(app);
            app.UseWebSockets();
            app.Run(agent.HandleAsync);
            await app.StartAsync(Token);
            agent.Port = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Port;
            return agent;
        }

        public ValueTask DisposeAsync() => _app.DisposeAsync();

        private async Task HandleAsync(HttpContext context)
        {
            Requests++;
            if (context.WebSockets.IsWebSocketRequest)
            {
                using var socket = await context.WebSockets.AcceptWebSocketAsync("v5.channel.k8s.io");
                await socket.SendAsync(Encoding.UTF8.GetBytes(context.Request.Path + context.Request.QueryString), WebSocketMessageType.Binary, true, Token);
                var buffer = new byte[1024];
                var message = await socket.ReceiveAsync(buffer, Token);
                await socket.SendAsync(buffer.AsMemory(0, message.Count), WebSocketMessageType.Binary, true, Token);
                await socket.ReceiveAsync(buffer, Token);
                await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", Token);
                return;
            }
            context.Response.ContentType = "text/plain";
            await context.Response.WriteAsync(new JsonObject
            {
                ["path"] = context.Request.Path.Value,
                ["query"] = context.Request.QueryString.Value,
                ["client"] = context.Connection.ClientCertificate!.Subject,
                ["authorization"] = context.Request.Headers.Authorization.ToString(),
            }.ToJsonString(new System.Text.Json.JsonSerializerOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }), Token);
        }
    }
}
