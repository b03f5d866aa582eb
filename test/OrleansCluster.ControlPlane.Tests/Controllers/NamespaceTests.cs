using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>How a namespace ends (wire contract, section 13).</summary>
public sealed class NamespaceTests(NamespaceTests.Fixture fixture) : IClassFixture<NamespaceTests.Fixture>
{
    [Fact]
    public async Task Everything_in_it_goes_then_it_goes()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("replicationcontrollers", Manifests.ReplicationController("web", 3));
        await space.CreateAsync("services", Manifests.Service("front"));
        await space.CreateAsync("configmaps", """{"metadata":{"name":"c"} }""");
        await space.CreateAsync("secrets", """{"metadata":{"name":"s"} }""");
        await space.UntilAsync("pods", "the controller has made its pods", p => p.Count == 3);
        await DeleteAsync(space);
        await GoneAsync(space);
        foreach (var resource in (string[])["pods", "replicationcontrollers", "services", "configmaps", "secrets", "endpoints", "serviceaccounts"])
            Assert.Empty(await space.ListAsync(resource));
    }

    [Fact]
    public async Task While_it_ends_nothing_can_be_created_in_it()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", """{"metadata":{"name":"held","finalizers":["example.com/hold"]} }""");
        await DeleteAsync(space);
        var refused = await Assert.ThrowsAsync<StatusException>(() => space.CreateAsync("configmaps", """{"metadata":{"name":"late"} }"""));
        Assert.Equal((403, "Forbidden"), (refused.Status.Code, refused.Status.Reason));
        Assert.Contains($"unable to create new content in namespace {space.Name} because it is being terminated", refused.Message, StringComparison.Ordinal);
        Assert.Contains(refused.Status.Causes, c => c.Reason == "NamespaceTerminating");
        await space.PatchAsync("configmaps", "held", """{"metadata":{"finalizers":null} }""");
        await GoneAsync(space);
    }

    [Fact]
    public async Task Content_with_a_finalizer_holds_it_and_the_conditions_say_so()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", """{"metadata":{"name":"held","finalizers":["example.com/hold"]} }""");
        await DeleteAsync(space);
        var ns = await fixture.Shared.Cluster.UntilAsync(
            "the conditions name the one object that is left, after what goes at once has gone",
            () => fixture.Shared.Cluster.GetAsync("namespaces", space.Name),
            n => n.Condition("NamespaceContentRemaining").At("message") == "Some resources are remaining: configmaps. has 1 resource instances");
        Assert.Equal("Terminating", ns.At("status", "phase"));
        Assert.Equal("True", ns.Condition("NamespaceFinalizersRemaining").At("status"));
        Assert.Equal("Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances", ns.Condition("NamespaceFinalizersRemaining").At("message"));
        Assert.Equal("False", ns.Condition("NamespaceDeletionContentFailure").At("status"));
        Assert.Equal(["kubernetes"], ns!["spec"]!["finalizers"]!.AsArray().Select(f => (string?)f));
        Assert.True((await space.GetAsync("configmaps", "held")).IsDeleting());
        await space.PatchAsync("configmaps", "held", """{"metadata":{"finalizers":null} }""");
        await GoneAsync(space);
    }

    [Fact]
    public async Task A_bound_pod_keeps_its_grace_and_the_namespace_waits()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.PodAsync("p", "10.0.0.1", node: "n1");
        await DeleteAsync(space);
        await space.UntilAsync("pods", "p", "it is told to end", p => p.IsDeleting());
        Assert.NotNull(await fixture.Shared.Cluster.GetAsync("namespaces", space.Name));
        await space.DeleteAsync("pods", "p", new DeleteOptions(GracePeriodSeconds: 0)); // As its node's agent does in the end.
        await GoneAsync(space);
    }

    [Fact]
    public async Task A_new_namespace_is_active_with_its_finalizer_and_label()
    {
        var space = await fixture.Shared.SpaceAsync();
        var ns = await fixture.Shared.Cluster.GetAsync("namespaces", space.Name);
        Assert.Equal(("Active", "kubernetes", space.Name), (ns.At("status", "phase"), ns.At("spec", "finalizers", "0"), ns.At("metadata", "labels", "kubernetes.io/metadata.name")));
    }

    private static Task DeleteAsync(Space space) =>
        space.Cluster.Client.DeleteAsync(new ObjectKey("namespaces", "", space.Name), new DeleteOptions(), TestContext.Current.CancellationToken);

    private static Task GoneAsync(Space space) =>
        space.Cluster.UntilAsync("the namespace is gone", () => space.Cluster.GetAsync("namespaces", space.Name), n => n is null);

    /// <summary>One silo with every controller.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        internal Shared Shared { get; } = new(new TestClusterOptions { Controllers = null });

        public ValueTask InitializeAsync() => Shared.InitializeAsync();

        public ValueTask DisposeAsync() => Shared.DisposeAsync();
    }
}
