using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer.Tests;

public sealed class NegotiationTests(TestCluster cluster) : KubernetesTest(cluster)
{
    private const string Table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    [Fact]
    public async Task Table_of_a_list_has_columns_rows_and_metadata_of_the_objects()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a", labels: """{"x":"y"}""", data: """{"k":"v"}""");
        var answer = await GetAsync($"/api/v1/namespaces/{ns}/configmaps?fieldSelector=metadata.name%3Da", Table);
        Assert.Equal("Table", (string)answer.Json["kind"]!);
        Assert.Equal("meta.k8s.io/v1", (string)answer.Json["apiVersion"]!);
        Assert.Equal(["Name", "Data", "Age"], answer.Json["columnDefinitions"]!.AsArray().Select(c => (string)c!["name"]!));
        var row = answer.Json["rows"]!.AsArray().Single()!;
        Assert.Equal("a", (string)row["cells"]![0]!);
        Assert.Equal(1, (int)row["cells"]![1]!);
        Assert.Equal("PartialObjectMetadata", (string)row["object"]!["kind"]!);
        Assert.Equal("y", (string)row["object"]!["metadata"]!["labels"]!["x"]!);
    }

    [Theory]
    [InlineData("None", null)]
    [InlineData("Object", "ConfigMap")]
    public async Task Table_rows_carry_what_includeObject_asks_for(string include, string? kind)
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a");
        var answer = await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a?includeObject={include}", Table);
        Assert.Equal(kind, (string?)answer.Json["rows"]![0]!["object"]?["kind"]);
    }

    [Fact]
    public async Task Partial_metadata_of_a_list_and_of_an_object()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a", data: """{"k":"v"}""");
        var list = await GetAsync($"/api/v1/namespaces/{ns}/configmaps?fieldSelector=metadata.name=a", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        Assert.Equal("PartialObjectMetadataList", (string)list.Json["kind"]!);
        Assert.Equal("PartialObjectMetadata", (string)list.Json["items"]![0]!["kind"]!);
        Assert.Null(list.Json["items"]![0]!["data"]);
        var one = await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        Assert.Equal("a", (string)one.Json["metadata"]!["name"]!);
    }

    [Theory]
    [InlineData("application/vnd.kubernetes.protobuf,application/json", 200)]
    [InlineData("application/vnd.kubernetes.protobuf, */*", 200)]
    [InlineData("application/json, */*;q=0.8", 200)]
    [InlineData("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", 200)]
    [InlineData("application/vnd.kubernetes.protobuf", 406)]
    [InlineData("text/html", 406)]
    [InlineData("application/json;as=Table;v=v9;g=meta.k8s.io", 406)]
    public async Task Accept_is_walked_in_order(string accept, int code)
    {
        var answer = await GetAsync("/api/v1/namespaces/default", accept);
        Assert.Equal(code, answer.Code);
        if (code == 406)
            Assert.Equal("NotAcceptable", answer.Reason);
    }

    [Fact]
    public async Task Yaml_and_protobuf_bodies_create_objects()
    {
        var ns = await NewNamespaceAsync();
        var yaml = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: b\n", "application/yaml");
        Assert.Equal(201, yaml.Code);
        Assert.Equal("b", (string)yaml.Json["data"]!["a"]!);

        var twice = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps?fieldValidation=Strict",
            "metadata: {name: z}\nbogus: 1\ndata:\n  a: b\n  a: c\n", "application/yaml");
        Assert.Equal(400, twice.Code);
        Assert.Contains("unknown field \"bogus\"", twice.Message, StringComparison.Ordinal);
        Assert.Contains("duplicate field \"data.a\"", twice.Message, StringComparison.Ordinal);

        // What kubectl create configmap sends.
        var body = new byte[]
        {
            0x6b, 0x38, 0x73, 0x00, 0x0a, 0x0f, 0x0a, 0x02, 0x76, 0x31, 0x12, 0x09, 0x43, 0x6f, 0x6e, 0x66, 0x69, 0x67, 0x4d, 0x61, 0x70,
            0x12, 0x1d, 0x0a, 0x13, 0x0a, 0x03, 0x63, 0x6d, 0x78, 0x12, 0x00, 0x1a, 0x00, 0x22, 0x00, 0x2a, 0x00, 0x32, 0x00, 0x38, 0x00, 0x42, 0x00,
            0x12, 0x06, 0x0a, 0x01, 0x61, 0x12, 0x01, 0x62, 0x1a, 0x00, 0x22, 0x00,
        };
        using var content = new ByteArrayContent(body);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/vnd.kubernetes.protobuf");
        using var answer = await Admin.PostAsync(new Uri(Cluster.Url, $"/api/v1/namespaces/{ns}/configmaps?fieldValidation=Strict"), content, Token);
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        Assert.Equal("b", (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!["data"]!["a"]!);
    }

    [Theory]
    [InlineData("application/vnd.kubernetes.protobuf", "garbage", 400)]
    [InlineData("application/yaml", "a: [", 400)]
    [InlineData("text/plain", "hello", 415)]
    public async Task Bodies_that_cannot_be_read_are_the_clients_fault(string type, string body, int code)
    {
        var answer = await SendAsync(Admin, HttpMethod.Post, "/api/v1/namespaces/default/configmaps", body, type);
        Assert.Equal(code, answer.Code);
    }

    [Fact]
    public async Task A_body_over_three_mebibytes_is_a_413()
    {
        var answer = await SendAsync(Admin, HttpMethod.Post, "/api/v1/namespaces/default/configmaps", new string(' ', RequestBody.MaxBytes + 1));
        Assert.Equal(413, answer.Code);
        Assert.Equal("Request entity too large: limit is 3145728", answer.Message);
    }

    [Fact]
    public async Task A_deeply_nested_body_is_a_400()
    {
        var body = """{"metadata":{"name":"a"},"x":""" + new string('[', 100_000) + new string(']', 100_000) + "}";
        var answer = await SendAsync(Admin, HttpMethod.Post, "/api/v1/namespaces/default/configmaps", body);
        Assert.Equal(400, answer.Code);
    }

    [Fact]
    public async Task Pretty_indents_lists_and_objects()
    {
        var one = await GetAsync("/api/v1/namespaces/default?pretty=true");
        Assert.StartsWith("{\n  \"kind\": \"Namespace\"", one.Text, StringComparison.Ordinal);
        var list = await GetAsync("/api/v1/namespaces?pretty=1");
        Assert.StartsWith("{\n  \"kind\": \"NamespaceList\"", list.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("application/json")]
    [InlineData(Table)]
    public async Task A_large_list_is_compressed_for_who_accepts_it(string accept)
    {
        var ns = await NewNamespaceAsync();
        var big = new string('x', 300_000);
        await CreateConfigMapAsync(ns, "big", labels: "{}", data: $$"""{"k":"{{big}}"}""");
        for (var i = 0; i < 250; i++)
            await CreateConfigMapAsync(ns, $"small-{i:000}");
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/api/v1/namespaces/{ns}/configmaps") { Version = HttpVersion.Version20 };
        request.Headers.TryAddWithoutValidation("Accept", accept);
        request.Headers.AcceptEncoding.ParseAdd("gzip");
        using var zipped = await Cluster.Client(Cluster.AdminToken, decompress: true).SendAsync(request, Token);
        var plain = await GetAsync($"/api/v1/namespaces/{ns}/configmaps", accept);
        // Between the two the revision of the resource may rise by other tests' writes, and in tables the ages by a second.
        Assert.Equal(Objects(plain.Text), Objects(await zipped.Content.ReadAsStringAsync(Token)));
        Assert.Equal(251, Objects(plain.Text).Length);
        // The handler removes the header of what it unpacked, and with it the length.
        Assert.Null(zipped.Content.Headers.ContentLength);
        Assert.Contains("Accept-Encoding", zipped.Headers.Vary);
    }

    /// <summary>The objects of a list or of a table's rows.</summary>
    private static string[] Objects(string list) => JsonNode.Parse(list) is { } parsed && parsed["items"] is JsonArray items
        ? [.. items.Select(item => item!.ToJsonString())]
        : [.. JsonNode.Parse(list)!["rows"]!.AsArray().Select(row => row!["object"]!.ToJsonString())];

    [Fact]
    public async Task Http_1_1_is_served_as_http_2_is()
    {
        var old = Cluster.Client(Cluster.AdminToken, HttpVersion.Version11);
        var answer = await SendAsync(old, HttpMethod.Get, "/api/v1/namespaces/default");
        Assert.Equal(200, answer.Code);
        Assert.Equal((await GetAsync("/api/v1/namespaces/default")).Text, answer.Text);
    }
}
