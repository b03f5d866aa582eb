using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.ControlPlane.Scheduling.Plugins;
using OrleansCluster.ControlPlane.Tests.Harness;
using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Tests.Scheduling;

/// <summary>Filters, scores and sentences against the known answers of the wire contract, section 17.</summary>
public sealed class NodeSelectionTests
{
    private const long Gi = 1L << 30;
    private static readonly SchedulingProfile Profile = new SchedulingProfiles([]).Find("")!;
    private static readonly HashSet<string> None = [];

    [Theory]
    [InlineData(1, 1)]
    [InlineData(100, 100)]
    [InlineData(101, 100)]
    [InlineData(200, 100)]
    [InlineData(250, 120)]
    [InlineData(1000, 420)]
    [InlineData(5000, 500)]
    [InlineData(6000, 300)]
    [InlineData(15000, 750)]
    public void Enough_fit_nodes_are_five_to_fifty_percent_and_at_least_a_hundred(int nodes, int wanted) =>
        Assert.Equal(wanted, NodeSelection.WantedFitNodes(nodes));

    [Fact]
    public void The_message_counts_reasons_and_sorts_them_as_text()
    {
        var selection = Select(Pod(cpu: 2000), Slot("a", cpu: 1000), Slot("b", cpu: 4000, taints: [new Taint("a", "b", "NoSchedule")]), Slot("c", cpu: 4000, taints: [new Taint("a", "b", "NoSchedule")]));
        Assert.Null(selection.Node);
        Assert.Equal(
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: 0/3 nodes are available: "
                + "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
            UnschedulableMessage.From(selection));
        Assert.Equal(
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: not eligible due to preemptionPolicy=Never.",
            UnschedulableMessage.From(selection, neverPreempts: true));
    }

    [Fact]
    public void A_node_that_lacks_two_things_is_counted_for_both() => Assert.Equal(
        "0/3 nodes are available: 1 Too many pods, 2 Insufficient memory, 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
        UnschedulableMessage.From(Select(Pod(cpu: 5000, memory: 5 * Gi), Slot("a", memory: Gi), Slot("b", memory: Gi), Slot("c", pods: 0))));

    [Fact]
    public void A_node_that_has_not_reported_yet_is_not_ready()
    {
        var facts = NodeReader.Of(Cached.Object("nodes", """{"metadata":{"name":"a"},"spec":{} }"""));
        Assert.Equal(
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
            Reasons(Select(Pod(), new ClusterView.Slot(facts, NodeUsage.None))));
    }

    [Fact]
    public void Pods_that_request_nothing_spread_over_equal_nodes()
    {
        ClusterView.Slot[] slots = [.. Enumerable.Range(0, 10).Select(i => Slot($"n{i}", cpu: 8000, memory: 32 * Gi))];
        var plain = PodReaderTests.Read("""{"containers":[{"name":"c"}]}""");
        for (var i = 0; i < 100; i++)
        {
            var node = NodeSelection.Select(plain, Profile, slots, None, new Random(i)).Node;
            var at = Array.FindIndex(slots, s => s.Facts!.Name == node);
            slots[at] = slots[at] with { Usage = slots[at].Usage.With(plain) };
        }
        Assert.All(slots, s => Assert.InRange(s.Usage.Pods, 9, 11));
    }

    [Fact]
    public void Without_nodes_the_message_says_so() => Assert.Equal("no nodes available to schedule pods", Reasons(Select(Pod())));

    [Fact]
    public void Slots_without_a_node_do_not_count()
    {
        var selection = Select(Pod(), null, new ClusterView.Slot(null, NodeUsage.None.With(Pod())), Slot("a"));
        Assert.Equal("a", selection.Node);
        Assert.Equal(1, selection.NodesSeen);
    }

    [Fact]
    public void Least_allocated_is_the_mean_of_whole_percents()
    {
        // cpu (4000 - 1500) * 100 / 4000 = 62; memory (8 - 3) * 100 / 8 = 62.
        var node = Slot("a", cpu: 4000, memory: 8 * Gi, used: Pod(cpu: 1000, memory: 2 * Gi)).View;
        Assert.Equal(62, new NodeResourcesFit().Score(Pod(cpu: 500, memory: Gi), node));
    }

    [Fact]
    public void Pods_that_request_nothing_weigh_in_with_stand_ins()
    {
        var nothing = PodReaderTests.Read("""{"containers":[{}]}""");
        var empty = Slot("a", cpu: 1000, memory: Gi).View;
        var busy = Slot("b", cpu: 1000, memory: Gi, used: nothing).View;
        Assert.True(new NodeResourcesFit().Score(nothing, empty) > new NodeResourcesFit().Score(nothing, busy));
    }

    [Fact]
    public void Balanced_allocation_is_one_minus_half_the_difference()
    {
        // cpu 1/4, memory 3/4: (1 - 0.25) * 100.
        var node = Slot("a", cpu: 4000, memory: 4 * Gi).View;
        Assert.Equal(75, new NodeResourcesBalancedAllocation().Score(Pod(cpu: 1000, memory: 3 * Gi), node));
    }

