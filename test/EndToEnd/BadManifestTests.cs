using System.Net;
using System.Text;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>What a user gets to read when a manifest is wrong.</summary>
public sealed class BadManifestTests(HollowCluster fixture) : ClusterTests(fixture), IClassFixture<HollowCluster>
{
    public static TheoryData<string, string, string> Manifests => new()
    {
        {
            "a pod without containers",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: []}}",
            "The Pod \"bad\" is invalid: spec.containers: Required value"
        },
        {
            "a container without an image",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c}]}}",
            "The Pod \"bad\" is invalid: spec.containers[0].image: Required value"
        },
        {
            "a name with capitals",
            "{apiVersion: v1, kind: Pod, metadata: {name: Bad}, spec: {containers: [{name: c, image: busybox:1.36}]}}",
            "metadata.name: Invalid value: \"Bad\": a lowercase RFC 1123 subdomain must consist of"
        },
        {
            "two containers of one name",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, image: a}, {name: c, image: a}]}}",
            "The Pod \"bad\" is invalid: spec.containers[1].name: Duplicate value: \"c\""
        },
        {
            "a pull policy that does not exist",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, image: a, imagePullPolicy: Sometimes}]}}",
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\""
        },
        {
            "a misspelt field",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, imagee: a, image: a}]}}",
            "strict decoding error: unknown field \"spec.containers[0].imagee\""
        },
        {
            "a request above its limit",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, image: a, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}}",
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
        },
        {
            "a quantity that is none",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, image: a, resources: {requests: {cpu: lots}}}]}}",
            "quantities must match the regular expression"
        },
        {
            "a text where a number belongs",
            "{apiVersion: v1, kind: ReplicationController, metadata: {name: bad}, spec: {replicas: many}}",
            "spec.replicas"
        },
        {
            "a mount of a volume that is not there",
            "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c, image: a, volumeMounts: [{name: v, mountPath: /x}]}]}}",
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\""
        },
        {
            "a label value with a blank",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad, labels: {a: 'b c'}}}",
            "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of"
        },
        {
            "a selector that does not match its template",
            "{apiVersion: v1, kind: ReplicationController, metadata: {name: bad}, spec: {replicas: 1, selector: {app: one}, template: {metadata: {labels: {app: two}}, spec: {containers: [{name: c, image: a}]}}}}",
            "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"two\"}: `selector` does not match template `labels`"
        },
        {
            "fewer than no replicas",
            "{apiVersion: v1, kind: ReplicationController, metadata: {name: bad}, spec: {replicas: -1, selector: {app: x}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: a}]}}}}",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        },
        {
            "a service without ports",
            "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {selector: {a: b}}}",
            "The Service \"bad\" is invalid: spec.ports: Required value"
        },
        {
            "a service with a port out of range",
            "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 70000}]}}",
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"
        },
        {
            "a node port out of range",
            "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {type: NodePort, ports: [{port: 80, nodePort: 80}]}}",
            "provided port is not in the valid range. The range of valid ports is 30000-32767"
        },
        {
            "a namespace that does not exist",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad, namespace: nowhere}}",
            "namespaces \"nowhere\" not found"
        },
        {
            "a kind that does not exist",
            "{apiVersion: v1, kind: Pot, metadata: {name: bad}}",
            "no matches for kind \"Pot\" in version \"v1\""
        },
        {
            "no kind at all",
            "{apiVersion: v1, metadata: {name: bad}}",
            "kind not set"
        },
    };

    [Theory]
    [MemberData(nameof(Manifests))]
    public async Task Kubectl_apply_shows_what_is_wrong(string what, string manifest, string expected)
    {
        // A first brace would make kubectl take it for JSON.
        CommandResult result = await Kubectl.TryAsync("apply -f -", "# YAML\n" + manifest);

        Assert.True(result.ExitCode != 0, $"{what} was accepted: {result}");
        Assert.Contains(expected, result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("InternalError", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("application/json", "{", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "[]", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "null", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "\"text\"", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\",\"labels\":[]}}", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\"}}", HttpStatusCode.BadRequest)]
    [InlineData("application/yaml", "a: [", HttpStatusCode.BadRequest)]
    [InlineData("application/yaml", "a: &a [*a]", HttpStatusCode.BadRequest)]
    [InlineData("application/vnd.kubernetes.protobuf", "k8s", HttpStatusCode.BadRequest)]
    [InlineData("text/plain", "hello", HttpStatusCode.UnsupportedMediaType)]
    public async Task A_body_that_is_no_pod_is_refused_with_a_status(string type, string body, HttpStatusCode expected)
    {
        using HttpClient client = Cluster.Http();
        using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
        content.Headers.ContentType = new(type);

        using HttpResponseMessage answer = await client.PostAsync(
            new Uri("api/v1/namespaces/default/pods", UriKind.Relative), content, TestContext.Current.CancellationToken);
        string status = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);

        Assert.Equal((expected, true), (answer.StatusCode, status.Contains("\"kind\":\"Status\"", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Nesting_without_end_is_refused()
    {
        using HttpClient client = Cluster.Http();
        string body = string.Concat(Enumerable.Repeat("{\"a\":", 100_000)) + "1" + new string('}', 100_000);
        using var content = new StringContent(body, Encoding.UTF8, "application/json");

        using HttpResponseMessage answer = await client.PostAsync(
            new Uri("api/v1/namespaces/default/configmaps", UriKind.Relative), content, TestContext.Current.CancellationToken);

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
    }

    [Fact]
    public async Task A_caller_without_credentials_may_see_health_and_version_only()
    {
        using HttpClient anonymous = Cluster.Http(anonymous: true);

        Assert.Equal(
            [HttpStatusCode.OK, HttpStatusCode.OK, HttpStatusCode.OK, HttpStatusCode.Forbidden, HttpStatusCode.Forbidden],
            await Task.WhenAll(new[] { "healthz", "readyz", "version", "api/v1/pods", "api/v1/namespaces/default/secrets" }.Select(StatusAsync)));

        async Task<HttpStatusCode> StatusAsync(string path)
        {
            using HttpResponseMessage answer = await anonymous.GetAsync(new Uri(path, UriKind.Relative), TestContext.Current.CancellationToken);
            return answer.StatusCode;
        }
    }

    [Fact]
    public async Task A_wrong_token_is_refused()
    {
        using HttpClient client = Cluster.Http(anonymous: true);
        client.DefaultRequestHeaders.Authorization = new("Bearer", "not-the-token");

        using HttpResponseMessage answer = await client.GetAsync(
            new Uri("api/v1/pods", UriKind.Relative), TestContext.Current.CancellationToken);

        Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
    }
}
