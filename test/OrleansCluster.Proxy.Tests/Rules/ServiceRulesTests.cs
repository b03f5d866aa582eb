using System.Text.Json;
using System.Text.Json.Nodes;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.Tests.Rules;

public sealed class ServiceRulesTests
{
    [Fact]
    public void Compute_two_slices_merges_removes_doubles_and_sorts_by_address()
    {
        var rules = Objects.Compute(
            Objects.Service("web"),
            Objects.ReadySlice("b", "web", "10.244.0.10", "10.244.0.9"),
            Objects.ReadySlice("a", "web", "10.244.0.9", "10.244.0.2"));

        var rule = Assert.Single(rules);
        Assert.Equal(["10.244.0.2:8080", "10.244.0.9:8080", "10.244.0.10:8080"], rule.Endpoints.Texts());
        Assert.Equal(new ServicePortKey("default", "web", "http", ServiceProtocol.Tcp), rule.Key);
        Assert.Equal(["10.96.0.10"], rule.ClusterIPs.Texts());
        Assert.Equal(80, rule.Port);
    }

    [Fact]
    public void Compute_order_of_slices_does_not_matter()
    {
        byte[][] slices = [Objects.ReadySlice("a", "web", "10.0.0.1"), Objects.ReadySlice("b", "web", "10.0.0.2", "10.0.0.1")];

        Assert.Equal(Objects.Compute(Objects.Service("web"), slices), Objects.Compute(Objects.Service("web"), slices.Reverse()));
    }

    [Fact]
    public void Compute_absent_conditions_mean_ready_and_unready_is_left_out()
    {
        var rules = Objects.Compute(Objects.Service("web"), Objects.Slice("a", "web", """
            [{"addresses":["10.0.0.1"],"conditions":{"ready":false}},
             {"addresses":["10.0.0.2"],"conditions":{"ready":true}},
             {"addresses":["10.0.0.3"],"conditions":{}},
             {"addresses":["10.0.0.4"],"conditions":{"ready":false,"serving":true,"terminating":true}}]
            """));

        Assert.Equal(["10.0.0.2:8080", "10.0.0.3:8080"], rules[0].Endpoints.Texts());
    }

    [Fact]
    public void Compute_none_ready_falls_back_to_serving_terminating()
    {
        var rules = Objects.Compute(Objects.Service("web"), Objects.Slice("a", "web", """
            [{"addresses":["10.0.0.1"],"conditions":{"ready":false,"serving":false,"terminating":true}},
             {"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}},
             {"addresses":["10.0.0.3"],"conditions":{"ready":false,"serving":true}}]
            """));

        Assert.Equal(["10.0.0.2:8080"], rules[0].Endpoints.Texts());
    }

    [Fact]
    public void Compute_endpoint_in_two_slices_counts_as_ready_if_either_says_so()
    {
        var rules = Objects.Compute(
            Objects.Service("web"),
            Objects.Slice("a", "web", """[{"addresses":["10.0.0.1"],"conditions":{"ready":false}}]"""),
            Objects.ReadySlice("b", "web", "10.0.0.1"));

        Assert.Equal(["10.0.0.1:8080"], rules[0].Endpoints.Texts());
    }

    [Theory]
    [InlineData("None", "ClusterIP")]
    [InlineData("", "ClusterIP")]
    [InlineData(null, "ExternalName")]
    [InlineData("10.96.0.1", "ExternalName")]
    public void Compute_headless_unallocated_and_external_name_have_no_rules(string? clusterIP, string type)
    {
        Assert.Empty(Objects.Compute(Objects.Service("web", clusterIP, s => s["type"] = type), Objects.ReadySlice("a", "web", "10.0.0.1")));
    }

    [Fact]
    public void Compute_service_of_another_proxy_has_no_rules()
    {
        var service = JsonNode.Parse(Objects.Service("web"))!;
        service["metadata"]!["labels"] = new JsonObject { ["service.kubernetes.io/service-proxy-name"] = "other" };

        Assert.Empty(Objects.Compute(JsonSerializer.SerializeToUtf8Bytes(service)));
    }

    [Fact]
    public void Compute_without_slices_keeps_the_rule_without_endpoints()
    {
        Assert.Empty(Assert.Single(Objects.Compute(Objects.Service("web"))).Endpoints);
    }

    [Fact]
    public void Compute_several_ports_matches_by_name_and_protocol()
    {
        const string Ports = """[{"name":"dns","port":53,"protocol":"UDP"},{"name":"dns-tcp","port":53,"protocol":"TCP","nodePort":30053}]""";
        const string SlicePorts = """[{"name":"dns","port":5353,"protocol":"UDP"},{"name":"dns-tcp","port":5354,"protocol":"TCP"}]""";

        var rules = Objects.Compute(
            Objects.Service("dns", ports: Ports), Objects.Slice("a", "dns", """[{"addresses":["10.0.0.1"]}]""", SlicePorts));

        Assert.Equal(["10.0.0.1:5353"], rules[0].Endpoints.Texts());
        Assert.Equal(["10.0.0.1:5354"], rules[1].Endpoints.Texts());
        Assert.Equal(0, rules[0].NodePort);
        Assert.Equal(30053, rules[1].NodePort);
    }

