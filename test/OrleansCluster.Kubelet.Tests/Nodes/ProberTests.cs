using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Probes;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Tests.Support;

namespace OrleansCluster.Kubelet.Tests.Nodes;

public sealed class ProberTests : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly HollowRuntime _runtime = new(new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.244.1.0/24") }, TimeProvider.System);
    private readonly Prober _prober;

    public ProberTests()
    {
        _listener.Start();
        _prober = new Prober(_runtime, TimeProvider.System);
    }

    private int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        _prober.Dispose();
        await _runtime.DisposeAsync();
    }

    private Task<ProbeResult> ProbeAsync(JsonObject probe)
    {
        var container = PodJsonBuilder.Container("c").With("livenessProbe", probe)
            .With("ports", new JsonArray(new JsonObject { ["name"] = "web", ["containerPort"] = Port }));
        var pod = PodJsonBuilder.Pod(containers: container).Parse();
        var spec = pod.Spec.Containers[0];
        return _prober.ProbeAsync(new ProbeTarget(pod, spec, "id", "127.0.0.1"), spec.LivenessProbe!, Stop);
    }

    /// <summary>Answers one request; returns what was asked.</summary>
    private async Task<string> AnswerAsync(string response)
    {
        using var client = await _listener.AcceptTcpClientAsync(Stop);
        var stream = client.GetStream();
        var buffer = new byte[4096];
        var length = await stream.ReadAsync(buffer, Stop);
        await stream.WriteAsync(Encoding.ASCII.GetBytes(response), Stop);
        return Encoding.ASCII.GetString(buffer, 0, length);
    }

    [Theory]
    [InlineData(200, true, "")]
    [InlineData(204, true, "")]
    [InlineData(302, true, "")]
    [InlineData(404, false, "HTTP probe failed with statuscode: 404")]
    [InlineData(500, false, "HTTP probe failed with statuscode: 500")]
    public async Task Http_passes_from_200_to_399(int code, bool success, string output)
    {
        var answered = AnswerAsync($"HTTP/1.1 {code} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        var result = await ProbeAsync(new JsonObject
        {
            ["httpGet"] = new JsonObject
            {
                ["path"] = "/health",
                ["port"] = "web",
                ["httpHeaders"] = new JsonArray(new JsonObject { ["name"] = "X-Who", ["value"] = "me" }, new JsonObject { ["name"] = "Host", ["value"] = "example.com" }),
            },
        });
        var request = await answered;
        Assert.Equal((success, output), (result.Success, result.Output));
        Assert.StartsWith("GET /health HTTP/1.1\r\n", request, StringComparison.Ordinal);
        Assert.Contains("X-Who: me\r\n", request, StringComparison.Ordinal);
        Assert.Contains("Host: example.com\r\n", request, StringComparison.Ordinal);
        Assert.Contains("User-Agent: kube-probe/", request, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Silence_is_a_timeout_in_the_words_users_know()
    {
        var result = await ProbeAsync(new JsonObject { ["httpGet"] = new JsonObject { ["port"] = Port }, ["timeoutSeconds"] = 1 });
        Assert.False(result.Success);
        Assert.Equal($"Get \"http://127.0.0.1:{Port}/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)", result.Output);
    }

    [Fact]
    public async Task Refused_connection_fails_http_and_tcp()
    {
        var port = Port;
        Assert.True((await ProbeAsync(new JsonObject { ["tcpSocket"] = new JsonObject { ["port"] = port } })).Success);
        _listener.Stop();
        var probe = new JsonObject { ["httpGet"] = new JsonObject { ["port"] = port.ToString(CultureInfo.InvariantCulture) } };
        var container = PodJsonBuilder.Container("c").With("livenessProbe", probe);
        var pod = PodJsonBuilder.Pod(containers: container).Parse();
        var target = new ProbeTarget(pod, pod.Spec.Containers[0], "id", "127.0.0.1");
        var http = await _prober.ProbeAsync(target, pod.Spec.Containers[0].LivenessProbe!, Stop);
        Assert.Equal($"Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused", http.Output);
        var tcp = await _prober.ProbeAsync(target, new Probe { TcpSocket = new TcpSocketAction { Port = JsonSerializer.SerializeToElement(port) } }, Stop);
        Assert.Equal((false, $"dial tcp 127.0.0.1:{port}: connect: connection refused"), (tcp.Success, tcp.Output));
    }

    [Fact]
    public async Task What_cannot_be_run_counts_neither_way()
    {
        Assert.True((await ProbeAsync(new JsonObject { ["tcpSocket"] = new JsonObject { ["port"] = "none" } })).Errored);
        Assert.True((await ProbeAsync(new JsonObject { ["grpc"] = new JsonObject { ["port"] = 1 } })).Errored);
    }
}
