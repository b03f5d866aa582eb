using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Tests.Support;
using OrleansCluster.Kubelet.Variables;
using static OrleansCluster.Kubelet.Tests.Support.PodJsonBuilder;

namespace OrleansCluster.Kubelet.Tests.Variables;

public sealed class EnvironmentTests
{
    private static readonly PodFacts Facts = new("node-1", "10.0.0.1", "10.244.1.5", 4, 8L << 30);

    private readonly FakeControlPlane _controlPlane = new();

    private async Task<ContainerEnvironment> BuildAsync(JsonObject pod)
    {
        var document = pod.Parse();
        return await new EnvironmentBuilder(new NodeObjects(_controlPlane))
            .BuildAsync(document, document.Spec.Containers[0], Facts, TestContext.Current.CancellationToken);
    }

    private static JsonObject Data(string name, JsonObject data) => new()
    {
        ["metadata"] = new JsonObject { ["name"] = name, ["namespace"] = "default" },
        ["data"] = data,
    };

    private static JsonObject Var(string name, string? value = null, JsonObject? from = null)
    {
        var variable = new JsonObject { ["name"] = name };
        if (value is not null)
            variable["value"] = value;
        if (from is not null)
            variable["valueFrom"] = from;
        return variable;
    }

    private static JsonObject Field(string path) => new() { ["fieldRef"] = new JsonObject { ["fieldPath"] = path } };

    private static string? Value(ContainerEnvironment environment, string name) =>
        environment.Variables.Where(pair => pair.Key == name).Select(pair => pair.Value).SingleOrDefault();

    [Theory]
    [InlineData("$(A)", "a")]
    [InlineData("x$(A)y$(A)", "xaya")]
    [InlineData("$$(A)", "$(A)")]
    [InlineData("$$$(A)", "$a")]
    [InlineData("$(NO)", "$(NO)")]
    [InlineData("$(A", "$(A")]
    [InlineData("$A", "$A")]
    [InlineData("$", "$")]
    [InlineData("$()", "$()")]
    public void Expansion_follows_the_rules(string text, string expected) =>
        Assert.Equal(expected, Expansion.Expand(text, new Dictionary<string, string> { ["A"] = "a" }));

    [Fact]
    public async Task Variables_expand_what_stands_before_them_only()
    {
        var environment = await BuildAsync(Pod(containers: Container("c").With("env", new JsonArray(Var("B", "$(C)-$(B)"), Var("C", "c"), Var("D", "$(C)")))));
        Assert.Equal("$(C)-$(B)", Value(environment, "B"));
        Assert.Equal("c", Value(environment, "D"));
    }

    [Fact]
    public async Task Downward_fields_and_resources_are_filled_in()
    {
        var pod = Pod(containers: Container("c").With("resources", new JsonObject
        {
            ["requests"] = new JsonObject { ["cpu"] = "250m", ["memory"] = "64Mi" },
        }).With("env", new JsonArray(
            Var("NAME", from: Field("metadata.name")), Var("IP", from: Field("status.podIP")), Var("NODE", from: Field("spec.nodeName")),
            Var("TIER", from: Field("metadata.labels['tier']")),
            Var("CPU", from: new JsonObject { ["resourceFieldRef"] = new JsonObject { ["resource"] = "requests.cpu", ["divisor"] = "1m" } }),
            Var("MEM", from: new JsonObject { ["resourceFieldRef"] = new JsonObject { ["resource"] = "requests.memory", ["divisor"] = "1Mi" } }),
            Var("LIMIT", from: new JsonObject { ["resourceFieldRef"] = new JsonObject { ["resource"] = "limits.cpu", ["divisor"] = "0" } }))));
        pod["metadata"]!["labels"] = new JsonObject { ["tier"] = "back" };
        var environment = await BuildAsync(pod);
        Assert.Equal(["web", "10.244.1.5", "node-1", "back", "250", "64", "4"],
            new[] { "NAME", "IP", "NODE", "TIER", "CPU", "MEM", "LIMIT" }.Select(name => Value(environment, name)));
    }

    [Fact]
    public async Task Config_maps_and_secrets_give_keys_and_whole_sets()
    {
        _controlPlane.Put("configmaps", Data("settings", new JsonObject { ["mode"] = "fast", ["1bad"] = "x" }));
        _controlPlane.Put("secrets", Data("keys", new JsonObject { ["token"] = Convert.ToBase64String("s3cret"u8) }));
        var environment = await BuildAsync(Pod(containers: Container("c")
            .With("envFrom", new JsonArray(
                new JsonObject { ["configMapRef"] = new JsonObject { ["name"] = "settings" } },
                new JsonObject { ["prefix"] = "K_", ["secretRef"] = new JsonObject { ["name"] = "keys" } },
                new JsonObject { ["secretRef"] = new JsonObject { ["name"] = "none", ["optional"] = true } }))
            .With("env", new JsonArray(
                Var("T", from: new JsonObject { ["secretKeyRef"] = new JsonObject { ["name"] = "keys", ["key"] = "token" } }),
                Var("O", from: new JsonObject { ["configMapKeyRef"] = new JsonObject { ["name"] = "settings", ["key"] = "none", ["optional"] = true } }),
                Var("mode", "own")))));
        Assert.Equal("own", Value(environment, "mode"));
        Assert.Equal("s3cret", Value(environment, "K_token"));
        Assert.Equal("s3cret", Value(environment, "T"));
        Assert.Null(Value(environment, "O"));
        var (source, keys) = Assert.Single(environment.InvalidNames);
        Assert.Equal("configMap default/settings", source);
        Assert.Equal(["1bad"], keys);
    }

