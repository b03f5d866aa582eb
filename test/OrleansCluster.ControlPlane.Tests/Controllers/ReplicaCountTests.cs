using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>The replication controller over real grains, pumps and store.</summary>
public sealed class ReplicaCountTests(ReplicaCountTests.Fixture fixture) : IClassFixture<ReplicaCountTests.Fixture>
{
    private const string Rcs = "replicationcontrollers";

    [Fact]
    public async Task Pods_are_created_to_the_count_and_owned()
    {
        var space = await fixture.Shared.SpaceAsync();
        var rc = await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 7));
        var pods = await space.UntilAsync("pods", "seven pods exist", p => p.Count == 7);
        Assert.All(pods, p =>
        {
            Assert.StartsWith("web-", p.At("metadata", "name"), StringComparison.Ordinal);
            Assert.Equal("web", p.At("metadata", "labels", "app"));
            var owner = p["metadata"]!["ownerReferences"]![0];
            Assert.Equal(("ReplicationController", "web", rc.Uid(), "true", "true"), (owner.At("kind")!, owner.At("name")!, owner.At("uid")!, owner.At("controller")!, owner.At("blockOwnerDeletion")!));
        });
        var shown = await space.UntilAsync(Rcs, "web", "the status counts seven", o => o.At("status", "replicas") == "7");
        Assert.Equal(("7", shown.At("metadata", "generation")), (shown.At("status", "fullyLabeledReplicas"), shown.At("status", "observedGeneration")));
        await SettledAsync(space, 7);
    }

    [Fact]
    public async Task Ready_pods_are_counted_as_ready_and_available()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 2));
        var pods = await space.UntilAsync("pods", "two pods exist", p => p.Count == 2);
        await space.PatchAsync("pods", pods[0].At("metadata", "name")!, Manifests.Running("10.0.0.1"), "status");
        await space.UntilAsync(Rcs, "web", "one is ready", o => o.At("status", "readyReplicas") == "1" && o.At("status", "availableReplicas") == "1");
    }

    [Fact]
    public async Task A_matching_orphan_is_adopted_and_counts()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.PodAsync("orphan");
        var rc = await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 2));
        await space.UntilAsync("pods", "two pods are owned, the orphan among them", p =>
            p.Count == 2 && p.All(o => o.Owner() == rc.Uid()) && p.Of().Contains("orphan"));
        await SettledAsync(space, 2);
    }

    [Fact]
    public async Task A_pod_of_another_controller_or_with_other_labels_is_left_alone()
    {
        var space = await fixture.Shared.SpaceAsync();
        const string Other = ",\"labels\":{\"app\":\"web\"},\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"x\",\"uid\":\"11111111-1111-1111-1111-111111111111\",\"controller\":true}]";
        await space.PodAsync("taken", metadata: Other);
        await space.PodAsync("stranger", metadata: ",\"labels\":{\"app\":\"other\"}");
        var rc = await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 2));
        var pods = await space.UntilAsync("pods", "two pods are made besides", p => p.Count(o => o.Owner() == rc.Uid()) == 2);
        Assert.Equal(4, pods.Count);
        Assert.Equal("11111111-1111-1111-1111-111111111111", (await space.GetAsync("pods", "taken"))!.Owner());
        Assert.Null((await space.GetAsync("pods", "stranger"))!.Owner());
    }

    [Fact]
    public async Task A_pod_whose_labels_stop_matching_is_released_and_replaced()
    {
        var space = await fixture.Shared.SpaceAsync();
        var rc = await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 2));
        var pods = await space.UntilAsync("pods", "two pods exist", p => p.Count == 2);
        var name = pods[0].At("metadata", "name")!;
        await space.PatchAsync("pods", name, """{"metadata":{"labels":{"app":"debug"} } }""");
        var all = await space.UntilAsync("pods", "it is released and replaced", p => p.Count == 3 && p.Count(o => o.Owner() == rc.Uid()) == 2);
        Assert.Null(all.Single(p => p.At("metadata", "name") == name).Owner());
    }

    [Fact]
    public async Task Two_controllers_never_share_an_orphan()
    {
        var space = await fixture.Shared.SpaceAsync();
        for (var i = 0; i < 6; i++)
            await space.PodAsync($"orphan-{i}");
        var rcs = await Task.WhenAll(Enumerable.Range(0, 2).Select(i => space.CreateAsync(Rcs, Manifests.ReplicationController($"web-{i}", 6))));
        var pods = await space.UntilAsync("pods", "both have six", p => rcs.All(rc => p.Count(o => o.Owner() == rc.Uid()) == 6));
        Assert.All(pods, p => Assert.Single(p["metadata"]!["ownerReferences"]!.AsArray()));
        Assert.Equal(12, pods.Count);
    }

    [Fact]
    public async Task Scaling_down_deletes_the_least_useful_first()
    {
        var space = await fixture.Shared.SpaceAsync();
        // Six orphans of which two are to stay; unassigned, then pending, then unready go before ready ones, of which the restarted one is the next.
        await space.PodAsync("unassigned");
        await space.PodAsync("pending", node: "n1");
        await space.PodAsync("unready", ip: "10.0.0.1", ready: false, node: "n2");
        await space.PodAsync("restarted", ip: "10.0.0.2", node: "n3");
        await space.PatchAsync("pods", "restarted", """{"status":{"containerStatuses":[{"name":"c","ready":true,"restartCount":4,"image":"app:1","imageID":""}]} }""", "status");
        await space.PodAsync("solid-1", ip: "10.0.0.3", node: "n4");
        await space.PodAsync("solid-2", ip: "10.0.0.4", node: "n5");
        var rc = await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 6));
        await space.UntilAsync("pods", "all are adopted", p => p.Count == 6 && p.All(o => o.Owner() == rc.Uid()));
        string[] order = ["unassigned", "pending", "unready", "restarted"];
        for (var i = 0; i < order.Length; i++)
        {
            await space.PatchAsync(Rcs, "web", $$"""{"spec":{"replicas":{{5 - i}}} }""");
            var left = 5 - i;
            var pods = await space.UntilAsync("pods", $"{left} are left", p => p.Count(o => !o.IsDeleting()) == left);
            Assert.Equal(order.Skip(i + 1).Concat(["solid-1", "solid-2"]).Order(), pods.Where(o => !o.IsDeleting()).Of().Order());
        }
    }

    [Fact]
    public async Task A_deleted_pod_is_replaced_and_a_finished_one_does_not_count()
    {
        var space = await fixture.Shared.SpaceAsync();
        var rc = await space.CreateAsync(Rcs, Manifests.ReplicationController("web", 2));
        var pods = await space.UntilAsync("pods", "two pods exist", p => p.Count == 2);
        await space.DeleteAsync("pods", pods[0].At("metadata", "name")!);
        pods = await space.UntilAsync("pods", "the deleted one is replaced", p => p.Count == 2 && p.All(o => o.Uid() != pods[0].Uid()));
        await space.PatchAsync("pods", pods[0].At("metadata", "name")!, """{"status":{"phase":"Failed"} }""", "status");
        await space.UntilAsync("pods", "the failed one is replaced and kept", p => p.Count == 3 && p.All(o => o.Owner() == rc.Uid()));
    }

    [Fact]
    public async Task Its_deletion_takes_the_pods_along_unless_it_orphans_them()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync(Rcs, Manifests.ReplicationController("kept", 3, "\"app\":\"kept\""));
        await space.CreateAsync(Rcs, Manifests.ReplicationController("gone", 3, "\"app\":\"gone\""));
        await space.UntilAsync("pods", "six pods exist", p => p.Count == 6);
        await space.DeleteAsync(Rcs, "kept", new DeleteOptions(PropagationPolicy: "Orphan"));
        await space.DeleteAsync(Rcs, "gone", new DeleteOptions(PropagationPolicy: "Background"));
        await space.UntilAsync(Rcs, "both controllers are gone", o => o.Count == 0);
        await space.UntilAsync("pods", "three pods are left, without an owner", p =>
            p.Count == 3 && p.All(o => o.Owner() is null && o.At("metadata", "labels", "app") == "kept"));
    }

    [Fact]
    public async Task A_template_the_cluster_refuses_is_a_condition_and_heals()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync(Rcs, """
            {"metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"app":"web"},"template":{"metadata":{"labels":{"app":"web"},"finalizers":["bad"]},
             "spec":{"containers":[{"name":"c","image":"app:1"}]} } } }
            """);
        var rc = await space.UntilAsync(Rcs, "web", "it says that pods cannot be made", o => o.Condition("ReplicaFailure").At("reason") == "FailedCreate");
        Assert.Contains("finalizers", rc.Condition("ReplicaFailure").At("message"), StringComparison.Ordinal);
        await space.PatchAsync(Rcs, "web", """{"spec":{"template":{"metadata":{"finalizers":null} } } }""");
        await space.UntilAsync("pods", "two pods are made", p => p.Count == 2);
        await space.UntilAsync(Rcs, "web", "the condition is gone", o => o.Condition("ReplicaFailure") is null && o.At("status", "replicas") == "2");
    }

    // The status stands still only when nothing more is made or deleted: a controller that overshoots would change it.
    private static async Task SettledAsync(Space space, int pods)
    {
        await space.UntilAsync(Rcs, "web", "the status is settled", o => o.At("status", "replicas") == $"{pods}");
        Assert.Equal(pods, (await space.ListAsync("pods")).Count);
    }

    /// <summary>One silo with the replication controller and the garbage collector.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        internal Shared Shared { get; } = new(new TestClusterOptions { Controllers = [typeof(ReplicationControllerController), typeof(GarbageCollector)] });

        public ValueTask InitializeAsync() => Shared.InitializeAsync();

        public ValueTask DisposeAsync() => Shared.DisposeAsync();
    }
}
