using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Faults.Checking;
using OrleansCluster.Faults.Histories;
using OrleansCluster.Faults.Workloads;
using OrleansCluster.Storage;

namespace OrleansCluster.Faults.Tests;

/// <summary>A store with a deliberate bug is caught within a second or two of workload; the honest one passes.</summary>
public sealed class BrokenStoreTests
{
    private const int Clients = 6;
    private const int Operations = 150;

    [Theory]
    [InlineData(StoreBug.None)]
    [InlineData(StoreBug.DropsCommits)]
    [InlineData(StoreBug.ServesOldState)]
    [InlineData(StoreBug.RepeatsRevision)]
    [InlineData(StoreBug.SwallowsChange)]
    [InlineData(StoreBug.RepeatsChange)]
    [InlineData(StoreBug.IgnoresExpectedRevision)]
    [InlineData(StoreBug.ForgetsClaims)]
    [InlineData(StoreBug.RefusesAfterCommit)]
    [InlineData(StoreBug.CommitsTwice)]
    [InlineData(StoreBug.Resurrects)]
    public async Task A_bug_is_caught(StoreBug bug)
    {
        var seed = Seeds.New();
        await using var inner = SqliteObjectStore.Open(new SqliteStoreOptions(), TimeProvider.System, NullLogger<SqliteObjectStore>.Instance);
        await using var store = new BrokenStore(inner, bug, everyNth: 20);
        var history = new History();
        await new StoreWorkload(store, history, seed).RunAsync(Clients, Operations, TestContext.Current.CancellationToken);

        var verdict = HistoryChecker.Check(history);

        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {verdict}");
        Assert.True(verdict.Operations > 500, $"{verdict.Operations} operations are no workload.");
        if (bug == StoreBug.None)
            Assert.True(verdict.Violations.Count == 0, $"seed {seed}: {verdict}");
        else
            Assert.Contains(verdict.Violations, v => Expected(bug).Contains(v.Rule));
    }

    [Fact]
    public async Task The_honest_store_passes_although_nobody_saw_all_of_it()
    {
        var lost = 0;
        for (var round = 0; round < 5; round++)
        {
            var seed = Seeds.New();
            await using var store = SqliteObjectStore.Open(new SqliteStoreOptions(), TimeProvider.System, NullLogger<SqliteObjectStore>.Instance);
            var history = new History();
            await new StoreWorkload(store, history, seed, relists: true).RunAsync(Clients, Operations, TestContext.Current.CancellationToken);

            var verdict = HistoryChecker.Check(history);

            Assert.True(verdict.Violations.Count == 0, $"seed {seed}: {verdict}");
            lost += history.Observers.Sum(o => (o.Steps.Count / 2) - 1);
        }
        Assert.True(lost > 0, "The followers never lost their place.");
    }

    private static Rule[] Expected(StoreBug bug) => bug switch
    {
        StoreBug.DropsCommits => [Rule.LostWrite],
        StoreBug.ServesOldState => [Rule.Linearizability],
        StoreBug.RepeatsRevision => [Rule.RevisionTwice],
        StoreBug.SwallowsChange => [Rule.WatchGap],
        StoreBug.RepeatsChange => [Rule.WatchOrder],
        StoreBug.IgnoresExpectedRevision => [Rule.Condition, Rule.Linearizability],
        StoreBug.ForgetsClaims => [Rule.Exclusive],
        StoreBug.RefusesAfterCommit => [Rule.Unexplained],
        StoreBug.CommitsTwice => [Rule.Unexplained],
        _ => [Rule.Unexplained],
    };
}
