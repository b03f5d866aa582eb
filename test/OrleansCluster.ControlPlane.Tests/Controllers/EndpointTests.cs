using System.Text.Json.Nodes;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>Endpoints and EndpointSlices of services (wire contract, section 18).</summary>
public sealed class EndpointTests(EndpointTests.Fixture fixture) : IClassFixture<EndpointTests.Fixture>
{
    private const string Slices = "endpointslices.discovery.k8s.io";

    [Fact]
    public async Task Ready_and_unready_pods_are_told_apart_and_others_left_out()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("services", Manifests.Service("front"));
        await space.PodAsync("ready", "10.0.0.1", node: "n1");
        await space.PodAsync("unready", "10.0.0.2", ready: false, node: "n1");
        await space.PodAsync("no-address");
        await space.PodAsync("finished", "10.0.0.3");
        await space.PatchAsync("pods", "finished", """{"status":{"phase":"Succeeded"} }""", "status");
        await space.PodAsync("stranger", "10.0.0.4", metadata: ",\"labels\":{\"app\":\"other\"}");

        var endpoints = await space.UntilAsync("endpoints", "front", "one address is ready, one is not", o => Ips(o, "addresses") == "10.0.0.1" && Ips(o, "notReadyAddresses") == "10.0.0.2");
        var address = endpoints!["subsets"]![0]!["addresses"]![0];
        Assert.Equal(("Pod", "ready", "n1"), (address.At("targetRef", "kind"), address.At("targetRef", "name"), address.At("nodeName")));
        var slices = await space.UntilAsync(Slices, "the slice has both", s => States(s) == "10.0.0.1 ready serving;10.0.0.2");
        var slice = Assert.Single(slices);
        Assert.Equal(("front", "endpointslice-controller.k8s.io", "IPv4"), (slice.At("metadata", "labels", "kubernetes.io/service-name"), slice.At("metadata", "labels", "endpointslice.kubernetes.io/managed-by"), slice.At("addressType")));
        Assert.Equal("Service", slice.At("metadata", "ownerReferences", "0", "kind"));

