using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace OrleansCluster.ApiServer.Tests;

public sealed class SecurityTests(TestCluster cluster) : KubernetesTest(cluster)
{
    private HttpClient Bob => Cluster.Client("bob-token");

    [Theory]
    [InlineData("/healthz", 200)]
    [InlineData("/livez?verbose", 200)]
    [InlineData("/readyz", 200)]
    [InlineData("/readyz/store", 200)]
    [InlineData("/readyz/nonsense", 404)]
    [InlineData("/version", 200)]
    [InlineData("/api", 403)]
    [InlineData("/metrics", 403)]
    [InlineData("/openapi/v3", 403)]
    [InlineData("/api/v1/namespaces", 403)]
    [InlineData("/api/v1/namespaces/default/pods/x/log", 403)]
    [InlineData("/nonsense", 403)]
    public async Task Anonymous_reaches_health_and_version_only(string path, int code)
    {
        var answer = await SendAsync(Cluster.Client(null), HttpMethod.Get, path);
        Assert.Equal(code, answer.Code);
    }

    [Theory]
    [InlineData("Bearer wrong")]
    [InlineData("Bearer ")]
    public async Task A_wrong_token_is_a_401_and_never_anonymous(string header)
    {
        var client = Cluster.Client(null);
        client.DefaultRequestHeaders.TryAddWithoutValidation("Authorization", header);
        var answer = await SendAsync(client, HttpMethod.Get, "/healthz");
        Assert.Equal(401, answer.Code);
        Assert.Equal("""{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}""",
            answer.Text);
    }

