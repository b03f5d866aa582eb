using System.Net;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Streaming;

namespace OrleansCluster.Kubelet.Tests.Streaming;

/// <summary>Errors and answers that need no engine.</summary>
public sealed class EndpointTests : IAsyncLifetime
{
    private readonly HollowRuntime _runtime = new(new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.244.1.0/24") }, TimeProvider.System);
    private readonly HttpClient _http = new();
    private StreamingServer? _server;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _server = await StreamingServer.StartAsync();
        _http.BaseAddress = _server.Address;
        var pod = new PodIdentity("default", "p", "u");
        var sandbox = await _runtime.CreateSandboxAsync(new SandboxSpec { Pod = pod, Hostname = "p" }, Stop);
        await _runtime.StartSandboxAsync(sandbox.Id, Stop);
        var id = await _runtime.CreateContainerAsync(sandbox.Id, new ContainerSpec { Pod = pod, Name = "app", Image = "busybox" }, Stop);
        await _runtime.StartContainerAsync(id, Stop);
        _server.Add("default", "p", new PodStreams(_runtime, sandbox.Id,
        [
            new PodContainerStreams("app", id, PreviousContainerId: null, Running: true, WaitingReason: null),
            new PodContainerStreams("slow", ContainerId: null, PreviousContainerId: null, Running: false, "ImagePullBackOff"),
        ]));
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server!.DisposeAsync();
    }

    [Theory]
    [InlineData("/n1/containerLogs/default/none/app", 404, "pods \"none\" not found")]
    [InlineData("/n2/containerLogs/default/p/app", 404, "pods \"p\" not found")]
    [InlineData("/n1/containerLogs/default/p/x", 400, "container x is not valid for pod p")]
    [InlineData("/n1/containerLogs/default/p/slow", 400, "container \"slow\" in pod \"p\" is waiting to start: ImagePullBackOff")]
    [InlineData("/n1/containerLogs/default/p/app?previous=true", 400, "previous terminated container \"app\" in pod \"p\" not found")]
    [InlineData("/n1/containerLogs/default/p/app?tailLines=-1", 400, "tailLines: Invalid value: \"-1\": must be greater than or equal to 0")]
    [InlineData("/n1/containerLogs/default/p/app?sinceTime=never", 400, "sinceTime: invalid time never")]
    [InlineData("/n1/exec/default/p/app?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr")]
    [InlineData("/n1/exec/default/p/app?stdout=1", 400, "you must specify at least one command for the container")]
    [InlineData("/n1/exec/default/p/app?stdout=1&command=ls", 400, "Upgrade request required")]
    [InlineData("/n1/exec/default/p/slow?stdout=1&command=ls", 400, "container slow of pod p is not running")]
    [InlineData("/n1/portForward/default/p", 400, "Upgrade request required")]
    public async Task Bad_requests_get_a_status(string path, int code, string message)
    {
        using var answer = await _http.GetAsync(path, Stop);
        Assert.Equal(code, (int)answer.StatusCode);
        var status = await answer.Content.ReadFromJsonAsync<JsonObject>(Stop);
        Assert.Equal("Status", (string?)status!["kind"]);
        Assert.Equal(message, (string?)status["message"]);
        Assert.Equal(code, (int?)status["code"]);
    }

    [Fact]
    public async Task Log_is_plain_text()
    {
        using var answer = await _http.GetAsync("/n1/containerLogs/default/p/app", Stop);
        Assert.Equal("text/plain", answer.Content.Headers.ContentType?.MediaType);
        Assert.Equal(HollowRuntime.LogLine, await answer.Content.ReadAsStringAsync(Stop));
    }

    [Theory]
    [InlineData("v5.channel.k8s.io", "InternalError")]
    [InlineData("v4.channel.k8s.io", "InternalError")]
    [InlineData("channel.k8s.io", null)]
    public async Task Exec_that_cannot_run_sends_its_error_on_channel_3_and_closes(string protocol, string? reason)
    {
        using var socket = new ClientWebSocket();
        socket.Options.AddSubProtocol("unknown.k8s.io");
        socket.Options.AddSubProtocol(protocol);
        await socket.ConnectAsync(new UriBuilder(new Uri(_server!.Address, "/n1/exec/default/p/app?stdout=1&command=ls")) { Scheme = "ws" }.Uri, Stop);
        Assert.Equal(protocol, socket.SubProtocol);
        var (channel, text) = await ReceiveAsync(socket);
        Assert.Equal(3, channel);
        Assert.Contains("simulated", text, StringComparison.Ordinal);
        if (reason is not null)
        {
            Assert.Equal(reason, (string?)JsonNode.Parse(text)!["reason"]);
        }

        var end = await socket.ReceiveAsync(new byte[10].AsMemory(), Stop);
        Assert.Equal(WebSocketMessageType.Close, end.MessageType);
        Assert.Equal(WebSocketCloseStatus.NormalClosure, socket.CloseStatus);
    }

    [Fact]
    public async Task Unknown_protocol_is_refused()
    {
        using var socket = new ClientWebSocket();
        socket.Options.AddSubProtocol("unknown.k8s.io");
        socket.Options.CollectHttpResponseDetails = true;
        await Assert.ThrowsAsync<WebSocketException>(
            () => socket.ConnectAsync(new UriBuilder(new Uri(_server!.Address, "/n1/exec/default/p/app?stdout=1&command=ls")) { Scheme = "ws" }.Uri, Stop));
        Assert.Equal(HttpStatusCode.BadRequest, socket.HttpStatusCode);
    }

    [Fact]
    public void Spdy_dictionary_is_the_drafts()
    {
        Assert.Equal(1423, SpdyHeaders.Dictionary.Length);
        uint a = 1, b = 0;
        foreach (var value in SpdyHeaders.Dictionary)
        {
            a = (a + value) % 65521;
            b = (b + a) % 65521;
        }

        Assert.Equal(0xe3c6a7c2, (b << 16) | a);
    }

    private static async Task<(int Channel, string Text)> ReceiveAsync(ClientWebSocket socket)
    {
        var buffer = new byte[4096];
        var length = 0;
        ValueWebSocketReceiveResult received;
        do
        {
            received = await socket.ReceiveAsync(buffer.AsMemory(length), Stop);
            length += received.Count;
        }
        while (!received.EndOfMessage);
        return (buffer[0], Encoding.UTF8.GetString(buffer, 1, length - 1));
    }
}
