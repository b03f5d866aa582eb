using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>What does not need real containers: many pods at once, pods that fit nowhere, namespaces.</summary>
public sealed class HollowTests(HollowCluster fixture) : ClusterTests(fixture), IClassFixture<HollowCluster>
{
    [Fact]
    public async Task Two_hundred_pods_at_once_all_run()
    {
        await using ClusterProcess cluster = await ClusterProcess.LaunchAsync(new ClusterOptions { Nodes = 4, Runtime = "hollow" });
        await cluster.Kubectl.ApplyAsync(Manifests.ReplicationController("many", 200));

        IReadOnlyList<Pod> pods = await cluster.EventuallyPodsAsync(
            "200 pods serve", "-l app=many", all => all.Count == 200 && all.All(pod => pod.Serves), TimeSpan.FromSeconds(120));
        string controller = await cluster.Kubectl.RunAsync("get rc many --no-headers");

        Assert.Equal(4, pods.Select(pod => pod.Node).Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(200, pods.Select(pod => pod.Ip).Distinct(StringComparer.Ordinal).Count());
        Assert.Matches(@"^many\s+200\s+200\s+200\s", controller);
    }

    [Fact]
    public async Task A_pod_that_fits_nowhere_waits_and_describe_says_why()
    {
        await Kubectl.ApplyAsync(Manifests.Pod("huge", extra: "    resources: {requests: {cpu: \"1000\"}}"));

        string text = await Eventually.GetAsync(
            "the scheduler has said why",
            _ => Kubectl.RunAsync("describe pod huge"),
            description => description.Contains("FailedScheduling", StringComparison.Ordinal));
        string table = await Kubectl.RunAsync("get pod huge --no-headers");

        Assert.Contains("0/1 nodes are available: 1 Insufficient cpu.", text, StringComparison.Ordinal);
        Assert.Matches(@"^huge\s+0/1\s+Pending\s+0\s", table);
    }

    [Fact]
    public async Task A_pod_for_a_label_no_node_has_waits_until_a_node_gets_it()
    {
        await Kubectl.ApplyAsync(Manifests.Pod("picky", extra: "  nodeSelector: {disk: fast}"));
        await Eventually.GetAsync(
            "the scheduler has said why",
            _ => Kubectl.RunAsync("describe pod picky"),
            text => text.Contains("1 node(s) didn't match Pod's node affinity/selector", StringComparison.Ordinal));

        await Kubectl.RunAsync("label nodes --all disk=fast");

        await Cluster.EventuallyPodsAsync("it runs", "-l app=picky", pods => pods is [{ Serves: true }]);
    }

    [Fact]
    public async Task Deleting_a_namespace_deletes_what_is_in_it()
    {
        await Kubectl.RunAsync("create namespace doomed");
        await Kubectl.RunAsync("apply -n doomed -f -", Manifests.ReplicationController("inside", 2));
        await Cluster.EventuallyPodsAsync("they run", "-n doomed", pods => pods.Count == 2 && pods.All(pod => pod.Serves));

        await Kubectl.RunAsync("delete namespace doomed", limit: TimeSpan.FromSeconds(90));

        CommandResult gone = await Kubectl.TryAsync("get namespace doomed");
        Assert.Contains("namespaces \"doomed\" not found", gone.Error, StringComparison.Ordinal);
        Assert.Empty(await Kubectl.PodsAsync("-n doomed"));
    }

    [Fact]
    public async Task Deleting_a_controller_deletes_its_pods_and_orphaning_keeps_them()
    {
        await Kubectl.ApplyAsync(Manifests.ReplicationController("mortal", 2));
        await Kubectl.ApplyAsync(Manifests.ReplicationController("survived", 2));
        await Cluster.EventuallyPodsAsync("all run", "-l app", pods =>
            pods.Count(pod => pod.Serves && (pod.Name.StartsWith("mortal-", StringComparison.Ordinal) || pod.Name.StartsWith("survived-", StringComparison.Ordinal))) == 4);

        await Kubectl.RunAsync("delete rc mortal");
        await Kubectl.RunAsync("delete rc survived --cascade=orphan");

        await Cluster.EventuallyPodsAsync("the pods of mortal are gone", "-l app=mortal", pods => pods.Count == 0);
        JsonNode orphans = await Kubectl.GetAsync("pods -l app=survived");
        Assert.All(orphans["items"]!.AsArray(), pod => Assert.Null(pod!["metadata"]!["ownerReferences"]));
        Assert.Equal(2, orphans["items"]!.AsArray().Count);
    }
}
