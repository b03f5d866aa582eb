using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>Owner references: what goes with an owner, what waits for it, what stays (wire contract, section 13).</summary>
public sealed class GarbageCollectorTests(GarbageCollectorTests.Fixture fixture) : IClassFixture<GarbageCollectorTests.Fixture>
{
    [Fact]
    public async Task In_the_background_dependents_follow_all_the_way_down()
    {
        var space = await fixture.Shared.SpaceAsync();
        var top = await CreateAsync(space, "top");
        var middle = await CreateAsync(space, "middle", top.Uid(), "top");
        await CreateAsync(space, "bottom", middle.Uid(), "middle");
        await CreateAsync(space, "bystander");
        await space.DeleteAsync("configmaps", "top", new DeleteOptions(PropagationPolicy: "Background"));
        await space.UntilAsync("configmaps", "only the bystander is left", o => o.Of().SequenceEqual(["bystander"]));
    }

    [Fact]
    public async Task In_the_foreground_the_owner_waits_for_those_that_block()
    {
        var space = await fixture.Shared.SpaceAsync();
        var owner = await CreateAsync(space, "owner");
        await CreateAsync(space, "held", owner.Uid(), "owner", blocks: true, finalizer: "example.com/hold");
        await CreateAsync(space, "free", owner.Uid(), "owner", blocks: true);
        await space.DeleteAsync("configmaps", "owner", new DeleteOptions(PropagationPolicy: "Foreground"));
        var left = await space.UntilAsync("configmaps", "the free one is gone, the held one is told", o => o.Count == 2 && o.All(x => x.IsDeleting()));
        Assert.Equal(["foregroundDeletion"], left.Single(o => o.At("metadata", "name") == "owner")["metadata"]!["finalizers"]!.AsArray().Select(f => (string?)f));
        await space.PatchAsync("configmaps", "held", """{"metadata":{"finalizers":null} }""");
        await space.UntilAsync("configmaps", "both are gone", o => o.Count == 0);
    }

    [Fact]
    public async Task In_the_foreground_nobody_waits_for_those_that_do_not_block()
    {
        var space = await fixture.Shared.SpaceAsync();
        var owner = await CreateAsync(space, "owner");
        await CreateAsync(space, "held", owner.Uid(), "owner", finalizer: "example.com/hold");
        await space.DeleteAsync("configmaps", "owner", new DeleteOptions(PropagationPolicy: "Foreground"));
        await space.UntilAsync("configmaps", "the owner is gone, the held one is told", o => o.Count == 1 && o[0].IsDeleting() && o[0].At("metadata", "name") == "held");
    }

    [Fact]
    public async Task Orphans_stay_without_their_reference()
    {
        var space = await fixture.Shared.SpaceAsync();
        var owner = await CreateAsync(space, "owner");
        await CreateAsync(space, "child", owner.Uid(), "owner");
        await space.DeleteAsync("configmaps", "owner", new DeleteOptions(PropagationPolicy: "Orphan"));
        await space.UntilAsync("configmaps", "the owner is gone, the child is free", o => o.Count == 1 && o[0].Owner() is null && !o[0].IsDeleting());
    }

    [Fact]
    public async Task A_namesake_of_another_uid_is_no_owner()
    {
        var space = await fixture.Shared.SpaceAsync();
        await CreateAsync(space, "owner");
        await CreateAsync(space, "child", Guid.NewGuid().ToString(), "owner");
        await space.UntilAsync("configmaps", "the child of the one before is collected", o => o.Of().SequenceEqual(["owner"]));
    }

    [Fact]
    public async Task One_living_owner_is_enough()
    {
        var space = await fixture.Shared.SpaceAsync();
        var a = await CreateAsync(space, "a");
        var b = await CreateAsync(space, "b");
        await space.CreateAsync("configmaps", $$"""{"metadata":{"name":"child","ownerReferences":[{{Reference("a", a.Uid())}},{{Reference("b", b.Uid())}}]} }""");
        await space.DeleteAsync("configmaps", "a", new DeleteOptions(PropagationPolicy: "Background"));
        var left = await space.UntilAsync("configmaps", "the reference to the dead one is taken off", o => o.Count == 2 && o.Any(x => x.Owner() == b.Uid()));
        Assert.Single(left.Single(o => o.At("metadata", "name") == "child")["metadata"]!["ownerReferences"]!.AsArray());
        await space.DeleteAsync("configmaps", "b", new DeleteOptions(PropagationPolicy: "Background"));
        await space.UntilAsync("configmaps", "the child goes with the last", o => o.Count == 0);
    }

    [Fact]
    public async Task An_owner_of_a_kind_that_nobody_knows_is_no_proof_of_absence()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", """{"metadata":{"name":"kept","ownerReferences":[{"apiVersion":"example.com/v1","kind":"Gadget","name":"g","uid":"11111111-1111-1111-1111-111111111111"}]} }""");
        // What is collected after it proves that it was looked at.
        await CreateAsync(space, "child", Guid.NewGuid().ToString(), "nobody");
        await space.UntilAsync("configmaps", "only the kept one is left", o => o.Of().SequenceEqual(["kept"]));
    }

    [Fact]
    public async Task A_child_born_after_its_owner_has_gone_is_collected()
    {
        var space = await fixture.Shared.SpaceAsync();
        var owner = await CreateAsync(space, "owner");
        await space.DeleteAsync("configmaps", "owner");
        await CreateAsync(space, "late", owner.Uid(), "owner");
        await space.UntilAsync("configmaps", "it is collected", o => o.Count == 0);
    }

    private static string Reference(string name, string uid, bool blocks = false) =>
        $$"""{"apiVersion":"v1","kind":"ConfigMap","name":"{{name}}","uid":"{{uid}}","blockOwnerDeletion":{{(blocks ? "true" : "false")}} }""";

    private static Task<System.Text.Json.Nodes.JsonObject> CreateAsync(
        Space space, string name, string? owner = null, string ownerName = "", bool blocks = false, string? finalizer = null)
    {
        var references = owner is null ? "" : $",\"ownerReferences\":[{Reference(ownerName, owner, blocks)}]";
        var finalizers = finalizer is null ? "" : $",\"finalizers\":[\"{finalizer}\"]";
        return space.CreateAsync("configmaps", $$"""{"metadata":{"name":"{{name}}"{{references}}{{finalizers}} } }""");
    }

    /// <summary>One silo with the garbage collector.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        internal Shared Shared { get; } = new(new TestClusterOptions { Controllers = [typeof(GarbageCollector)] });

        public ValueTask InitializeAsync() => Shared.InitializeAsync();

        public ValueTask DisposeAsync() => Shared.DisposeAsync();
    }
}
