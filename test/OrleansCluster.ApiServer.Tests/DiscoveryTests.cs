using System.Net;
using OrleansCluster.Tests;

namespace OrleansCluster.ApiServer.Tests;

public sealed class DiscoveryTests(TestCluster cluster) : KubernetesTest(cluster)
{
    private const string AggregatedV2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    private const string AggregatedV2Beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

    [Theory]
    [InlineData($"{AggregatedV2},{AggregatedV2Beta1},application/json", "v2")]
    [InlineData($"{AggregatedV2Beta1},application/json", "v2beta1")]
    public async Task Aggregated_discovery_is_the_first_version_asked_for(string accept, string version)
    {
        foreach (var path in (string[])["/api?timeout=32s", "/apis?timeout=32s"])
        {
            var answer = await GetAsync(path, accept);
            Assert.Equal($"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", answer.ContentType.Replace(" ", "", StringComparison.Ordinal));
            Assert.Equal("apidiscovery.k8s.io/" + version, (string)answer.Json["apiVersion"]!);
        }
    }

    [Fact]
    public async Task Aggregated_core_names_pods_as_kubernetes_does()
    {
        var answer = await GetAsync("/api", AggregatedV2);
        var group = answer.Json["items"]!.AsArray().Single()!;
        Assert.Null(group["metadata"]!["name"]);
        var pods = group["versions"]![0]!["resources"]!.AsArray().Single(r => (string)r!["resource"]! == "pods")!;
        Assert.Equal("Namespaced", (string)pods["scope"]!);
        Assert.Equal("pod", (string)pods["singularResource"]!);
        Assert.Equal("po", (string)pods["shortNames"]![0]!);
        Assert.Equal("all", (string)pods["categories"]![0]!);
        Assert.Equal(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"], pods["verbs"]!.AsArray().Select(v => (string)v!));
        var eviction = pods["subresources"]!.AsArray().Single(s => (string)s!["subresource"]! == "eviction")!;
        Assert.Equal(("policy", "v1", "Eviction"),
            ((string)eviction["responseKind"]!["group"]!, (string)eviction["responseKind"]!["version"]!, (string)eviction["responseKind"]!["kind"]!));
    }

    [Fact]
    public async Task Plain_discovery_lists_versions_groups_and_resources()
    {
        var api = await GetAsync("/api");
        Assert.Equal("APIVersions", (string)api.Json["kind"]!);
        Assert.Equal("v1", (string)api.Json["versions"]![0]!);
        Assert.Equal(Cluster.Url.Authority, (string)api.Json["serverAddressByClientCIDRs"]![0]!["serverAddress"]!);

        var groups = await GetAsync("/apis");
        Assert.Equal(
            ["authentication.k8s.io", "authorization.k8s.io", "rbac.authorization.k8s.io", "coordination.k8s.io", "discovery.k8s.io"],
            groups.Json["groups"]!.AsArray().Select(g => (string)g!["name"]!));
        var group = await GetAsync("/apis/coordination.k8s.io");
        Assert.Equal("coordination.k8s.io/v1", (string)group.Json["preferredVersion"]!["groupVersion"]!);

        var core = await GetAsync("/api/v1");
        Assert.Null(core.Json["apiVersion"]);
        var eviction = core.Json["resources"]!.AsArray().Single(r => (string)r!["name"]! == "pods/eviction")!;
        Assert.Equal(("policy", "v1", "Eviction"), ((string)eviction["group"]!, (string)eviction["version"]!, (string)eviction["kind"]!));
        var leases = await GetAsync("/apis/coordination.k8s.io/v1");
        Assert.Equal("v1", (string)leases.Json["apiVersion"]!);
        Assert.Equal(404, (await GetAsync("/apis/coordination.k8s.io/v9")).Code);
        Assert.Equal(404, (await GetAsync("/apis/nonsense")).Code);
    }

    [Theory]
    [InlineData("/apis", AggregatedV2)]
    [InlineData("/api/v1", "application/json")]
    [InlineData("/openapi/v3/api/v1", "application/json")]
    public async Task Documents_are_cached_by_their_etag(string path, string accept)
    {
        var first = await GetAsync(path, accept);
        Assert.Equal(200, first.Code);
        var tag = first.Headers.ETag!;
        using var request = new HttpRequestMessage(HttpMethod.Get, path) { Version = HttpVersion.Version20 };
        request.Headers.TryAddWithoutValidation("Accept", accept);
        request.Headers.IfNoneMatch.Add(tag);
        using var second = await Admin.SendAsync(request, Token);
        Assert.Equal(HttpStatusCode.NotModified, second.StatusCode);
        Assert.Empty(await second.Content.ReadAsByteArrayAsync(Token));
    }

    [Fact]
    public async Task Openapi_documents_say_that_patches_know_field_validation()
    {
        var index = await GetAsync("/openapi/v3");
        var url = (string)index.Json["paths"]!["api/v1"]!["serverRelativeURL"]!;
        Assert.StartsWith("/openapi/v3/api/v1?hash=", url, StringComparison.Ordinal);
        var document = await GetAsync(url);
        Assert.Contains("immutable", document.Headers.CacheControl!.ToString(), StringComparison.Ordinal);
        var patch = document.Json["paths"]!["/api/v1/namespaces/{namespace}/pods/{name}"]!["patch"]!;
        Assert.Equal("Pod", (string)patch["x-kubernetes-group-version-kind"]!["kind"]!);
        Assert.Contains(patch["parameters"]!.AsArray(), p => (string?)p!["name"] == "fieldValidation" && (string?)p["in"] == "query");
        Assert.Equal(404, (await GetAsync("/openapi/v3/apis/nonsense/v1")).Code);
    }

    [Fact]
    public async Task Version_is_what_wrappers_choose_their_binary_by()
    {
        var answer = await GetAsync("/version?timeout=5s");
        Assert.Equal("1", (string)answer.Json["major"]!);
        Assert.Equal("32", (string)answer.Json["minor"]!);
        Assert.StartsWith("v1.32.", (string)answer.Json["gitVersion"]!, StringComparison.Ordinal);
        Assert.Equal(9, answer.Json.AsObject().Count);
    }

    [Fact]
    public async Task Swagger_describes_every_resource_without_a_credential()
    {
        var open = Cluster.Client(null);
        var document = await SendAsync(open, HttpMethod.Get, "/swagger/v1/swagger.json");
        Assert.Equal(200, document.Code);
        Assert.NotNull(document.Json["paths"]!["/api/v1/namespaces/{namespace}/pods"]!["post"]);
        Assert.NotNull(document.Json["paths"]!["/api/v1/namespaces/{namespace}/pods/{name}/log"]!["get"]);
        var pod = document.Json["components"]!["schemas"]!["V1Pod"]!;
        Assert.NotNull(pod["properties"]!["spec"]);
        Assert.Equal("bearer", (string)document.Json["components"]!["securitySchemes"]!["BearerToken"]!["scheme"]!);
        var page = await SendAsync(open, HttpMethod.Get, "/swagger/index.html");
        Assert.Equal(200, page.Code);
        Assert.StartsWith("text/html", page.ContentType, StringComparison.Ordinal);
        Assert.Equal(404, (await SendAsync(open, HttpMethod.Get, "/swagger/nonsense")).Code);
    }

    [Fact]
    public async Task Metrics_count_requests_and_root_lists_paths()
    {
        await GetAsync("/api/v1/namespaces/default");
        var metrics = await GetAsync("/metrics");
        var count = Exposition.Parse(metrics.Text)["apiserver_request_total"]
            .Value(("verb", "GET"), ("resource", "namespaces"), ("scope", "resource"), ("code", "200"));
        Assert.True(count >= 1);
        Assert.Contains("/apis/coordination.k8s.io/v1", (await GetAsync("/")).Json["paths"]!.AsArray().Select(p => (string)p!));
    }
}
