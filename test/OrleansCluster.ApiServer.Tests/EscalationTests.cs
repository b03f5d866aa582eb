namespace OrleansCluster.ApiServer.Tests;

/// <summary>A user with few rights tries every way around them.</summary>
public sealed class EscalationTests(TestCluster cluster) : KubernetesTest(cluster)
{
    private const string Rbac = "/apis/rbac.authorization.k8s.io/v1";

    [Fact]
    public async Task Rights_on_pods_are_none_on_what_lies_below_them()
    {
        var (mallory, ns) = await UserWithAsync("""{"apiGroups":[""],"resources":["pods"],"verbs":["get","list","watch","create","update","patch","delete"]}""");
        var pod = $"/api/v1/namespaces/{ns}/pods/p";
        Assert.Equal(201, (await SendAsync(mallory, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods",
            """{"metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"i"}]}}""")).Code);
        Assert.Equal(200, (await SendAsync(mallory, HttpMethod.Get, pod)).Code);
        foreach (var path in (string[])[pod + "/log", pod + "/exec?command=id&stdout=1", pod + "/attach?stdout=1", pod + "/portforward?ports=80"])
        {
            Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Get, path)).Code);
            Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, path)).Code);
        }
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, pod + "/binding", """{"target":{"kind":"Node","name":"n"}}""")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, $"/api/v1/namespaces/{ns}/bindings", """{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}""")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, pod + "/eviction", "{}")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Put, pod + "/status", "{}")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Patch, pod + "/status", "{}", "application/merge-patch+json")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/pods")).Code);
        // Nor can a write of the pod itself do what its subresources are for.
        await SendAsync(mallory, HttpMethod.Patch, pod, """{"status":{"phase":"Succeeded"}}""", "application/merge-patch+json");
        Assert.Equal("Pending", (string)(await GetAsync(pod)).Json["status"]!["phase"]!);
        Assert.Equal(422, (await SendAsync(mallory, HttpMethod.Patch, pod, """{"spec":{"nodeName":"n"}}""", "application/merge-patch+json")).Code);
    }

    [Fact]
    public async Task A_name_in_a_rule_is_the_only_name()
    {
        var (mallory, ns) = await UserWithAsync("""{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["mine"],"verbs":["get","list","watch","delete","deletecollection"]}""");
        await CreateConfigMapAsync(ns, "mine");
        await CreateConfigMapAsync(ns, "other");
        var maps = $"/api/v1/namespaces/{ns}/configmaps";
        Assert.Equal(200, (await SendAsync(mallory, HttpMethod.Get, maps + "/mine")).Code);
        Assert.Equal(200, (await SendAsync(mallory, HttpMethod.Get, maps + "?fieldSelector=metadata.name%3Dmine")).Code);
        foreach (var path in (string[])
                 [
                     maps, maps + "/other", maps + "?watch=1", maps + "/other?watch=1&timeoutSeconds=1", $"/api/v1/watch/namespaces/{ns}/configmaps",
                     $"/api/v1/watch/namespaces/{ns}/configmaps/other", maps + "?fieldSelector=metadata.name%3Dother", maps + "?fieldSelector=metadata.name!%3Dmine",
                     maps + "?fieldSelector=metadata.name%3Dmine%2Cmetadata.name%3Dother", maps + "?fieldSelector=metadata.name%3Dmine&fieldSelector=metadata.name%3Dother",
                     maps + "?labelSelector=metadata.name%3Dmine", maps + "/mine%2F..%2Fother", "/api/v1/configmaps", maps + "?limit=1", maps + "/",
                 ])
        {
            var answer = await SendAsync(mallory, HttpMethod.Get, path);
            Assert.True(answer.Code == 403, $"{path}: {answer.Code} {answer.Text}");
        }
        // One object is watched by its path, whatever the query adds.
        var watch = await SendAsync(mallory, HttpMethod.Get, maps + "/mine?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dother");
        Assert.DoesNotContain("\"other\"", watch.Text, StringComparison.Ordinal);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Delete, maps)).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Delete, maps + "/other")).Code);
        Assert.Equal(200, (await SendAsync(mallory, HttpMethod.Delete, maps + "?fieldSelector=metadata.name%3Dmine")).Code);
        Assert.Equal(404, (await GetAsync(maps + "/mine")).Code);
        Assert.Equal(200, (await GetAsync(maps + "/other")).Code);
    }

    [Fact]
    public async Task Writing_roles_gives_no_rights_by_any_encoding()
    {
        var (mallory, ns) = await UserWithAsync("""{"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles","rolebindings"],"verbs":["*"]}""", plainVerbs: true);
        var roles = $"{Rbac}/namespaces/{ns}/roles";
        var bindings = $"{Rbac}/namespaces/{ns}/rolebindings";
        const string All = """{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}""";
        foreach (var (body, type) in ((string, string)[])
                 [
                     ($$"""{"metadata":{"name":"r"},"rules":[{{All}}]}""", "application/json"),
                     ($$"""{"metadata":{"name":"r"},"rules":[],"rules":[{{All}}]}""", "application/json"),
                     ($$"""{"metadata":{"name":"r"},"rules":[{{All}}],"rules":[]}""", "application/json"),
                     ($$"""{"metadata":{"name":"r"},"rules":[{"verbs":[],"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}""", "application/json"),
                     ($$"""{"metadata":{"name":"r"},"\u0072ules":[{{All}}]}""", "application/json"),
                     ("metadata: {name: r}\nrules: []\nrules:\n- {apiGroups: ['*'], resources: ['*'], verbs: ['*']}\n", "application/yaml"),
                     ("metadata: {name: r}\nrules: &a\n- {apiGroups: ['*'], resources: ['*'], verbs: ['*']}\n", "application/yaml"),
                 ])
        {
            var answer = await SendAsync(mallory, HttpMethod.Post, roles, body, type);
            Assert.True(answer.Code is 403 or 400 or 422, $"{body}: {answer.Code} {answer.Text}");
            answer = await SendAsync(mallory, HttpMethod.Put, roles + "/r", body, type);
            Assert.True(answer.Code is 403 or 400 or 422, $"{body}: {answer.Code} {answer.Text}");
        }
        Assert.Equal(404, (await GetAsync(roles + "/r")).Code);

        Assert.Equal(201, (await SendAsync(mallory, HttpMethod.Post, roles, """{"metadata":{"name":"r"},"rules":[]}""")).Code);
        foreach (var (patch, type) in ((string, string)[])
                 [
                     ($$"""{"rules":[{{All}}]}""", "application/merge-patch+json"),
                     ($$"""{"rules":[{{All}}]}""", "application/strategic-merge-patch+json"),
                     ($$"""[{"op":"add","path":"/rules","value":[{{All}}]}]""", "application/json-patch+json"),
                     ($$"""[{"op":"add","path":"/metadata/x","value":[{{All}}]},{"op":"move","from":"/metadata/x","path":"/rules"}]""", "application/json-patch+json"),
                     ($$"""[{"op":"replace","path":"","value":{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"r","namespace":"{{ns}}"},"rules":[{{All}}]} }]""", "application/json-patch+json"),
                 ])
        {
            var answer = await SendAsync(mallory, HttpMethod.Patch, roles + "/r", patch, type);
            Assert.True(answer.Code is 403 or 400 or 422, $"{patch}: {answer.Code} {answer.Text}");
        }
        Assert.Empty((await GetAsync(roles + "/r")).Json["rules"] as System.Text.Json.Nodes.JsonArray ?? []);

        foreach (var (kind, role) in ((string, string)[])[("ClusterRole", "cluster-admin"), ("ClusterRole", "view"), ("Role", "absent")])
        {
            var answer = await SendAsync(mallory, HttpMethod.Post, bindings,
                $$$"""{"metadata":{"name":"b"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"mallory"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"{{{kind}}}","name":"{{{role}}}"}}""");
            Assert.True(answer.Code is 403 or 404, answer.Text);
        }
        // The binding that makes him what he is: other subjects would be his gift, another role his gain.
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, $"{Rbac}/clusterroles", """{"metadata":{"name":"c"},"rules":[]}""")).Code);
        Assert.NotEqual(200, (await SendAsync(mallory, HttpMethod.Patch, bindings + "/grant",
            """{"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}}""", "application/merge-patch+json")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Get, $"/api/v1/namespaces/{ns}/secrets")).Code);
    }

    [Fact]
    public async Task Being_somebody_else_needs_the_right_for_every_part_of_him()
    {
        var (_, ns) = await UserWithAsync("""{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}""");
        foreach (var headers in (string[][])
                 [
                     ["Impersonate-User", "mallory"], ["Impersonate-User", "kubernetes-admin"], ["Impersonate-User", "system:serviceaccount:kube-system:default"],
                     ["Impersonate-User", "system:anonymous"], ["impersonate-user", "kubernetes-admin"],
                     ["Impersonate-User", "mallory", "Impersonate-Group", "system:masters"],
                 ])
        {
            var answer = await SendAsync(With(Mallory(ns), headers), HttpMethod.Get, $"/api/v1/namespaces/{ns}/pods");
            Assert.True(answer.Code == 403, $"{string.Join(" ", headers)}: {answer.Code}");
        }
        // A part of an identity without the identity is refused, not ignored.
        foreach (var header in (string[])["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-scopes"])
        {
            var answer = await SendAsync(With(Mallory(ns), [header, "system:masters"]), HttpMethod.Get, $"/api/v1/namespaces/{ns}/pods");
            Assert.Contains("without impersonating a user", answer.Message, StringComparison.Ordinal);
        }
        // Headers of proxies that we are not behind mean nothing.
        var proxied = await SendAsync(
            With(Mallory(ns), ["X-Remote-User", "kubernetes-admin", "X-Remote-Group", "system:masters", "X-Original-Url", "/version", "X-Http-Method-Override", "GET"]),
            HttpMethod.Get, "/api/v1/secrets");
        Assert.Equal(403, proxied.Code);
        Assert.Contains($"User \"mallory-{ns}\"", proxied.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Questions_about_others_and_their_tokens_are_not_for_everybody()
    {
        var (mallory, ns) = await UserWithAsync("""{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}""");
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, "/apis/authentication.k8s.io/v1/tokenreviews", """{"spec":{"token":"x"}}""")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, "/apis/authorization.k8s.io/v1/subjectaccessreviews", "{}")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Post, $"/apis/authorization.k8s.io/v1/namespaces/{ns}/localsubjectaccessreviews", "{}")).Code);
        // The user in a review of oneself is oneself.
        var own = await SendAsync(mallory, HttpMethod.Post, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            """{"spec":{"user":"kubernetes-admin","groups":["system:masters"],"resourceAttributes":{"verb":"get","resource":"secrets"}},"status":{"allowed":true}}""");
        Assert.False((bool)own.Json["status"]!["allowed"]!);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Put, $"/api/v1/namespaces/{ns}/finalize", "{}")).Code);
        Assert.Equal(403, (await SendAsync(mallory, HttpMethod.Get, "/metrics")).Code);
    }

    /// <summary>A user of a certificate, bound in a namespace of his own to a role with one rule.</summary>
    private async Task<(HttpClient Client, string Namespace)> UserWithAsync(string rule, bool plainVerbs = false)
    {
        var ns = await NewNamespaceAsync();
        if (plainVerbs)
            rule = rule.Replace("[\"*\"]", """["get","list","watch","create","update","patch","delete"]""", StringComparison.Ordinal);
        Assert.Equal(201, (await SendAsync(Admin, HttpMethod.Post, $"{Rbac}/namespaces/{ns}/roles", $$$"""{"metadata":{"name":"few"},"rules":[{{{rule}}}]}""")).Code);
        Assert.Equal(201, (await SendAsync(Admin, HttpMethod.Post, $"{Rbac}/namespaces/{ns}/rolebindings",
            $$$"""{"metadata":{"name":"grant"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"mallory-{{{ns}}}"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"few"}}""")).Code);
        var client = Mallory(ns);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
        limit.CancelAfter(TimeSpan.FromSeconds(10));
        // The authorizer hears of the binding from the change log.
        while ((await SendAsync(client, HttpMethod.Post, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", $$$"""{"spec":{"namespace":"{{{ns}}}"}}"""))
               .Json["status"]!["resourceRules"]!.AsArray().Count < 2)
        {
            await Task.Delay(5, limit.Token);
        }
        return (client, ns);
    }

    private HttpClient Mallory(string ns) => Cluster.CertificateClient(Cluster.Pki.ClientCertificate("mallory-" + ns));

    private static HttpClient With(HttpClient client, string[] headers)
    {
        for (var i = 0; i < headers.Length; i += 2)
            client.DefaultRequestHeaders.TryAddWithoutValidation(headers[i], headers[i + 1]);
        return client;
    }
}
