using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

[assembly: AssemblyFixture(typeof(OrleansCluster.ApiServer.Tests.TestCluster))]

namespace OrleansCluster.ApiServer.Tests;

/// <summary>What the tests over HTTP share.</summary>
public abstract class KubernetesTest(TestCluster cluster)
{
    protected TestCluster Cluster { get; } = cluster;

    protected HttpClient Admin => Cluster.Admin;

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>A namespace of this test's own.</summary>
    protected async Task<string> NewNamespaceAsync()
    {
        var answer = await SendAsync(Admin, HttpMethod.Post, "/api/v1/namespaces",
            """{"kind":"Namespace","apiVersion":"v1","metadata":{"generateName":"t-"}}""");
        Assert.Equal(201, answer.Code);
        return (string)answer.Json["metadata"]!["name"]!;
    }

    protected async Task<Answer> CreateConfigMapAsync(string ns, string name, string labels = "{}", string data = "{}") =>
        await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps",
            $$"""{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"{{name}}","labels":{{labels}}},"data":{{data}}}""");

    protected Task<Answer> GetAsync(string path, string? accept = null) => SendAsync(Admin, HttpMethod.Get, path, null, null, accept);

    protected static async Task<Answer> SendAsync(
        HttpClient client, HttpMethod method, string path, string? body = null, string? contentType = "application/json", string? accept = null)
    {
        using var request = new HttpRequestMessage(method, path) { Version = client.DefaultRequestVersion, VersionPolicy = client.DefaultVersionPolicy };
        if (body is not null)
        {
            request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
            if (contentType is not null)
                request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
        }
        if (accept is not null)
            request.Headers.TryAddWithoutValidation("Accept", accept);
        using var response = await client.SendAsync(request, Token);
        var text = await response.Content.ReadAsStringAsync(Token);
        return new Answer((int)response.StatusCode, text, response.Content.Headers.ContentType?.ToString() ?? "", response.Headers);
    }

    public sealed record Answer(int Code, string Text, string ContentType, HttpResponseHeaders Headers)
    {
        private JsonNode? _json;

        public JsonNode Json => _json ??= JsonNode.Parse(Text)!;

        public string Message => (string?)Json["message"] ?? "";

        public string Reason => (string?)Json["reason"] ?? "";
    }
}