    [Theory]
    [InlineData("configMapKeyRef", "none", "configmap \"none\" not found")]
    [InlineData("secretKeyRef", "none", "secret \"none\" not found")]
    [InlineData("configMapKeyRef", "settings", "couldn't find key k in ConfigMap default/settings")]
    public async Task Missing_references_are_named(string kind, string name, string message)
    {
        _controlPlane.Put("configmaps", Data("settings", []));
        var pod = Pod(containers: Container("c").With("env", new JsonArray(Var("V", from: new JsonObject { [kind] = new JsonObject { ["name"] = name, ["key"] = "k" } }))));
        var exception = await Assert.ThrowsAsync<ContainerConfigException>(() => BuildAsync(pod));
        Assert.Equal(message, exception.Message);
    }

    [Fact]
    public async Task Services_of_the_own_namespace_and_the_api_are_found_and_own_variables_win()
    {
        static JsonObject Service(string name, string ns, string ip, params JsonObject[] ports) => new()
        {
            ["metadata"] = new JsonObject { ["name"] = name, ["namespace"] = ns },
            ["spec"] = new JsonObject { ["clusterIP"] = ip, ["ports"] = new JsonArray([.. ports.Select(port => (JsonNode)port)]) },
        };
        _controlPlane.Put("services", Service("kubernetes", "default", "10.96.0.1", new JsonObject { ["name"] = "https", ["port"] = 443, ["protocol"] = "TCP" }));
        _controlPlane.Put("services", Service("other", "elsewhere", "10.96.0.9", new JsonObject { ["port"] = 1 }));
        _controlPlane.Put("services", Service("my-db", "default", "10.96.0.2", new JsonObject { ["port"] = 53, ["protocol"] = "UDP" }, new JsonObject { ["name"] = "web-ui", ["port"] = 80 }));
        _controlPlane.Put("services", Service("headless", "default", "None", new JsonObject { ["port"] = 1 }));
        var environment = await BuildAsync(Pod(containers: Container("c").With("env", new JsonArray(Var("MY_DB_SERVICE_HOST", "mine")))));
        var found = environment.Variables.ToDictionary(pair => pair.Key, pair => pair.Value);
        Assert.Equal("10.96.0.1", found["KUBERNETES_SERVICE_HOST"]);
        Assert.Equal("443", found["KUBERNETES_SERVICE_PORT_HTTPS"]);
        Assert.Equal("mine", found["MY_DB_SERVICE_HOST"]);
        Assert.Equal("53", found["MY_DB_SERVICE_PORT"]);
        Assert.Equal("80", found["MY_DB_SERVICE_PORT_WEB_UI"]);
        Assert.Equal("udp://10.96.0.2:53", found["MY_DB_PORT"]);
        Assert.Equal("tcp://10.96.0.2:80", found["MY_DB_PORT_80_TCP"]);
        Assert.Equal("tcp", found["MY_DB_PORT_80_TCP_PROTO"]);
        Assert.Equal("10.96.0.2", found["MY_DB_PORT_53_UDP_ADDR"]);
        Assert.DoesNotContain(found.Keys, key => key.StartsWith("OTHER", StringComparison.Ordinal) || key.StartsWith("HEADLESS", StringComparison.Ordinal));

        var without = Pod();
        without.Spec()["enableServiceLinks"] = false;
        var few = await BuildAsync(without);
        Assert.Contains(few.Variables, pair => pair.Key == "KUBERNETES_SERVICE_HOST");
        Assert.DoesNotContain(few.Variables, pair => pair.Key.StartsWith("MY_DB", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Known_objects_are_answered_while_the_control_plane_is_away()
    {
        _controlPlane.Put("configmaps", Data("settings", new JsonObject { ["a"] = "1" }));
        var objects = new NodeObjects(_controlPlane);
        var stop = TestContext.Current.CancellationToken;
        Assert.NotNull(await objects.GetAsync("configmaps", "default", "settings", stop));
        Assert.Null(await objects.GetAsync("configmaps", "default", "none", stop));
        _controlPlane.Down = true;
        Assert.NotNull(await objects.GetAsync("configmaps", "default", "settings", stop));
        Assert.Null(await objects.GetAsync("configmaps", "default", "none", stop));
        await Assert.ThrowsAsync<TimeoutException>(() => objects.GetAsync("configmaps", "default", "unknown", stop));
    }

    [Theory]
    [InlineData("100m", "0.1")]
    [InlineData("1.5", "1.5")]
    [InlineData("64Mi", "67108864")]
    [InlineData("1e3", "1000")]
    [InlineData("2k", "2000")]
    [InlineData("1Gi", "1073741824")]
    public void Amounts_are_read(string text, string expected) =>
        Assert.Equal(decimal.Parse(expected, System.Globalization.CultureInfo.InvariantCulture), OrleansCluster.Kubelet.Pods.Amount.Parse(text));

    [Fact]
    public void Label_lines_are_sorted_and_escaped()
    {
        var pod = Pod();
        pod["metadata"]!["annotations"] = new JsonObject { ["b"] = "two \"quoted\"", ["a"] = "one\nline" };
        Assert.Equal("a=\"one\\nline\"\nb=\"two \\\"quoted\\\"\"", DownwardFields.Field(pod.Parse(), Facts, "metadata.annotations"));
    }

    [Fact]
    public async Task Kept_environment_comes_back_and_is_private()
    {
        using var directory = new TemporaryDirectory();
        var path = KeptEnvironment.FileOf(directory.Path, "c");
        await KeptEnvironment.SaveAsync(path, new ContainerEnvironment([KeyValuePair.Create("A", "ä\"1")], []), TestContext.Current.CancellationToken);
        Assert.Equal([KeyValuePair.Create("A", "ä\"1")], (await KeptEnvironment.LoadAsync(path, TestContext.Current.CancellationToken)).Variables);
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
    }
}