        await space.PatchAsync("pods", "unready", Manifests.Running("10.0.0.2"), "status");
        await space.UntilAsync("endpoints", "front", "both are ready", o => Ips(o, "addresses") == "10.0.0.1,10.0.0.2" && Ips(o, "notReadyAddresses") == "");
        await space.DeleteAsync("pods", "ready", new(GracePeriodSeconds: 0));
        await space.UntilAsync("endpoints", "front", "one is left", o => Ips(o, "addresses") == "10.0.0.2");
        await space.UntilAsync(Slices, "one is left", s => States(s) == "10.0.0.2 ready serving");
    }

    [Fact]
    public async Task A_terminating_pod_serves_but_is_not_ready()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("services", Manifests.Service("front"));
        await space.PodAsync("p", "10.0.0.1", node: "n1");
        await space.UntilAsync(Slices, "it is ready", s => States(s) == "10.0.0.1 ready serving");
        await space.DeleteAsync("pods", "p");
        await space.UntilAsync(Slices, "it terminates", s => States(s) == "10.0.0.1 serving terminating");
        await space.UntilAsync("endpoints", "front", "it is no address any more", o => Ips(o, "addresses") == "");
    }

    [Fact]
    public async Task A_service_may_publish_addresses_that_are_not_ready()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("services", Manifests.Service("front", "\"selector\":{\"app\":\"web\"},\"publishNotReadyAddresses\":true,\"ports\":[{\"port\":80}]"));
        await space.PodAsync("p", "10.0.0.1", ready: false);
        await space.UntilAsync("endpoints", "front", "it is an address", o => Ips(o, "addresses") == "10.0.0.1" && Ips(o, "notReadyAddresses") == "");
        await space.UntilAsync(Slices, "it counts as ready", s => States(s) == "10.0.0.1 ready");
    }

    [Fact]
    public async Task A_named_port_is_looked_up_in_each_pod()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("services", Manifests.Service("front", "\"selector\":{\"app\":\"web\"},\"ports\":[{\"name\":\"http\",\"port\":80,\"targetPort\":\"web\"}]"));
        await space.PodAsync("a", "10.0.0.1", container: ",\"ports\":[{\"name\":\"web\",\"containerPort\":8080}]");
        await space.PodAsync("b", "10.0.0.2", container: ",\"ports\":[{\"name\":\"web\",\"containerPort\":9090}]");
        var endpoints = await space.UntilAsync("endpoints", "front", "there are two subsets", o => o?["subsets"] is JsonArray { Count: 2 });
        Assert.Equal(["10.0.0.1:8080", "10.0.0.2:9090"], endpoints!["subsets"]!.AsArray().Select(s => $"{s.At("addresses", "0", "ip")}:{s.At("ports", "0", "port")}").Order());
        var slices = await space.UntilAsync(Slices, "there are two slices", s => s.Count == 2);
        Assert.Equal(["10.0.0.1:8080", "10.0.0.2:9090"], slices.Select(s => $"{s.At("endpoints", "0", "addresses", "0")}:{s.At("ports", "0", "port")}").Order());
    }

    [Fact]
    public async Task More_than_a_hundred_endpoints_are_split_and_a_change_rewrites_one_slice()
    {
        var space = await fixture.Shared.SpaceAsync();
        await Task.WhenAll(Enumerable.Range(1, 130).Select(i => space.PodAsync($"p{i}", $"10.0.1.{i}")));
        await space.CreateAsync("services", Manifests.Service("front"));
        var slices = await space.UntilAsync(Slices, "130 endpoints in two slices", s => s.Sum(Count) == 130 && s.Count == 2);
        Assert.All(slices, s => Assert.InRange(Count(s), 1, 100));
        Assert.Equal(130, slices.SelectMany(s => s["endpoints"]!.AsArray()).Select(e => e.At("addresses", "0")).Distinct().Count());

        await space.DeleteAsync("pods", "p7");
        var after = await space.UntilAsync(Slices, "one is gone", s => s.Sum(Count) == 129);
        Assert.Equal(1, after.Count(s => slices.Any(o => o.Uid() == s.Uid() && o.At("metadata", "resourceVersion") == s.At("metadata", "resourceVersion"))));
    }

    [Fact]
    public async Task A_service_without_selector_is_left_to_its_owner()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("services", Manifests.Service("own", "\"ports\":[{\"port\":80}]"));
        await space.CreateAsync("endpoints", """{"metadata":{"name":"own"},"subsets":[{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"port":80}]}]}""");
        await space.PodAsync("p", "10.0.0.1");
        await space.CreateAsync("services", Manifests.Service("front"));
        await space.UntilAsync("endpoints", "front", "the other service is served", o => Ips(o, "addresses") == "10.0.0.1");
        Assert.Equal("192.0.2.1", Ips(await space.GetAsync("endpoints", "own"), "addresses"));
        Assert.DoesNotContain(await space.ListAsync(Slices), s => s.At("metadata", "labels", "kubernetes.io/service-name") == "own" && s.At("metadata", "labels", "endpointslice.kubernetes.io/managed-by") == "endpointslice-controller.k8s.io");
    }

    [Fact]
    public async Task A_service_without_pods_has_empty_endpoints_and_takes_all_along_when_it_goes()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("services", Manifests.Service("front"));
        await space.UntilAsync("endpoints", "front", "it is there", o => o is not null && o["subsets"] is null or JsonArray { Count: 0 });
        await space.UntilAsync(Slices, "one empty slice", s => s.Count == 1 && Count(s[0]) == 0);
        await space.DeleteAsync("services", "front");
        await space.UntilAsync("endpoints", "front", "it is gone", o => o is null);
        await space.UntilAsync(Slices, "the slices are gone", s => s.Count == 0);
    }

    private static int Count(JsonObject slice) => (slice["endpoints"] as JsonArray)?.Count ?? 0;

    private static string Ips(JsonObject? endpoints, string kind) =>
        string.Join(',', (endpoints?["subsets"] as JsonArray ?? []).SelectMany(s => s![kind] as JsonArray ?? []).Select(a => a.At("ip")).Order(StringComparer.Ordinal));

    private static string States(IEnumerable<JsonObject> slices) => string.Join(';', slices
        .SelectMany(s => s["endpoints"] as JsonArray ?? [])
        .Select(e => e.At("addresses", "0") + string.Concat(((string[])["ready", "serving", "terminating"]).Where(c => e.At("conditions", c) == "true").Select(c => " " + c)))
        .Order(StringComparer.Ordinal));

    /// <summary>One silo with the two endpoint controllers and the garbage collector.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        internal Shared Shared { get; } = new(new TestClusterOptions { Controllers = [typeof(EndpointsController), typeof(EndpointSliceController), typeof(GarbageCollector)] });

        public ValueTask InitializeAsync() => Shared.InitializeAsync();

        public ValueTask DisposeAsync() => Shared.DisposeAsync();
    }
}
