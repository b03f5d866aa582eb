using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>Several nodes on one machine, and the loss of one.</summary>
public sealed class NodeTests
{
    // A lost node's pods are given up after 300 s by default; these say how long theirs may wait.
    private const string GivenUpSoon = """
              tolerations:
              - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
              - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
        """;

    [Fact]
    public async Task Pods_of_several_nodes_have_addresses_of_their_nodes_ranges_and_reach_each_other()
    {
        await using ClusterProcess cluster = await ClusterProcess.LaunchAsync(new ClusterOptions { Nodes = 2 });
        JsonArray nodes = (await Eventually.GetAsync(
            "both nodes are there", _ => cluster.Kubectl.GetAsync("nodes"), list => list["items"]!.AsArray().Count == 2))["items"]!.AsArray();
        foreach (JsonNode? node in nodes)
        {
            string name = (string)node!["metadata"]!["name"]!;
            string script = $"mkdir -p /www; echo {name} > /www/index.html; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait $!";
            await cluster.Kubectl.ApplyAsync(Manifests.Pod($"on-{name}", script, $"  nodeName: {name}"));
        }

        IReadOnlyList<Pod> pods = await cluster.EventuallyPodsAsync("both run", "", all => all.Count == 2 && all.All(pod => pod.Serves));

        string[] ranges = [.. nodes.Select(node => (string)node!["spec"]!["podCIDR"]!)];
        Assert.Equal(2, ranges.Distinct(StringComparer.Ordinal).Count());
        foreach (Pod from in pods)
        {
            string range = (string)nodes.Single(node => (string?)node!["metadata"]!["name"] == from.Node)!["spec"]!["podCIDR"]!;
            Assert.True(System.Net.IPNetwork.Parse(range).Contains(System.Net.IPAddress.Parse(from.Ip!)), $"{from.Ip} is not in {range}.");
            foreach (Pod to in pods)
            {
                string answer = await cluster.Kubectl.RunAsync($"exec {from.Name} -- timeout 5 wget -q -O - http://{to.Ip}:8080/");
                Assert.Equal(to.Node, answer.Trim());
            }
        }
    }

    [Fact]
    public async Task When_a_node_is_lost_replicated_pods_move_and_a_bare_pod_does_not()
    {
        await using ClusterProcess cluster = await ClusterProcess.LaunchAsync(new ClusterOptions
        {
            Nodes = 2,
            Runtime = "hollow",
            Arguments = ["--node-heartbeat-interval", "1", "--node-monitor-grace-period", "5"],
        });
        JsonNode nodes = await Eventually.GetAsync(
            "both nodes are ready", _ => cluster.Kubectl.GetAsync("nodes"), list => list["items"]!.AsArray().Count(IsReady) == 2);
        string lost = nodes["items"]!.AsArray().Select(node => (string)node!["metadata"]!["name"]!).Order(StringComparer.Ordinal).Last();
        await cluster.Kubectl.ApplyAsync(Manifests.ReplicationController("moving", 4, GivenUpSoon));
        await cluster.Kubectl.ApplyAsync(Manifests.Pod("bare", extra: $"  nodeName: {lost}"));
        IReadOnlyList<Pod> before = await cluster.EventuallyPodsAsync("all run", "", pods => pods.Count == 5 && pods.All(pod => pod.Serves));
        Pod[] onLost = [.. before.Where(pod => pod.Node == lost && pod.Name != "bare")];
        Assert.NotEmpty(onLost);

        // The same data with one node fewer: the second node's heartbeats have stopped for good.
        await cluster.StopAsync(TimeSpan.FromSeconds(15));
        await cluster.StartAsync(cluster.Options with { Nodes = 1 });
        await Eventually.TrueAsync(
            "the lost node is not ready", async _ => !IsReady(await cluster.Kubectl.GetAsync($"node {lost}")), TimeSpan.FromSeconds(120));
        IReadOnlyList<Pod> moving = await cluster.EventuallyPodsAsync(
            "four pods serve on the other node",
            "-l app=moving",
            pods => pods.Count(pod => pod.Serves && pod.Node != lost) == 4,
            TimeSpan.FromSeconds(60));
        IReadOnlyList<Pod> bare = await cluster.Kubectl.PodsAsync("-l app=bare");

        Assert.DoesNotContain(moving, pod => pod.Serves && onLost.Any(old => old.Uid == pod.Uid));
        Assert.All(bare, pod => Assert.Equal(lost, pod.Node));
    }

    private static bool IsReady(JsonNode? node) =>
        node!["status"]?["conditions"]?.AsArray().Any(condition => (string?)condition!["type"] == "Ready" && (string?)condition["status"] == "True") == true;
}