    [Fact]
    public void Taints_to_be_avoided_lower_the_score_by_their_share()
    {
        var avoid = new Taint("a", "", "PreferNoSchedule");
        var selection = Select(Pod(), Slot("two", taints: [avoid, avoid with { Key = "b" }]), Slot("one", taints: [avoid]), Slot("none"));
        Assert.Equal(["none", "one", "two"], selection.Best.Select(b => b.Node));
        Assert.Equal(selection.Best[0].Score - 150, selection.Best[1].Score); // weight 3, half of the highest count
        Assert.Equal(selection.Best[0].Score - 300, selection.Best[2].Score);
    }

    [Fact]
    public void Preferred_affinity_scores_its_share_of_the_highest()
    {
        var pod = PodReaderTests.Read("""
            {"containers":[],"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
              {"weight":80,"preference":{"matchExpressions":[{"key":"zone","operator":"In","values":["x"]}]}},
              {"weight":20,"preference":{"matchExpressions":[{"key":"disk","operator":"Exists"}]}}]}}}
            """);
        var selection = Select(pod, Slot("x", labels: new() { ["zone"] = "x" }), Slot("d", labels: new() { ["disk"] = "" }), Slot("n"));
        Assert.Equal(["x", "d", "n"], selection.Best.Select(b => b.Node));
        Assert.Equal(200, selection.Best[0].Score - selection.Best[2].Score);
        Assert.Equal(50, selection.Best[1].Score - selection.Best[2].Score);
    }

    [Fact]
    public void Required_affinity_terms_are_alternatives_and_an_empty_one_matches_nothing()
    {
        var pod = PodReaderTests.Read("""
            {"containers":[],"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
              {}, {"matchFields":[{"key":"metadata.name","operator":"In","values":["b"]}]}, {"matchExpressions":[{"key":"size","operator":"Gt","values":["5"]}]}]}}}}
            """);
        var plugin = new NodeAffinity();
        Assert.NotNull(plugin.Refuse(pod, Slot("a").View));
        Assert.Null(plugin.Refuse(pod, Slot("b").View));
        Assert.Null(plugin.Refuse(pod, Slot("c", labels: new() { ["size"] = "6" }).View));
        Assert.NotNull(plugin.Refuse(pod, Slot("c", labels: new() { ["size"] = "5" }).View));
    }

    [Theory]
    [InlineData("NotIn", null, true)]
    [InlineData("NotIn", "v", false)]
    [InlineData("In", null, false)]
    [InlineData("DoesNotExist", null, true)]
    [InlineData("Exists", "", true)]
    [InlineData("Lt", "x", false)]
    public void Requirements_follow_their_operator(string op, string? value, bool fits) =>
        Assert.Equal(fits, new NodeSelectorRequirement("k", op, ["v"]).Matches(value));

    [Fact]
    public void A_selector_must_match_whole()
    {
        var pod = PodReaderTests.Read("""{"containers":[],"nodeSelector":{"zone":"x"}}""");
        Assert.Equal("b", Select(pod, Slot("a", labels: new() { ["zone"] = "y" }), Slot("b", labels: new() { ["zone"] = "x" })).Node);
        Assert.Equal("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", Reasons(Select(pod, Slot("a"))));
    }

    [Fact]
    public void A_cordoned_node_takes_only_pods_that_tolerate_it()
    {
        var cordoned = Slot("a", unschedulable: true);
        Assert.Equal("0/1 nodes are available: 1 node(s) were unschedulable.", Reasons(Select(Pod(), cordoned)));
        Assert.Equal("a", Select(PodReaderTests.Read("""{"containers":[],"tolerations":[{"key":"node.kubernetes.io/unschedulable","operator":"Exists","effect":"NoSchedule"}]}"""), cordoned).Node);
    }

    [Fact]
    public void Host_ports_conflict_by_protocol_number_and_address()
    {
        var taken = Slot("a", used: PodReaderTests.Read("""{"containers":[{"ports":[{"containerPort":80,"hostPort":80,"hostIP":"10.0.0.1"}]}]}"""));
        string? Refusal(string port) => new NodePorts().Refuse(PodReaderTests.Read($$"""{"containers":[{"ports":[{{port}}]}]}"""), taken.View);
        Assert.NotNull(Refusal("""{"containerPort":1,"hostPort":80}"""));
        Assert.NotNull(Refusal("""{"containerPort":1,"hostPort":80,"hostIP":"10.0.0.1"}"""));
        Assert.Null(Refusal("""{"containerPort":1,"hostPort":80,"hostIP":"10.0.0.2"}"""));
        Assert.Null(Refusal("""{"containerPort":1,"hostPort":80,"protocol":"UDP"}"""));
        Assert.Null(Refusal("""{"containerPort":1,"hostPort":81}"""));
    }

