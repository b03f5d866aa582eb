using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>The whole process is stopped or killed and comes back: nothing is forgotten and no healthy pod is disturbed.</summary>
public sealed class RestartTests(DockerCluster fixture) : ClusterTests(fixture), IClassFixture<DockerCluster>
{
    private static readonly TimeSpan StopBudget = TimeSpan.FromSeconds(5);

    [Fact]
    public async Task After_a_polite_stop_everything_is_still_there()
    {
        await Kubectl.ApplyAsync(Manifests.ReplicationController("polite", 2));
        await Kubectl.RunAsync("create configmap kept --from-literal=answer=42");
        IReadOnlyList<Pod> before = await ServingAsync("polite", 2);

        (TimeSpan time, int exitCode) = await Cluster.StopAsync(TimeSpan.FromSeconds(15));
        await Cluster.StartAsync();

        IReadOnlyList<Pod> after = await ServingAsync("polite", 2);
        Assert.Equal(0, exitCode);
        Assert.True(time < StopBudget, $"Stopping took {time}.");
        Assert.Equal("42", (string?)(await Kubectl.GetAsync("configmap kept"))["data"]!["answer"]);
        AssertUndisturbed(before, after);
    }

    [Fact]
    public async Task After_kill_9_no_pod_has_been_restarted_and_every_acknowledged_write_is_there()
    {
        await Kubectl.ApplyAsync(Manifests.ReplicationController("tough", 2));
        IReadOnlyList<Pod> before = await ServingAsync("tough", 2);
        await Kubectl.RunAsync("create configmap last-words --from-literal=said=yes");

        await Cluster.KillAsync();
        foreach (Pod pod in before)
            Assert.True(await Docker.RunsAsync(pod.ContainerIds[0]), $"{pod.Name} must run on without its kubelet.");
        await Cluster.StartAsync();

        JsonNode words = await Kubectl.GetAsync("configmap last-words");
        IReadOnlyList<Pod> after = await ServingAsync("tough", 2);
        Assert.Equal("yes", (string?)words["data"]!["said"]);
        AssertUndisturbed(before, after);
    }

    [Fact]
    public async Task A_container_that_died_while_the_kubelet_was_away_is_restarted_when_it_is_back()
    {
        await Kubectl.ApplyAsync(Manifests.ReplicationController("orphaned", 1));
        Pod before = (await ServingAsync("orphaned", 1))[0];

        await Cluster.KillAsync();
        await Docker.RunAsync("kill", before.ContainerIds[0]);
        await Cluster.StartAsync();

        IReadOnlyList<Pod> after = await Cluster.EventuallyPodsAsync(
            "the container runs again", "-l app=orphaned", pods => pods is [{ Serves: true, Restarts: 1 }]);
        Assert.Equal(before.Uid, after[0].Uid);
        Assert.NotEqual(before.ContainerIds[0], after[0].ContainerIds[0]);
    }

    [Fact]
    public async Task Controllers_go_on_after_a_restart()
    {
        await Kubectl.ApplyAsync(Manifests.ReplicationController("growing", 1));
        await ServingAsync("growing", 1);

        await Cluster.KillAsync();
        await Cluster.StartAsync();
        await Kubectl.RunAsync("scale rc growing --replicas=2");

        IReadOnlyList<Pod> pods = await ServingAsync("growing", 2);
        await Kubectl.RunAsync($"delete pod {pods[0].Name}");
        IReadOnlyList<Pod> replaced = await Cluster.EventuallyPodsAsync(
            "it was replaced", "-l app=growing", now => now.Count == 2 && now.All(pod => pod.Serves && pod.Uid != pods[0].Uid));
        Assert.Contains(replaced, pod => pod.Uid == pods[1].Uid);
    }

    private Task<IReadOnlyList<Pod>> ServingAsync(string app, int count) =>
        Cluster.EventuallyPodsAsync(
            $"{count} pods of {app} serve", $"-l app={app}", pods => pods.Count == count && pods.All(pod => pod.Serves));

    private static void AssertUndisturbed(IReadOnlyList<Pod> before, IReadOnlyList<Pod> after)
    {
        Assert.Equal(State(before), State(after));

        static IEnumerable<string> State(IReadOnlyList<Pod> pods) => pods
            .Select(pod => $"{pod.Uid} {pod.Ip} {pod.Restarts} {string.Join(' ', pod.ContainerIds)}").Order(StringComparer.Ordinal);
    }
}
