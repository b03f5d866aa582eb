using OrleansCluster.EndToEnd.Harness;
using OrleansCluster.Faults.Nemesis;

namespace OrleansCluster.Faults.Tests;

/// <summary>
/// Two versions are one cluster: an older build of this repository starts it, every process is replaced by the present build one by one under the checked
/// workload, with kills while both are there.
/// </summary>
public sealed class UpgradeTests
{
    /// <summary>The older version, unless OLD_COMMIT names another. Moved on with each release.</summary>
    private const string Older = "bb83382";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    [Trait("Category", "Long")]
    public async Task A_cluster_of_two_versions_goes_on_and_nothing_is_lost_when_the_older_one_goes()
    {
        var commit = Environment.GetEnvironmentVariable("OLD_COMMIT") is { Length: > 0 } given ? given : Older;
        var known = await Command.RunAsync("git", ["-C", Repository.Root, "rev-parse", "--verify", "--quiet", commit + "^{commit}"], cancellation: Cancellation);
        Assert.SkipUnless(known.ExitCode == 0, $"This clone lacks the history of {commit}; 'git fetch --unshallow' brings it.");
        var folder = Path.Combine(Path.GetTempPath(), $"orleanscluster-older-{Guid.NewGuid():N}");
        try
        {
            (await Command.RunAsync("git", ["-C", Repository.Root, "worktree", "add", "--detach", folder, commit], cancellation: Cancellation)).OrFail();
            (await Command.RunAsync(
                "dotnet",
                ["build", Path.Combine(folder, "src", "OrleansCluster"), "-c", "Release", "-v", "quiet", "-p:RunAnalyzers=false", "--disable-build-servers"],
                TimeSpan.FromMinutes(10), cancellation: Cancellation)).OrFail();
            await UpgradeAsync(Path.Combine(folder, "src", "OrleansCluster", "bin", "Release", "net10.0", "orleanscluster"));
        }
        finally
        {
            await Command.RunAsync("git", ["-C", Repository.Root, "worktree", "remove", "--force", folder], cancellation: CancellationToken.None);
        }
    }

    private static async Task UpgradeAsync(string older)
    {
        var seed = Seeds.New();
        Say($"seed {seed}");
        await using var cluster = await FaultCluster.StartAsync(program: older);
        var run = new FaultRun(cluster, seed, Say);
        var verdict = await run.RunAsync(_ => Steps(cluster), mayLose: false);
        Assert.True(verdict.Violations.Count == 0, $"seed {seed}: {verdict}");
        Assert.All(cluster.All.Except([cluster.Redis]), r => Assert.Equal(Repository.Executable, r.Program));
    }

    private static IEnumerable<Fault[]> Steps(FaultCluster cluster)
    {
        // Half of each role first. What is left of the older version then meets the newer one in every direction, also after deaths on both sides.
        foreach (var role in (RoleProcess[])[cluster.Silos[0], cluster.ApiServers[0], cluster.Kubelets[0]])
            yield return Upgrade(role);
        foreach (var role in (RoleProcess[])[cluster.Silos[1], cluster.Silos[0], cluster.ApiServers[1], cluster.Kubelets[1], cluster.Redis])
            yield return [new Fault(FaultKind.Kill, role.Name, TimeSpan.FromSeconds(1))];
        foreach (var role in (RoleProcess[])[cluster.Silos[1], cluster.ApiServers[1], .. cluster.Kubelets.Skip(1)])
            yield return Upgrade(role);
    }

    private static Fault[] Upgrade(RoleProcess role)
    {
        role.Program = Repository.Executable;
        return [new Fault(FaultKind.Restart, role.Name, TimeSpan.Zero)];
    }

    private static void Say(string text) => TestContext.Current.TestOutputHelper?.WriteLine(text);
}
