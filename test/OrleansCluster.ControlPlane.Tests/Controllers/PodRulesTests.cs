using System.Text.Json.Nodes;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>Which pods go first (wire contract, section 18), and how label maps select.</summary>
public sealed class PodRulesTests
{
    private static readonly DateTimeOffset Now = DateTimeOffset.Parse("2026-01-01T12:00:00Z", System.Globalization.CultureInfo.InvariantCulture);

    [Fact]
    public void The_least_useful_pod_goes_first()
    {
        // Each loses to the one below it by exactly one rule, in the order of the rules.
        PodFacts[] pods =
        [
            Pod("unassigned", node: ""),
            Pod("pending", phase: "Pending"),
            Pod("unknown", phase: "Unknown"),
            Pod("unready", ready: false),
            Pod("cheap", cost: -5),
            Pod("crowded1", node: "full"),
            Pod("crowded2", node: "full"),
            Pod("fresh", readySince: Now.AddSeconds(-4)),
            Pod("restarted", restarts: 3),
            Pod("young", created: Now.AddMinutes(-1)),
            Pod("solid"),
        ];
        string[] expected = ["unassigned", "pending", "unknown", "unready", "cheap", "crowded1", "crowded2", "fresh", "restarted", "young", "solid"];
        var shuffled = pods.ToArray();
        new Random(7).Shuffle(shuffled);
        Assert.Equal(expected, PodDeletionOrder.LeastUsefulFirst(shuffled, Now).Select(p => p.Pod.Key.Name));
    }

    [Fact]
    public void Ages_of_one_order_of_magnitude_are_equal() => Assert.Equal(
        ["b", "a"],
        PodDeletionOrder.LeastUsefulFirst([Pod("a", readySince: Now.AddSeconds(-700)), Pod("b", readySince: Now.AddSeconds(-900), restarts: 1)], Now).Select(p => p.Pod.Key.Name));

    [Fact]
    public void An_empty_label_map_selects_nothing_and_is_part_of_everything()
    {
        var none = LabelSet.FromMap([]);
        Assert.False(none.Selects([new("a", "b")]));
        Assert.True(none.IsSubsetOf([]));
    }

    [Theory]
    [InlineData("""{"a":"1"}""", true)]
    [InlineData("""{"a":"1","b":"2"}""", true)]
    [InlineData("""{"a":"2"}""", false)]
    [InlineData("""{"c":"1"}""", false)]
    public void A_label_map_selects_what_has_all_its_labels(string map, bool selects) =>
        Assert.Equal(selects, LabelSet.FromMap((JsonObject)JsonNode.Parse(map)!).Selects([new("a", "1"), new("b", "2"), new("x", "y")]));

    private static PodFacts Pod(
        string name, string? node = null, string phase = "Running", bool ready = true, int cost = 0, DateTimeOffset? readySince = null, int restarts = 0,
        DateTimeOffset? created = null) => PodFacts.Of(Cached.Object("pods", $$"""
        {"metadata":{"name":"{{name}}","namespace":"default","creationTimestamp":"{{created ?? Now.AddHours(-5):yyyy-MM-ddTHH:mm:ssZ}}",
           "annotations":{"controller.kubernetes.io/pod-deletion-cost":"{{cost}}"} },
         "spec":{"containers":[{"name":"c","image":"a"}],"nodeName":"{{node ?? "node-of-" + name}}"},
         "status":{"phase":"{{phase}}","containerStatuses":[{"restartCount":{{restarts}}}],
           "conditions":[{"type":"Ready","status":"{{(ready ? "True" : "False")}}","lastTransitionTime":"{{readySince ?? Now.AddHours(-4):yyyy-MM-ddTHH:mm:ssZ}}"}]} }
        """));
}
