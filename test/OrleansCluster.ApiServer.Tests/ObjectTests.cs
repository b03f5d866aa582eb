namespace OrleansCluster.ApiServer.Tests;

public sealed class ObjectTests(TestCluster cluster) : KubernetesTest(cluster)
{
    [Fact]
    public async Task Create_then_get_answers_the_same_object()
    {
        var ns = await NewNamespaceAsync();
        var created = await CreateConfigMapAsync(ns, "a", data: """{"k":"v"}""");
        Assert.Equal(201, created.Code);
        var read = await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a");
        Assert.Equal(200, read.Code);
        Assert.Equal(created.Text, read.Text);
        Assert.Equal("application/json", read.ContentType);
        Assert.True(Guid.TryParse(read.Headers.GetValues("Audit-Id").Single(), out _));
        Assert.Equal(["no-cache", "private"], read.Headers.GetValues("Cache-Control").Single().Split(", "));
    }

    [Fact]
    public async Task Create_with_generateName_makes_a_name_of_prefix_and_five_characters()
    {
        var ns = await NewNamespaceAsync();
        var created = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps",
            """{"kind":"ConfigMap","apiVersion":"v1","metadata":{"generateName":"abc-"}}""");
        Assert.Equal(201, created.Code);
        Assert.Matches("^abc-[bcdfghjklmnpqrstvwxz2456789]{5}$", (string)created.Json["metadata"]!["name"]!);
    }

    [Fact]
    public async Task Create_of_an_existing_name_is_a_409_with_details()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a");
        var second = await CreateConfigMapAsync(ns, "a");
        Assert.Equal(409, second.Code);
        Assert.Equal("AlreadyExists", second.Reason);
        Assert.Equal("configmaps \"a\" already exists", second.Message);
        Assert.Equal("configmaps", (string)second.Json["details"]!["kind"]!);
    }

    [Theory]
    [InlineData("""{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"a"}}""", "the API version in the data (v2) does not match the expected API version (v1)")]
    [InlineData("""{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}""", "cannot be handled as a ConfigMap")]
    [InlineData("""{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"other"}}""", "the namespace of the provided object does not match the namespace sent on the request")]
    [InlineData("""[1,2]""", "the object provided is unrecognized (must be of type ConfigMap)")]
    [InlineData("""{"kind":"ConfigMap""", "the object provided is unrecognized (must be of type ConfigMap)")]
    [InlineData("", "the object provided is unrecognized")]
    public async Task Create_with_a_body_of_something_else_is_a_400(string body, string message)
    {
        var ns = await NewNamespaceAsync();
        var answer = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps", body);
        Assert.Equal(400, answer.Code);
        Assert.Contains(message, answer.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Create_without_any_name_is_a_422_at_metadata_name()
    {
        var ns = await NewNamespaceAsync();
        var answer = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps", """{"metadata":{}}""");
        Assert.Equal(422, answer.Code);
        Assert.Equal("metadata.name", (string)answer.Json["details"]!["causes"]![0]!["field"]!);
    }

    [Fact]
    public async Task Update_with_another_name_than_the_path_is_a_400()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a");
        var answer = await SendAsync(Admin, HttpMethod.Put, $"/api/v1/namespaces/{ns}/configmaps/a", """{"metadata":{"name":"b"}}""");
        Assert.Equal(400, answer.Code);
        Assert.Equal("the name of the object (b) does not match the name on the URL (a)", answer.Message);
    }

    [Fact]
    public async Task Update_without_a_content_type_is_json_and_a_stale_revision_conflicts()
    {
        var ns = await NewNamespaceAsync();
        var created = await CreateConfigMapAsync(ns, "a", data: """{"k":"1"}""");
        var path = $"/api/v1/namespaces/{ns}/configmaps/a";
        var updated = await SendAsync(Admin, HttpMethod.Put, path, created.Text.Replace("\"1\"}", "\"2\"}", StringComparison.Ordinal), contentType: null);
        Assert.Equal(200, updated.Code);
        var stale = await SendAsync(Admin, HttpMethod.Put, path, created.Text.Replace("\"1\"}", "\"3\"}", StringComparison.Ordinal));
        Assert.Equal(409, stale.Code);
        Assert.Equal("Conflict", stale.Reason);
    }

    [Theory]
    [InlineData("application/merge-patch+json; charset=utf-8", """{"data":{"k":"2"}}""")]
    [InlineData("application/strategic-merge-patch+json", """{"data":{"k":"2"}}""")]
    [InlineData("application/json-patch+json", """[{"op":"replace","path":"/data/k","value":"2"}]""")]
    public async Task Patch_of_each_classic_type_changes_the_object(string type, string patch)
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a", data: """{"k":"1"}""");
        var answer = await SendAsync(Admin, HttpMethod.Patch, $"/api/v1/namespaces/{ns}/configmaps/a", patch, type);
        Assert.Equal(200, answer.Code);
        Assert.Equal("2", (string)answer.Json["data"]!["k"]!);
    }

    [Fact]
    public async Task Patch_of_an_unknown_type_is_a_415_that_lists_the_known_ones()
    {
        var answer = await SendAsync(Admin, HttpMethod.Patch, "/api/v1/namespaces/default/configmaps/a", "{}", "application/json");
        Assert.Equal(415, answer.Code);
        Assert.Contains("application/strategic-merge-patch+json", answer.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Dry_run_answers_like_a_create_and_writes_nothing()
    {
        var ns = await NewNamespaceAsync();
        var answer = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps?dryRun=All", """{"metadata":{"name":"a"}}""");
        Assert.Equal(201, answer.Code);
        Assert.NotNull(answer.Json["metadata"]!["uid"]);
        Assert.Null(answer.Json["metadata"]!["resourceVersion"]);
        Assert.Equal(404, (await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a")).Code);
        var wrong = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps?dryRun=x", """{"metadata":{"name":"a"}}""");
        Assert.Equal(422, wrong.Code);
        Assert.StartsWith("CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value", wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Unknown_fields_are_refused_strictly_or_warned_about()
    {
        var ns = await NewNamespaceAsync();
        const string body = """{"metadata":{"name":"a"},"bogus":1}""";
        var strict = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps?fieldValidation=Strict", body);
        Assert.Equal(400, strict.Code);
        Assert.Contains("strict decoding error: unknown field \"bogus\"", strict.Message, StringComparison.Ordinal);
        var warned = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps", body);
        Assert.Equal(201, warned.Code);
        Assert.Equal("299 - \"unknown field \\\"bogus\\\"\"", warned.Headers.GetValues("Warning").Single());
    }

    [Fact]
    public async Task Delete_answers_a_status_for_most_kinds_and_the_object_for_some()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a");
        var map = await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/configmaps/a", """{"propagationPolicy":"Background"}""");
        Assert.Equal(200, map.Code);
        Assert.Equal("Success", (string)map.Json["status"]!);
        Assert.Equal("configmaps", (string)map.Json["details"]!["kind"]!);
        Assert.NotNull(map.Json["details"]!["uid"]);

        var pod = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            """{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}""");
        Assert.Equal(201, pod.Code);
        var gone = await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/pods/p");
        Assert.Equal(200, gone.Code);
        Assert.Equal("Pod", (string)gone.Json["kind"]!);
    }

    [Fact]
    public async Task Delete_holds_an_object_with_finalizers_and_answers_it()
    {
        var ns = await NewNamespaceAsync();
        await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps", """{"metadata":{"name":"a","finalizers":["x.io/y"]}}""");
        var answer = await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/configmaps/a");
        Assert.Equal(200, answer.Code);
        Assert.NotNull(answer.Json["metadata"]!["deletionTimestamp"]);
        var patched = await SendAsync(Admin, HttpMethod.Patch, $"/api/v1/namespaces/{ns}/configmaps/a", """{"metadata":{"finalizers":null}}""",
            "application/merge-patch+json");
        Assert.Equal(200, patched.Code);
        Assert.Equal(404, (await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a")).Code);
    }

    [Theory]
    [InlineData("""{"preconditions":{"uid":"00000000-0000-0000-0000-000000000000"}}""", 409)]
    [InlineData("""{"propagationPolicy":"Nonsense"}""", 422)]
    [InlineData("""{"propagationPolicy":"Orphan","orphanDependents":true}""", 422)]
    [InlineData("""{"propagationPolicy":"Orphan","propagationPolicy":"Orphan"}""", 400)]
    [InlineData("""{"kind":"Pod"}""", 400)]
    [InlineData("""{"gracePeriodSeconds":"soon"}""", 400)]
    [InlineData("""[]""", 400)]
    public async Task Delete_with_wrong_options_deletes_nothing(string body, int code)
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a");
        var answer = await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/configmaps/a", body);
        Assert.Equal(code, answer.Code);
        Assert.Equal(200, (await GetAsync($"/api/v1/namespaces/{ns}/configmaps/a")).Code);
    }

    [Fact]
    public async Task Delete_of_a_collection_takes_only_what_is_selected()
    {
        var ns = await NewNamespaceAsync();
        for (var i = 0; i < 40; i++)
            await CreateConfigMapAsync(ns, $"a{i:00}", labels: $$"""{"half":"{{i % 2}}"}""");
        var answer = await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/configmaps?labelSelector=half%3D0");
        Assert.Equal(200, answer.Code);
        Assert.Equal("ConfigMapList", (string)answer.Json["kind"]!);
        Assert.Equal(20, answer.Json["items"]!.AsArray().Count);
        var left = await GetAsync($"/api/v1/namespaces/{ns}/configmaps?labelSelector=half");
        Assert.Equal(20, left.Json["items"]!.AsArray().Count);
    }

    [Fact]
    public async Task Put_of_an_absent_object_creates_where_the_kind_allows_it()
    {
        var ns = await NewNamespaceAsync();
        var lease = await SendAsync(Admin, HttpMethod.Put, $"/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/l",
            """{"metadata":{"name":"l"},"spec":{"holderIdentity":"me"}}""");
        Assert.True(lease.Code == 201, lease.Text);
        var map = await SendAsync(Admin, HttpMethod.Put, $"/api/v1/namespaces/{ns}/configmaps/a", """{"metadata":{"name":"a"}}""");
        Assert.Equal(404, map.Code);
    }

    [Fact]
    public async Task Scale_is_read_patched_and_put()
    {
        var ns = await NewNamespaceAsync();
        var rc = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/replicationcontrollers",
            """{"metadata":{"name":"r"},"spec":{"replicas":0,"selector":{"a":"b"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}""");
        Assert.Equal(201, rc.Code);
        var path = $"/api/v1/namespaces/{ns}/replicationcontrollers/r/scale";
        var scale = await GetAsync(path);
        Assert.Equal("Scale", (string)scale.Json["kind"]!);
        Assert.Equal("a=b", (string)scale.Json["status"]!["selector"]!);
        var patched = await SendAsync(Admin, HttpMethod.Patch, path, """{"spec":{"replicas":2}}""", "application/merge-patch+json");
        Assert.Equal("Scale", (string)patched.Json["kind"]!);
        Assert.Equal(2, (int)patched.Json["spec"]!["replicas"]!);
        var put = await SendAsync(Admin, HttpMethod.Put, path,
            $$"""{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"r","namespace":"{{ns}}"},"spec":{"replicas":1} }""", contentType: null);
        Assert.Equal(200, put.Code);
        Assert.Equal(1, (int)put.Json["spec"]!["replicas"]!);
        var negative = await SendAsync(Admin, HttpMethod.Patch, path, """{"spec":{"replicas":-1}}""", "application/merge-patch+json");
        Assert.Equal(422, negative.Code);
        var table = await GetAsync(path, "application/json;as=Table;v=v1;g=meta.k8s.io");
        Assert.Equal(["Name", "Desired", "Available", "Age"], table.Json["columnDefinitions"]!.AsArray().Select(c => (string)c!["name"]!));
    }

    [Fact]
    public async Task Binding_assigns_the_node_once()
    {
        var ns = await NewNamespaceAsync();
        await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            """{"metadata":{"name":"p"},"spec":{"schedulerName":"nobody","containers":[{"name":"c","image":"i"}]}}""");
        const string body = """{"apiVersion":"v1","kind":"Binding","metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}""";
        var bound = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods/p/binding", body);
        Assert.Equal(201, bound.Code);
        Assert.Equal("Success", (string)bound.Json["status"]!);
        Assert.Equal("n1", (string)(await GetAsync($"/api/v1/namespaces/{ns}/pods/p")).Json["spec"]!["nodeName"]!);
        var again = await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/bindings", body);
        Assert.Equal(409, again.Code);
    }

    [Fact]
    public async Task Eviction_deletes_and_its_dry_run_stands_in_the_body()
    {
        var ns = await NewNamespaceAsync();
        await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            """{"metadata":{"name":"p"},"spec":{"schedulerName":"nobody","containers":[{"name":"c","image":"i"}]}}""");
        var path = $"/api/v1/namespaces/{ns}/pods/p/eviction";
        var dry = await SendAsync(Admin, HttpMethod.Post, path, """{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"},"deleteOptions":{"dryRun":["All"]}}""");
        Assert.Equal(201, dry.Code);
        Assert.Equal(200, (await GetAsync($"/api/v1/namespaces/{ns}/pods/p")).Code);
        var evicted = await SendAsync(Admin, HttpMethod.Post, path, """{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}""");
        Assert.Equal(201, evicted.Code);
        Assert.Equal(404, (await GetAsync($"/api/v1/namespaces/{ns}/pods/p")).Code);
    }

    [Theory]
    [InlineData("GET", "/nonsense", 404)]
    [InlineData("GET", "/api/v1/nonsense", 404)]
    [InlineData("GET", "/api/v2/pods", 404)]
    [InlineData("GET", "/apis/no.such.group/v1/things", 404)]
    [InlineData("GET", "/api/v1/namespaces/default/nodes", 404)]
    [InlineData("GET", "/api/v1/pods/x", 404)]
    [InlineData("GET", "/api/v1/namespaces/default/pods/x/nonsense", 404)]
    [InlineData("GET", "/api/v1/namespaces/default/pods/x", 404)]
    [InlineData("POST", "/api/v1/pods", 405)]
    [InlineData("PUT", "/api/v1/namespaces/default/pods", 405)]
    [InlineData("DELETE", "/api/v1/namespaces", 405)]
    [InlineData("POST", "/healthz", 405)]
    [InlineData("DELETE", "/api/v1/namespaces/default/pods/x/log", 405)]
    [InlineData("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405)]
    public async Task Wrong_paths_and_verbs_get_a_status(string method, string path, int code)
    {
        var answer = await SendAsync(Admin, new HttpMethod(method), path, method == "GET" ? null : "{}");
        Assert.Equal(code, answer.Code);
        Assert.Equal("Status", (string)answer.Json["kind"]!);
        Assert.Equal(code, (int)answer.Json["code"]!);
    }
}