    [Fact]
    public async Task A_static_token_names_user_groups_and_uid()
    {
        var answer = await SendAsync(Bob, HttpMethod.Post, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
        Assert.Equal(201, answer.Code);
        var user = answer.Json["status"]!["userInfo"]!;
        Assert.Equal("bob", (string)user["username"]!);
        Assert.Equal("1", (string)user["uid"]!);
        Assert.Equal(["devs", "ops", "system:authenticated"], user["groups"]!.AsArray().Select(g => (string)g!));
    }

    [Fact]
    public async Task A_client_certificate_of_our_authority_names_user_and_groups()
    {
        var client = Cluster.CertificateClient(Cluster.Pki.ClientCertificate("alice", "team-a", "team-b"));
        var answer = await SendAsync(client, HttpMethod.Post, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
        var user = answer.Json["status"]!["userInfo"]!;
        Assert.Equal("alice", (string)user["username"]!);
        Assert.Equal(["team-a", "team-b", "system:authenticated"], user["groups"]!.AsArray().Select(g => (string)g!));
        Assert.Equal(200, (await SendAsync(Cluster.CertificateClient(Cluster.Pki.AdminCertificate()), HttpMethod.Get, "/api/v1/nodes")).Code);
    }

    [Fact]
    public async Task A_certificate_of_somebody_else_or_for_servers_is_a_401()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=kubernetes-admin, O=system:masters", key, HashAlgorithmName.SHA256);
        using var forged = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        Assert.Equal(401, (await SendAsync(Cluster.CertificateClient(forged), HttpMethod.Get, "/api/v1/nodes")).Code);
        var server = Cluster.Pki.NodeServingCertificate("n1", []);
        Assert.Equal(401, (await SendAsync(Cluster.CertificateClient(server), HttpMethod.Get, "/api/v1/nodes")).Code);
    }

    [Fact]
    public async Task Refusals_are_worded_as_clients_expect()
    {
        var ns = await NewNamespaceAsync();
        var one = await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{ns}/pods/p");
        Assert.Equal(403, one.Code);
        Assert.Equal($"pods \"p\" is forbidden: User \"bob\" cannot get resource \"pods\" in API group \"\" in the namespace \"{ns}\"", one.Message);
        Assert.Equal("nosniff", one.Headers.GetValues("X-Content-Type-Options").Single());
        var all = await SendAsync(Bob, HttpMethod.Get, "/apis/rbac.authorization.k8s.io/v1/clusterroles");
        Assert.Equal(
            "clusterroles.rbac.authorization.k8s.io is forbidden: User \"bob\" cannot list resource \"clusterroles\" in API group \"rbac.authorization.k8s.io\" at the cluster scope",
            all.Message);
        var log = await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{ns}/pods/p/log");
        Assert.Contains("cannot get resource \"pods/log\"", log.Message, StringComparison.Ordinal);
        var path = await SendAsync(Bob, HttpMethod.Get, "/metrics");
        Assert.Equal("forbidden: User \"bob\" cannot get path \"/metrics\"", path.Message);
        // Who may not write is refused before the body is looked at.
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Post, $"/api/v1/namespaces/{ns}/pods", "{")).Code);
    }

    [Fact]
    public async Task A_role_binding_grants_inside_its_namespace_until_it_is_deleted()
    {
        var ns = await NewNamespaceAsync();
        var other = await NewNamespaceAsync();
        await GrantAsync(ns, "view", "User", "bob");
        await UntilAsync(async () => (await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{ns}/configmaps")).Code == 200);
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{other}/configmaps")).Code);
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Get, "/api/v1/configmaps")).Code);
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{ns}/secrets")).Code);
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Post, $"/api/v1/namespaces/{ns}/configmaps", """{"metadata":{"name":"x"}}""")).Code);
        Assert.Equal(200, (await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{ns}")).Code);

        await SendAsync(Admin, HttpMethod.Delete, $"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings/grant");
        await UntilAsync(async () => (await SendAsync(Bob, HttpMethod.Get, $"/api/v1/namespaces/{ns}/configmaps")).Code == 403);
    }

    [Fact]
    public async Task Nobody_grants_what_he_does_not_hold()
    {
        var ns = await NewNamespaceAsync();
        await GrantAsync(ns, "admin", "User", "bob");
        var roles = $"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles";
        await UntilAsync(async () => (await SendAsync(Bob, HttpMethod.Get, roles)).Code == 200);

        var held = await SendAsync(Bob, HttpMethod.Post, roles,
            """{"metadata":{"name":"held"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}""");
        Assert.Equal(201, held.Code);
        var more = await SendAsync(Bob, HttpMethod.Post, roles,
            """{"metadata":{"name":"more"},"rules":[{"apiGroups":[""],"resources":["nodes"],"verbs":["get"]}]}""");
        Assert.Equal(403, more.Code);
        Assert.Contains("is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}", more.Message,
            StringComparison.Ordinal);

        var patched = await SendAsync(Bob, HttpMethod.Patch, roles + "/held",
            """{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}""", "application/merge-patch+json");
        Assert.Equal(403, patched.Code);
        var allowed = await SendAsync(Bob, HttpMethod.Patch, roles + "/held",
            """{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}""", "application/merge-patch+json");
        Assert.Equal(200, allowed.Code);

        var bindings = $"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings";
        const string ToAdmin = """{"metadata":{"name":"up"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"bob"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}}""";
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Post, bindings, ToAdmin)).Code);
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Put, bindings + "/up", ToAdmin)).Code);
    }

    [Fact]
    public async Task Who_may_only_update_cannot_create_by_a_put()
    {
        var ns = await NewNamespaceAsync();
        await SendAsync(Admin, HttpMethod.Post, $"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles",
            """{"metadata":{"name":"updater"},"rules":[{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"verbs":["update","get"]}]}""");
        await GrantAsync(ns, "updater", "User", "bob", "Role");
        var path = $"/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/l";
        await UntilAsync(async () => (await SendAsync(Bob, HttpMethod.Get, path)).Code == 404);
        var refused = await SendAsync(Bob, HttpMethod.Put, path, """{"metadata":{"name":"l"},"spec":{}}""");
        Assert.Equal(403, refused.Code);
        Assert.Contains("cannot create resource \"leases\"", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Impersonation_needs_the_right_and_then_acts_as_the_other()
    {
        var asViewer = Cluster.Client(Cluster.AdminToken);
        asViewer.DefaultRequestHeaders.Add("Impersonate-User", "carol");
        asViewer.DefaultRequestHeaders.Add("Impersonate-Group", "g1");
        var who = await SendAsync(asViewer, HttpMethod.Post, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
        Assert.Equal("carol", (string)who.Json["status"]!["userInfo"]!["username"]!);
        Assert.Equal(["g1", "system:authenticated"], who.Json["status"]!["userInfo"]!["groups"]!.AsArray().Select(g => (string)g!));
        Assert.Equal(403, (await SendAsync(asViewer, HttpMethod.Get, "/api/v1/nodes")).Code);

        var bob = Bob;
        bob.DefaultRequestHeaders.Add("Impersonate-User", "kubernetes-admin");
        var refused = await SendAsync(bob, HttpMethod.Get, "/api/v1/nodes");
        Assert.Equal(403, refused.Code);
        Assert.Contains("cannot impersonate resource \"users\"", refused.Message, StringComparison.Ordinal);

        var groupOnly = Cluster.Client(Cluster.AdminToken);
        groupOnly.DefaultRequestHeaders.Add("Impersonate-Group", "g1");
        Assert.Contains("without impersonating a user", (await SendAsync(groupOnly, HttpMethod.Get, "/api/v1/nodes")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Access_reviews_answer_for_oneself_and_for_others()
    {
        var ns = await NewNamespaceAsync();
        await GrantAsync(ns, "view", "Group", "devs");
        string Review(string verb) => $$$"""{"spec":{"resourceAttributes":{"namespace":"{{{ns}}}","verb":"{{{verb}}}","resource":"pods"} } }""";
        const string path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        await UntilAsync(async () => (bool)(await SendAsync(Bob, HttpMethod.Post, path, Review("list"))).Json["status"]!["allowed"]!);
        var denied = await SendAsync(Bob, HttpMethod.Post, path, Review("delete"));
        Assert.Equal(201, denied.Code);
        Assert.False((bool)denied.Json["status"]!["allowed"]!);

        var other = await SendAsync(Admin, HttpMethod.Post, "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            $$$"""{"spec":{"user":"x","groups":["devs"],"resourceAttributes":{"namespace":"{{{ns}}}","verb":"get","resource":"pods"} } }""");
        Assert.True((bool)other.Json["status"]!["allowed"]!);
        Assert.Equal($"RBAC: allowed by RoleBinding \"grant/{ns}\" of ClusterRole \"view\" to Group \"devs\"", (string)other.Json["status"]!["reason"]!);
        Assert.Equal(403, (await SendAsync(Bob, HttpMethod.Post, "/apis/authorization.k8s.io/v1/subjectaccessreviews", "{}")).Code);

        var rules = await SendAsync(Bob, HttpMethod.Post, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", $$$"""{"spec":{"namespace":"{{{ns}}}"}}""");
        Assert.Contains(rules.Json["status"]!["resourceRules"]!.AsArray(), r => r!["resources"]!.AsArray().Any(x => (string)x! == "pods"));

        var token = await SendAsync(Admin, HttpMethod.Post, "/apis/authentication.k8s.io/v1/tokenreviews", """{"spec":{"token":"bob-token"}}""");
        Assert.Equal("bob", (string)token.Json["status"]!["user"]!["username"]!);
    }

    [Fact]
    public async Task Default_namespaces_roles_and_bindings_are_there()
    {
        foreach (var name in (string[])["default", "kube-system", "kube-public", "kube-node-lease"])
            Assert.Equal(200, (await GetAsync("/api/v1/namespaces/" + name)).Code);
        foreach (var role in (string[])["cluster-admin", "admin", "edit", "view", "system:node", "system:discovery"])
        {
            var answer = await GetAsync("/apis/rbac.authorization.k8s.io/v1/clusterroles/" + Uri.EscapeDataString(role));
            Assert.Equal(200, answer.Code);
            Assert.Equal("rbac-defaults", (string)answer.Json["metadata"]!["labels"]!["kubernetes.io/bootstrapping"]!);
        }
        Assert.Equal(200, (await GetAsync("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin")).Code);
    }

    [Fact]
    public void The_private_files_are_private()
    {
        if (OperatingSystem.IsWindows())
            return;
        foreach (var file in Directory.GetFiles(Path.Combine(Cluster.Folder, "pki"), "*.key").Append(Cluster.Kubeconfig).Append(Path.Combine(Cluster.Folder, "token")))
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
    }

    private async Task GrantAsync(string ns, string role, string subjectKind, string subject, string roleKind = "ClusterRole")
    {
        var answer = await SendAsync(Admin, HttpMethod.Post, $"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings",
            $$$"""{"metadata":{"name":"grant"},"subjects":[{"kind":"{{{subjectKind}}}","apiGroup":"rbac.authorization.k8s.io","name":"{{{subject}}}"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"{{{roleKind}}}","name":"{{{role}}}"}}""");
        Assert.True(answer.Code == 201, answer.Text);
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        // The authorizer hears of a change from the change log, a moment after the write is acknowledged.
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
        limit.CancelAfter(TimeSpan.FromSeconds(10));
        while (!await condition())
            await Task.Delay(5, limit.Token);
    }
}