    [Fact]
    public void Extended_resources_in_use_are_gone()
    {
        var one = PodReaderTests.Read("""{"containers":[{"resources":{"requests":{"example.com/gpu":"1"}}}]}""");
        var node = Slot("a", extended: new() { ["example.com/gpu"] = 2 });
        Assert.Equal("a", Select(one, node).Node);
        var full = node with { Usage = node.Usage.With(one).With(one) };
        Assert.Equal("0/1 nodes are available: 1 Insufficient example.com/gpu.", Reasons(Select(one, full)));
        Assert.Equal("a", Select(one, full with { Usage = full.Usage.Without(one) }).Node);
    }

    [Theory]
    [InlineData(2, 0, 0, 0, "Too many pods")]
    [InlineData(10, 2001, 0, 0, "Insufficient cpu")]
    [InlineData(10, 0, (4 << 10) + 1, 0, "Insufficient memory")]
    [InlineData(10, 0, 0, 1, "Insufficient ephemeral-storage")]
    [InlineData(10, 2000, 4 << 10, 0, null)]
    public void Room_is_counted_to_the_last_unit(int maxPods, long cpu, long memory, long storage, string? reason)
    {
        var facts = Slot("a", cpu: 4000, memory: 8 << 10, pods: maxPods).Facts!;
        var node = new NodeView(facts, new ResourceAmounts(2000, 4 << 10, 0), 2, null);
        Assert.Equal(reason, new NodeResourcesFit().Refuse(Pod() with { Requests = new ResourceAmounts(cpu, memory, storage) }, node));
    }

    [Fact]
    public void A_node_that_refused_is_not_asked_again()
    {
        var selection = NodeSelection.Select(Pod(), Profile, new ClusterView.Slot?[] { Slot("a"), Slot("b") }, new HashSet<string> { "a" }, new Random(1));
        Assert.Equal("b", selection.Node);
        Assert.Equal("Reserve", Assert.Single(selection.Refusals).Plugin);
    }

    [Fact]
    public void The_same_seed_chooses_the_same_of_equal_nodes_and_others_choose_others()
    {
        ClusterView.Slot?[] slots = [.. Enumerable.Range(0, 20).Select(i => Slot($"n{i}"))];
        var chosen = Enumerable.Range(0, 50).Select(seed => NodeSelection.Select(Pod(), Profile, slots, None, new Random(seed)).Node).ToList();
        Assert.Equal(chosen, Enumerable.Range(0, 50).Select(seed => NodeSelection.Select(Pod(), Profile, slots, None, new Random(seed)).Node));
        Assert.InRange(chosen.Distinct().Count(), 10, 20);
    }

    [Fact]
    public void The_five_best_are_kept_in_order()
    {
        var selection = Select(Pod(cpu: 100), [.. Enumerable.Range(1, 9).Select(i => Slot($"n{i}", cpu: i * 1000, memory: i * Gi, used: Pod(cpu: 500, memory: Gi / 2)))]);
        Assert.Equal("n9", selection.Node);
        Assert.Equal(["n9", "n8", "n7", "n6", "n5"], selection.Best.Select(b => b.Node));
        Assert.Equal(selection.Best.Select(b => b.Score).OrderDescending(), selection.Best.Select(b => b.Score));
    }

    [Fact]
    public void A_refusal_keeps_a_few_names_and_the_whole_count()
    {
        var refusal = Assert.Single(Select(Pod(cpu: 9000), [.. Enumerable.Range(1, 9).Select(i => Slot($"n{i}"))]).Refusals);
        Assert.Equal(("NodeResourcesFit", "Insufficient cpu", 9, 3), (refusal.Plugin, refusal.Reason, refusal.Count, refusal.Samples.Count));
    }

    // The first sentence of the message.
    private static string Reasons(SelectionResult selection) => UnschedulableMessage.From(selection).Split(" preemption: ")[0];

    private static SelectionResult Select(PodRequirements pod, params ClusterView.Slot?[] slots) => NodeSelection.Select(pod, Profile, slots, None, new Random(1));

    private static PodRequirements Pod(long cpu = 0, long memory = 0) => new()
    {
        Key = "default/p",
        Uid = "p",
        Requests = new ResourceAmounts(cpu, memory, 0),
        ScoringRequests = new ResourceAmounts(cpu, memory, 0),
    };

    private static ClusterView.Slot Slot(
        string name, long cpu = 4000, long memory = 8 * Gi, int pods = 110, Taint[]? taints = null, Dictionary<string, string>? labels = null,
        bool unschedulable = false, PodRequirements? used = null, Dictionary<string, long>? extended = null) => new(
        new NodeFacts
        {
            Name = name,
            Labels = labels ?? [],
            Taints = taints ?? [],
            Unschedulable = unschedulable,
            Allocatable = new ResourceAmounts(cpu, memory, 0),
            AllocatablePods = pods,
            Extended = extended ?? [],
        },
        used is null ? NodeUsage.None : NodeUsage.None.With(used));
}
