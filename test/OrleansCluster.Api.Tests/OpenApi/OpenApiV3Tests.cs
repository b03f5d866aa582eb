using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.OpenApi;

public sealed class OpenApiV3Tests
{
    private static readonly string[] AllVerbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

    private static readonly OpenApiResource Pods = new("pods", "Pod", true, AllVerbs)
    {
        Subresources =
        [
            new("status", "Pod", ["get", "patch", "update"]),
            new("eviction", "Eviction", ["create"], "policy", "v1"),
            new("exec", "PodExecOptions", ["create", "get"]),
            new("log", "Pod", ["get"]),
        ],
    };

    private static readonly OpenApiResource Namespaces = new("namespaces", "Namespace", false, ["create", "delete", "get", "list", "patch", "update", "watch"]);

    /// <summary>Every kind that the table knows, each as a resource of its group version.</summary>
    public static TheoryData<string, string> GroupVersions =>
    [
        .. SchemaCatalog.Kinds.Select(static k => (k.Group, k.Version)).Distinct().Where(static g => g.Group != "meta.k8s.io"),
    ];

    [Fact]
    public void Build_Core_DescribesWhatKubectlLooksFor()
    {
        var document = Build("", "v1", Pods, Namespaces);

        Assert.Equal("3.0.0", (string)document["openapi"]!);
        var patch = document["paths"]!["/api/v1/namespaces/{namespace}/pods/{name}"]!["patch"]!;
        Assert.Equal("""{"group":"","version":"v1","kind":"Pod"}""", patch["x-kubernetes-group-version-kind"]!.ToJsonString());
        Assert.Equal("patch", (string)patch["x-kubernetes-action"]!);
        Assert.Equal(["dryRun", "fieldManager", "fieldValidation", "force"], patch["parameters"]!.AsArray().Select(static p => (string)p!["name"]!));
        Assert.All(patch["parameters"]!.AsArray(), static p => Assert.Equal("query", (string)p!["in"]!));
        var spec = document["components"]!["schemas"]!["io.k8s.api.core.v1.PodSpec"]!;
        Assert.Equal("""["containers"]""", spec["required"]!.ToJsonString());
        var containers = spec["properties"]!["containers"]!;
        Assert.Equal("merge", (string)containers["x-kubernetes-patch-strategy"]!);
        Assert.Equal("name", (string)containers["x-kubernetes-patch-merge-key"]!);
        Assert.Equal("map", (string)containers["x-kubernetes-list-type"]!);
        Assert.Equal("#/components/schemas/io.k8s.api.core.v1.Container", (string)containers["items"]!["allOf"]![0]!["$ref"]!);
        Assert.Equal("merge,retainKeys", (string)spec["properties"]!["volumes"]!["x-kubernetes-patch-strategy"]!);
    }

