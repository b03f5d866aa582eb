using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer.Tests;

public sealed class ListTests(TestCluster cluster) : KubernetesTest(cluster)
{
    [Fact]
    public async Task List_has_items_without_kind_in_bytewise_order()
    {
        var ns = await NewNamespaceAsync();
        foreach (var name in (string[])["b", "a", "a.c", "a-b"])
            await CreateConfigMapAsync(ns, name, labels: """{"t":"1"}""");
        var answer = await GetAsync($"/api/v1/namespaces/{ns}/configmaps?labelSelector=t=1");
        Assert.Equal("ConfigMapList", (string)answer.Json["kind"]!);
        Assert.Equal(["a", "a-b", "a.c", "b"], Names(answer));
        Assert.Null(answer.Json["items"]![0]!["kind"]);
        Assert.Null(answer.Json["items"]![0]!["apiVersion"]);
        Assert.NotNull(answer.Json["items"]![0]!["metadata"]!["resourceVersion"]);
    }

    [Fact]
    public async Task An_empty_list_has_an_empty_array()
    {
        var answer = await GetAsync("/api/v1/namespaces/default/configmaps?labelSelector=no=such");
        Assert.Empty(answer.Json["items"]!.AsArray());
        Assert.NotEmpty((string)answer.Json["metadata"]!["resourceVersion"]!);
    }

    [Fact]
    public async Task Pages_show_one_moment_although_objects_change_in_between()
    {
        var ns = await NewNamespaceAsync();
        for (var i = 0; i < 10; i++)
            await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/secrets", $$"""{"metadata":{"name":"s{{i}}"} }""");
        var first = await GetAsync($"/api/v1/namespaces/{ns}/secrets?limit=4");
        Assert.Equal(["s0", "s1", "s2", "s3"], Names(first));
        Assert.Equal(6, (int)first.Json["metadata"]!["remainingItemCount"]!);
        await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/secrets/s5");
        await SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/secrets", """{"metadata":{"name":"s55"}}""");

        var second = await GetAsync($"/api/v1/namespaces/{ns}/secrets?limit=4&continue={Continue(first)}");
        Assert.Equal(["s4", "s5", "s6", "s7"], Names(second));
        Assert.Equal((string)first.Json["metadata"]!["resourceVersion"]!, (string)second.Json["metadata"]!["resourceVersion"]!);
        var third = await GetAsync($"/api/v1/namespaces/{ns}/secrets?limit=4&continue={Continue(second)}");
        Assert.Equal(["s8", "s9"], Names(third));
        Assert.Null(third.Json["metadata"]!["continue"]);
    }

    [Theory]
    [InlineData("continue=nonsense", 400)]
    [InlineData("resourceVersion=x", 400)]
    [InlineData("labelSelector=a%20b", 400)]
    [InlineData("fieldSelector=spec.nodeName=x", 400)]
    [InlineData("limit=x", 400)]
    [InlineData("resourceVersionMatch=Exact", 422)]
    [InlineData("resourceVersionMatch=Exact&resourceVersion=0", 422)]
    [InlineData("resourceVersionMatch=Other&resourceVersion=1", 422)]
    [InlineData("sendInitialEvents=true", 422)]
    [InlineData("watch=true&sendInitialEvents=true", 422)]
    [InlineData("watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1", 422)]
    public async Task Wrong_options_are_refused(string query, int code)
    {
        var answer = await GetAsync("/api/v1/namespaces/default/configmaps?" + query);
        Assert.Equal(code, answer.Code);
    }

    [Fact]
    public async Task A_revision_from_the_future_times_out_with_its_cause()
    {
        var answer = await GetAsync("/api/v1/namespaces/default/configmaps?resourceVersion=999999999");
        Assert.Equal(504, answer.Code);
        Assert.StartsWith("Timeout: Too large resource version: 999999999, current: ", answer.Message, StringComparison.Ordinal);
        Assert.Equal("ResourceVersionTooLarge", (string)answer.Json["details"]!["causes"]![0]!["reason"]!);
        Assert.Equal("1", answer.Headers.GetValues("Retry-After").Single());
    }

    [Fact]
    public async Task Revision_rules_of_a_list()
    {
        var ns = await NewNamespaceAsync();
        var created = await CreateConfigMapAsync(ns, "a");
        var revision = (string)created.Json["metadata"]!["resourceVersion"]!;
        foreach (var query in (string[])[$"resourceVersion={revision}", $"resourceVersion={revision}&resourceVersionMatch=NotOlderThan", "resourceVersion=0&resourceVersionMatch=NotOlderThan", "limit=500&resourceVersion=0"])
        {
            var answer = await GetAsync($"/api/v1/namespaces/{ns}/configmaps?fieldSelector=metadata.name=a&{query}");
            Assert.Equal(200, answer.Code);
            Assert.Contains("a", Names(answer));
        }
        // An earlier moment, as far as the history of changes goes back.
        await CreateConfigMapAsync(ns, "b");
        var then = await GetAsync($"/api/v1/namespaces/{ns}/configmaps?resourceVersion={revision}&resourceVersionMatch=Exact");
        Assert.Equal((200, revision), (then.Code, (string?)then.Json["metadata"]!["resourceVersion"]));
        Assert.DoesNotContain("b", Names(then));
    }

    [Fact]
    public async Task Field_and_label_selectors_narrow_a_list()
    {
        var ns = await NewNamespaceAsync();
        await CreateConfigMapAsync(ns, "a", labels: """{"tier":"web","n":"5"}""");
        await CreateConfigMapAsync(ns, "b", labels: """{"tier":"db"}""");
        async Task Expect(string query, params string[] names) =>
            Assert.Equal(names, Names(await GetAsync($"/api/v1/namespaces/{ns}/configmaps?{query}")));
        await Expect("labelSelector=tier%3Dweb", "a");
        await Expect("labelSelector=tier%20in%20(web,db)", "a", "b");
        await Expect("labelSelector=tier,tier!%3Dweb", "b");
        await Expect("labelSelector=n%3E4", "a");
        await Expect("fieldSelector=metadata.name%3Db", "b");
        await Expect("labelSelector=tier&fieldSelector=metadata.name!%3Db", "a");
        await Expect("labelSelector=tier%3Dweb&fieldSelector=metadata.name%3Db");
    }

    [Fact]
    public async Task Head_answers_headers_only()
    {
        using var request = new HttpRequestMessage(HttpMethod.Head, "/api/v1/namespaces/default") { Version = new Version(2, 0) };
        using var answer = await Admin.SendAsync(request, Token);
        Assert.Equal(200, (int)answer.StatusCode);
        Assert.True(answer.Content.Headers.ContentLength > 0);
    }

    private static string[] Names(Answer answer) => [.. answer.Json["items"]!.AsArray().Select(i => (string)i!["metadata"]!["name"]!)];

    private static string Continue(Answer answer) => (string)((JsonObject)answer.Json["metadata"]!)["continue"]!;
}
