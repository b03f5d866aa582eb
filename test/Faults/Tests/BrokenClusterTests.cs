using Microsoft.Extensions.DependencyInjection;
using OrleansCluster.Faults.Checking;
using OrleansCluster.Faults.Histories;
using OrleansCluster.Faults.Workloads;
using OrleansCluster.Storage;
using OrleansCluster.Testing;

namespace OrleansCluster.Faults.Tests;

/// <summary>The bug lies deep: clients see the store only through API server, caches and grains, and over HTTP. The checker still finds it.</summary>
public sealed class BrokenClusterTests
{
    [Theory]
    [InlineData(StoreBug.None)]
    [InlineData(StoreBug.DropsCommits)]
    [InlineData(StoreBug.SwallowsChange)]
    [InlineData(StoreBug.CommitsTwice)]
    public async Task A_bug_is_caught_through_the_API(StoreBug bug)
    {
        var cancellation = TestContext.Current.CancellationToken;
        var seed = Seeds.New();
        await using var cluster = await TestCluster.StartAsync(
            new TestClusterOptions { Nodes = 2, ConfigureServices = services => Break(services, bug) }, cancellation);
        IReadOnlyList<ApiEndpoint> endpoints = [new("api", cluster.Http)];
        var history = new History();
        var workload = new ApiWorkload(endpoints, history, seed) { PodCpu = "100m", MaxPauseMs = 5 };
        await workload.PrepareAsync(cancellation);
        using var endFollowers = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        using var endClients = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var followers = workload.Follow(endFollowers.Token);
        var clients = workload.RunAsync(clients: 4, endClients.Token);
        await cluster.WaitForAsync(
            _ => Task.FromResult(history.Operations.Count > 800), "800 operations are done", timeout: TimeSpan.FromSeconds(60), cancellationToken: cancellation);
        await endClients.CancelAsync();
        await clients;
        var client = new ApiClient(0, endpoints, history);
        var list = await client.ListAsync(endpoints[0], "configmaps", "", cancellation, record: false);
        history.Final.Enqueue(list);
        await cluster.WaitForAsync(
            _ => Task.FromResult(workload.Followers.Where(f => f.Observer is { Resource: "configmaps", Namespace: "" }).All(f => f.Last >= list.ListRevision)),
            "the followers have seen it all", cancellationToken: cancellation);
        await endFollowers.CancelAsync();
        await Task.WhenAll(followers);

        var verdict = HistoryChecker.Check(history);

        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {verdict}");
        if (bug == StoreBug.None)
            Assert.True(verdict.Violations.Count == 0, $"seed {seed}: {verdict}");
        else
            Assert.Contains(verdict.Violations, v => Expected(bug).Contains(v.Rule));
    }

    private static Rule[] Expected(StoreBug bug) => bug switch
    {
        StoreBug.DropsCommits => [Rule.LostWrite],
        StoreBug.SwallowsChange => [Rule.WatchGap, Rule.LostWrite],
        _ => [Rule.Unexplained],
    };

    /// <summary>Only configmaps: a control plane that cannot rely on its store would not come as far as to be tested.</summary>
    private static void Break(IServiceCollection services, StoreBug bug)
    {
        var registered = services.Last(s => s.ServiceType == typeof(IObjectStore));
        services.Remove(registered);
        services.AddSingleton<IObjectStore>(provider => new BrokenStore(
            (IObjectStore)(registered.ImplementationInstance ?? registered.ImplementationFactory!(provider)), bug, everyNth: 20, resource => resource == "configmaps"));
    }
}