    [Fact]
    public void Build_Paths_FollowVerbsAndScope()
    {
        var paths = Build("", "v1", Pods, Namespaces)["paths"]!.AsObject();

        Assert.Equal(
            [
                "/api/v1/", "/api/v1/namespaces", "/api/v1/namespaces/{namespace}/pods", "/api/v1/namespaces/{namespace}/pods/{name}",
                "/api/v1/namespaces/{namespace}/pods/{name}/eviction", "/api/v1/namespaces/{namespace}/pods/{name}/exec",
                "/api/v1/namespaces/{namespace}/pods/{name}/log", "/api/v1/namespaces/{namespace}/pods/{name}/status", "/api/v1/namespaces/{name}", "/api/v1/pods",
            ],
            paths.Select(static p => p.Key).Order(StringComparer.Ordinal));
        Assert.Equal(["get", "post", "delete", "parameters"], paths["/api/v1/namespaces/{namespace}/pods"]!.AsObject().Select(static m => m.Key));
        Assert.Equal(["get", "post", "parameters"], paths["/api/v1/namespaces"]!.AsObject().Select(static m => m.Key));
        Assert.Equal(["get", "put", "patch", "delete", "parameters"], paths["/api/v1/namespaces/{name}"]!.AsObject().Select(static m => m.Key));
        var exec = paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]!["get"]!;
        Assert.Equal("connect", (string)exec["x-kubernetes-action"]!);
        Assert.Contains("command", exec["parameters"]!.AsArray().Select(static p => (string)p!["name"]!));
        Assert.Contains("sinceSeconds", paths["/api/v1/namespaces/{namespace}/pods/{name}/log"]!["get"]!["parameters"]!.AsArray().Select(static p => (string)p!["name"]!));
        Assert.Equal("""{"group":"policy","version":"v1","kind":"Eviction"}""", paths["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]!["post"]!["x-kubernetes-group-version-kind"]!.ToJsonString());
    }

    [Theory]
    [MemberData(nameof(GroupVersions))]
    public void Build_AnyGroupVersion_RefersOnlyToWhatItContains(string group, string version)
    {
        var resources = SchemaCatalog.Kinds.Where(k => k.Group == group && k.Version == version && !k.Kind.EndsWith("List", StringComparison.Ordinal))
            .Select(static k => new OpenApiResource(k.Kind.ToLowerInvariant() + "s", k.Kind, true, AllVerbs)).ToArray();

        var document = Build(group, version, resources);

        var schemas = document["components"]!["schemas"]!.AsObject();
        var ids = new HashSet<string>(StringComparer.Ordinal);
        Visit(document);
        foreach (var resource in resources)
        {
            var name = SchemaCatalog.Find(group, version, resource.Kind)!.Name;
            Assert.Contains(schemas[name]!["x-kubernetes-group-version-kind"]!.AsArray(), k => (string)k!["group"]! == group && (string)k["version"]! == version && (string)k["kind"]! == resource.Kind);
        }

        void Visit(JsonNode? node)
        {
            if (node is JsonArray array)
            {
                foreach (var item in array)
                    Visit(item);
            }
            else if (node is JsonObject map)
            {
                foreach (var (key, value) in map)
                {
                    if (key == "$ref" && value is JsonValue text && text.GetValueKind() == JsonValueKind.String)
                        Assert.True(schemas.ContainsKey(text.GetValue<string>()["#/components/schemas/".Length..]), text.GetValue<string>());
                    else if (key == "operationId")
                        Assert.True(ids.Add((string)value!), (string)value!);
                    else
                        Visit(value);
                }
            }
        }
    }

    [Fact]
    public void Build_CustomResource_CarriesItsSchemaAndNoStrategicPatch()
    {
        var schema = (JsonObject)JsonNode.Parse("""{"type":"object","description":"A widget.","required":["spec"],"properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"}}},"metadata":{"type":"object"}}}""")!;

        var document = Build("example.com", "v1", new OpenApiResource("widgets", "Widget", true, AllVerbs) { CustomSchema = schema });

        var widget = document["components"]!["schemas"]!["com.example.v1.Widget"]!;
        Assert.Equal("A widget.", (string)widget["description"]!);
        Assert.Equal("integer", (string)widget["properties"]!["spec"]!["properties"]!["size"]!["type"]!);
        Assert.Equal("#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", (string)widget["properties"]!["metadata"]!["allOf"]![0]!["$ref"]!);
        Assert.Equal("""[{"group":"example.com","version":"v1","kind":"Widget"}]""", widget["x-kubernetes-group-version-kind"]!.ToJsonString());
        Assert.NotNull(document["components"]!["schemas"]!["com.example.v1.WidgetList"]!["properties"]!["items"]);
        var patch = document["paths"]!["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]!["patch"]!;
        Assert.Contains("fieldValidation", patch["parameters"]!.AsArray().Select(static p => (string)p!["name"]!));
        Assert.Null(patch["requestBody"]!["content"]!["application/strategic-merge-patch+json"]);
    }

    [Fact]
    public void Hash_ChangesWithWhatTheDocumentIsMadeOf()
    {
        var hash = OpenApiV3.Hash("", "v1", [Pods]);

        Assert.Equal(64, hash.Length);
        Assert.Equal(hash, OpenApiV3.Hash("", "v1", [Pods]));
        Assert.NotEqual(hash, OpenApiV3.Hash("", "v1", [Pods, Namespaces]));
        Assert.NotEqual(hash, OpenApiV3.Hash("", "v2", [Pods]));
        Assert.NotEqual(hash, OpenApiV3.Hash("", "v1", [Pods with { CustomSchema = [] }]));
    }

    [Fact]
    public void BuildIndex_NamesEveryDocument()
    {
        var index = JsonNode.Parse(OpenApiV3.BuildIndex([("", "v1", "A"), ("apps", "v1", "B")]))!;

        Assert.Equal(
            """{"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=A"},"apis/apps/v1":{"serverRelativeURL":"/openapi/v3/apis/apps/v1?hash=B"}}}""",
            index.ToJsonString());
    }

    private static JsonObject Build(string group, string version, params OpenApiResource[] resources) =>
        (JsonObject)JsonNode.Parse(OpenApiV3.Build(group, version, resources))!;
}
