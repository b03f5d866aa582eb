using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer.Tests;

/// <summary>What no client of good will sends. Every answer is a Status that blames the request.</summary>
public sealed class HostileInputTests(TestCluster cluster) : KubernetesTest(cluster)
{
    public static TheoryData<string> TextsThatAreNone =>
    [
        """{"metadata":{"name":"\ud800"}}""",
        """{"metadata":{"name":"x","annotations":{"a":"\udc00x"}}}""",
        """{"kind":"\udc00"}""",
        """{"\ud800":1,"metadata":{"name":"x"}}""",
        "{\"metadata\":{\"name\":\"a\u00ff\"}}",
        "{\"apiVersion\":\"\u00ff\"}",
    ];

    [Theory]
    [MemberData(nameof(TextsThatAreNone))]
    public async Task Half_characters_and_bytes_that_are_no_text_are_a_400_on_every_verb(string latin1)
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "x");
        var maps = $"/api/v1/namespaces/{ns}/configmaps";
        await SendPodAsync(ns, "p");
        foreach (var (method, path, type) in ((string, string, string)[])
                 [
                     ("POST", maps, "application/json"), ("PUT", maps + "/x", "application/json"), ("DELETE", maps + "/x", "application/json"),
                     ("PATCH", maps + "/x", "application/merge-patch+json"), ("PATCH", maps + "/x", "application/strategic-merge-patch+json"),
                     ("POST", $"/api/v1/namespaces/{ns}/pods/p/binding", "application/json"),
                     ("POST", $"/api/v1/namespaces/{ns}/pods/p/eviction", "application/json"),
                     ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json"),
                     ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "application/json"),
                 ])
        {
            using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = new ByteArrayContent(Encoding.Latin1.GetBytes(latin1)) };
            request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
            using var response = await Admin.SendAsync(request, Token);
            var text = await response.Content.ReadAsStringAsync(Token);
            // The name is looked up first: an object that is there already is reason enough.
            Assert.True((int)response.StatusCode is 400 or 422 or 409, $"{method} {path}: {text}");
            Assert.Equal("Status", (string)JsonNode.Parse(text)!["kind"]!);
        }
        Assert.Equal(200, (await GetAsync(maps + "/x")).Code);
    }

    [Theory]
    [InlineData("Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nabc", "400")]
    [InlineData("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "400")]
    [InlineData("Content-Length: 4000000\r\n\r\n{", "413")]
    public async Task Broken_framing_is_the_clients_fault(string rest, string code)
    {
        var answer = await RawAsync($"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {Cluster.AdminToken}\r\n{rest}");
        Assert.StartsWith("HTTP/1.1 " + code, answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_command_or_selector_of_100_kilobytes_gets_through()
    {
        Assert.Equal(200, (await GetAsync("/api/v1/pods?labelSelector=a+in+(" + string.Join(",", Enumerable.Range(0, 12_000).Select(i => "v" + i)) + ")")).Code);
    }

    [Theory]
    [InlineData("""{"deleteOptions":1}""", 400)]
    [InlineData("""{"deleteOptions":[]}""", 400)]
    [InlineData("""{"deleteOptions":{"dryRun":"All"}}""", 400)]
    [InlineData("""{"deleteOptions":{"dryRun":["x"]}}""", 422)]
    [InlineData("""{"deleteOptions":{"dryRun":["All",null]}}""", 422)]
    [InlineData("""{"deleteOptions":{"gracePeriodSeconds":"1"}}""", 400)]
    [InlineData("""{"deleteOptions":{"preconditions":{"uid":"other"}}}""", 409)]
    [InlineData("""{"metadata":{"name":"other"}}""", 400)]
    [InlineData("""{"metadata":{"namespace":"other"}}""", 400)]
    public async Task An_eviction_that_is_none_leaves_the_pod(string body, int code)
    {
        var ns = await NewNamespaceAsync();
        await SendPodAsync(ns, "p");
        var answer = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods/p/eviction", body);
        Assert.Equal(code, answer.Code);
        Assert.Null((await GetAsync($"/api/v1/namespaces/{ns}/pods/p")).Json["metadata"]!["deletionTimestamp"]);
    }

    [Theory]
    [InlineData("""{"addresses":[{"address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":1}}}""")]
    [InlineData("""{"addresses":[{"type":"InternalIP","address":"evil.example/?"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":1}}}""")]
    [InlineData("""{"addresses":[{"type":"InternalIP","address":"user@127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":1}}}""")]
    [InlineData("""{"addresses":[],"daemonEndpoints":{"kubeletEndpoint":{"Port":99999}}}""")]
    public async Task What_a_node_says_of_itself_leads_to_no_other_place(string status)
    {
        var ns = await NewNamespaceAsync();
        var node = ns + "-node";
        await SendAsync(Admin, HttpMethod.Post, "/api/v1/nodes", $$$"""{"metadata":{"name":"{{{node}}}"}}""");
        await SendAsync(Admin, HttpMethod.Patch, $"/api/v1/nodes/{node}/status", $$"""{"status":{{status}}}""", "application/merge-patch+json");
        await SendPodAsync(ns, "p", $"\"nodeName\":\"{node}\",");
        var answer = await GetAsync($"/api/v1/namespaces/{ns}/pods/p/log");
        Assert.True(answer.Code is 503 or 500, answer.Text);
        Assert.DoesNotContain("unexpected error", answer.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("evil", answer.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Refusals_carry_what_kubectl_looks_for()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "x");
        // kubectl debug reads details.name of the 404 for a subresource that is not served.
        var missing = await SendAsync(Admin, HttpMethod.Patch, $"/api/v1/namespaces/{ns}/pods/p/nonsense", "{}", "application/strategic-merge-patch+json");
        Assert.Equal(404, missing.Code);
        Assert.Equal("{}", missing.Json["details"]!.ToJsonString());
        // With a kind in the details and no causes kubectl would say "The configmaps "x" is invalid" and nothing more.
        var failed = await SendAsync(Admin, HttpMethod.Patch, $"/api/v1/namespaces/{ns}/configmaps/x",
            """[{"op":"test","path":"/metadata/name","value":"y"}]""", "application/json-patch+json");
        Assert.Equal(422, failed.Code);
        Assert.Contains("test failed", failed.Message, StringComparison.Ordinal);
        Assert.Null(failed.Json["details"]);
    }

    private Task<Answer> SendPodAsync(string ns, string name, string more = "") =>
        SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            $$$"""{"metadata":{"name":"{{{name}}}"},"spec":{{{{more}}}"containers":[{"name":"a","image":"i"}]}}""");

    private async Task<string> RawAsync(string request)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(Cluster.Url.Host, Cluster.Url.Port, Token);
        await using var tls = new SslStream(client.GetStream(), leaveInnerStreamOpen: false,
            (_, certificate, _, _) => certificate is System.Security.Cryptography.X509Certificates.X509Certificate2 c && Cluster.Pki.Issued(c));
        await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = Cluster.Url.Host }, Token);
        await tls.WriteAsync(Encoding.ASCII.GetBytes(request), Token);
        var buffer = new byte[4096];
        var length = await tls.ReadAsync(buffer, Token);
        return Encoding.ASCII.GetString(buffer, 0, length);
    }
}