    [Fact]
    public void Compute_affinity_has_the_given_or_the_default_time()
    {
        var given = Objects.Service("web", spec: s =>
        {
            s["sessionAffinity"] = "ClientIP";
            s["sessionAffinityConfig"] = JsonNode.Parse("""{"clientIP":{"timeoutSeconds":42}}""");
        });

        Assert.Equal(TimeSpan.FromSeconds(42), Objects.Compute(given)[0].Affinity);
        Assert.Equal(TimeSpan.FromHours(3), Objects.Compute(Objects.Service("web", spec: s => s["sessionAffinity"] = "ClientIP"))[0].Affinity);
        Assert.Null(Objects.Compute(Objects.Service("web"))[0].Affinity);
    }

    [Fact]
    public void Compute_local_policies_keep_only_endpoints_of_nodes_on_this_host()
    {
        var slice = Objects.Slice("a", "web", """
            [{"addresses":["10.0.0.1"],"nodeName":"here"},{"addresses":["10.0.0.2"],"nodeName":"elsewhere"}]
            """);

        var internalLocal = Objects.Compute(Objects.Service("web", spec: s => s["internalTrafficPolicy"] = "Local"), slice)[0];
        var externalLocal = Objects.Compute(Objects.Service("web", spec: s => s["externalTrafficPolicy"] = "Local"), slice)[0];

        Assert.Equal(["10.0.0.1:8080"], internalLocal.Endpoints.Texts());
        Assert.Equal(["10.0.0.1:8080", "10.0.0.2:8080"], internalLocal.ExternalEndpoints.Texts());
        Assert.Equal(["10.0.0.1:8080", "10.0.0.2:8080"], externalLocal.Endpoints.Texts());
        Assert.Equal(["10.0.0.1:8080"], externalLocal.ExternalEndpoints.Texts());
    }

    [Fact]
    public void Compute_external_and_load_balancer_addresses_are_joined_and_sorted()
    {
        var service = JsonNode.Parse(Objects.Service("web", spec: s => s["externalIPs"] = new JsonArray("192.0.2.9", "192.0.2.1")))!;
        service["status"] = JsonNode.Parse("""{"loadBalancer":{"ingress":[{"ip":"192.0.2.5"},{"hostname":"example.com"}]}}""");

        Assert.Equal(["192.0.2.1", "192.0.2.5", "192.0.2.9"], Objects.Compute(JsonSerializer.SerializeToUtf8Bytes(service))[0].ExternalIPs.Texts());
    }

    [Fact]
    public void Compute_foreign_slices_and_odd_entries_are_ignored()
    {
        var rules = Objects.Compute(
            Objects.Service("web"),
            Objects.ReadySlice("a", "other", "10.0.0.1"),
            Objects.Slice("b", "web", """[{"addresses":["example.com"]},{"addresses":[]},{"addresses":null},{}]"""),
            Objects.Slice("c", "web", """[{"addresses":["10.0.0.9"]}]""", """[{"name":"http","port":null},{"name":"http","port":80,"protocol":"QUIC"}]"""));

        Assert.Empty(rules[0].Endpoints);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("{\"metadata\":{\"namespace\":1}}")]
    [InlineData("not json")]
    public void Compute_malformed_service_throws_a_json_exception(string text)
    {
        Assert.ThrowsAny<JsonException>(() => Objects.Compute(System.Text.Encoding.UTF8.GetBytes(text)));
    }

    [Fact]
    public void Index_recomputed_rule_with_equal_content_keeps_its_instance()
    {
        var index = new ServiceIndex(new HashSet<string>(StringComparer.Ordinal));
        var key = new ServiceIndex.ObjectKey("default", "web");
        index.SetService(key, ServiceView.Parse(Objects.Service("web")));
        index.SetSlice(new("default", "a"), EndpointSliceView.Parse(Objects.ReadySlice("a", "web", "10.0.0.1")));
        var before = index.Rules();

        index.SetService(key, ServiceView.Parse(Objects.Service("web", spec: s => s["selector"] = new JsonObject { ["app"] = "x" })));
        var after = index.Rules();

        Assert.Same(before[0], after[0]);
    }

    [Fact]
    public void Index_slice_that_moves_to_another_service_leaves_the_first()
    {
        var index = new ServiceIndex(new HashSet<string>(StringComparer.Ordinal));
        index.SetService(new("default", "one"), ServiceView.Parse(Objects.Service("one")));
        index.SetService(new("default", "two"), ServiceView.Parse(Objects.Service("two", "10.96.0.11")));
        index.SetSlice(new("default", "a"), EndpointSliceView.Parse(Objects.ReadySlice("a", "one", "10.0.0.1")));
        Assert.Single(index.Rules()[0].Endpoints);

        index.SetSlice(new("default", "a"), EndpointSliceView.Parse(Objects.ReadySlice("a", "two", "10.0.0.1")));
        var rules = index.Rules();

        Assert.Empty(rules[0].Endpoints);
        Assert.Single(rules[1].Endpoints);
    }

    [Fact]
    public void Index_slices_before_their_service_and_after_its_deletion_are_kept_for_it()
    {
        var index = new ServiceIndex(new HashSet<string>(StringComparer.Ordinal));
        var key = new ServiceIndex.ObjectKey("default", "web");
        index.SetSlice(new("default", "a"), EndpointSliceView.Parse(Objects.ReadySlice("a", "web", "10.0.0.1")));
        Assert.Empty(index.Rules());

        index.SetService(key, ServiceView.Parse(Objects.Service("web")));
        Assert.Single(index.Rules()[0].Endpoints);
        index.SetService(key, null);
        Assert.Empty(index.Rules());
        index.SetService(key, ServiceView.Parse(Objects.Service("web")));
        Assert.Single(index.Rules()[0].Endpoints);
    }
}
