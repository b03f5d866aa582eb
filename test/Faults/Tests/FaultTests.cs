using System.Diagnostics;
using System.Globalization;
using OrleansCluster.Faults.Nemesis;

// Processes, signals and packet filters, and two cores: one cluster at a time.
[assembly: System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace OrleansCluster.Faults.Tests;

/// <summary>The fault suite: real processes, real faults, and a proof over what the clients saw. FAULTS_SEED replays a run's decisions.</summary>
public sealed class FaultTests
{
    private static readonly TimeSpan LongRun =
        TimeSpan.FromMinutes(double.TryParse(Environment.GetEnvironmentVariable("FAULTS_MINUTES"), NumberStyles.Float, CultureInfo.InvariantCulture, out var m) ? m : 30);

    [Fact]
    public async Task Every_kind_of_fault_is_survived()
    {
        var seed = Seeds.New();
        await RunAsync(seed, maker => maker.EveryKind().Select(f => (Fault[])[f]));
    }

    /// <summary>A silo and an API server as if on machines of their own, whose cables are pulled. Long until it has failed in none of many runs.</summary>
    [Fact]
    [Trait("Category", "Long")]
    public async Task Processes_in_networks_of_their_own_are_cut_off_from_everything_and_nothing_is_lost()
    {
        Assert.SkipUnless(NetworkNamespaces.IsAvailable, "Network namespaces need root, iproute2 and iptables.");
        await RunAsync(Seeds.New(), maker => maker.PulledCables().Select(f => (Fault[])[f]), apart: true);
    }

    /// <summary>A replica has every acknowledged write, so that a failover loses none.</summary>
    [Fact]
    [Trait("Category", "Long")]
    public async Task A_failover_of_Redis_loses_nothing_where_a_replica_must_confirm() =>
        await RunAsync(Seeds.New(), maker => maker.FailOvers(losing: false).Select(f => (Fault[])[f]), minReplicas: 1);

    /// <summary>The replica lacks a tail: what was acknowledged in it may be gone, but nobody sees two histories, and everything goes on in a new epoch.</summary>
    [Fact]
    [Trait("Category", "Long")]
    public async Task A_failover_that_loses_a_tail_begins_a_new_history_for_everybody() =>
        await RunAsync(Seeds.New(), maker => maker.FailOvers(losing: true).Select(f => (Fault[])[f]), minReplicas: 0);

    [Fact]
    [Trait("Category", "Long")]
    public async Task Faults_of_all_kinds_alone_and_together_are_survived_for_a_long_time()
    {
        var began = Stopwatch.GetTimestamp();
        var survived = new List<Fault>();
        var first = Seeds.New();
        // A new cluster and a new seed every few minutes: histories stay small enough to be judged, and starts are tried too.
        for (var round = 0; Stopwatch.GetElapsedTime(began) < LongRun; round++)
        {
            var until = Stopwatch.GetTimestamp() + (long)(TimeSpan.FromMinutes(4).TotalSeconds * Stopwatch.Frequency);
            survived.AddRange(await RunAsync(first + round, maker => Endless(maker).TakeWhile(_ => Stopwatch.GetTimestamp() < until)));
            Say($"survived so far: {Count(survived)}");
        }
    }

    private static IEnumerable<Fault[]> Endless(FaultMaker maker)
    {
        while (true)
        {
            var fault = maker.Next();
            var other = maker.Next();
            yield return maker.Together() && other.Victim != fault.Victim ? [fault, other] : [fault];
        }
    }

    private static async Task<IReadOnlyList<Fault>> RunAsync(int seed, Func<FaultMaker, IEnumerable<Fault[]>> faults, int? minReplicas = null, bool apart = false)
    {
        Say($"seed {seed} (FAULTS_SEED={seed} replays its decisions)");
        await using var cluster = await FaultCluster.StartAsync(minReplicas: minReplicas, apart: apart);
        var run = new FaultRun(cluster, seed, Say);
        var verdict = await run.RunAsync(faults, mayLose: minReplicas == 0);
        Say($"{Count(run.Faults)}");
        Assert.True(verdict.Violations.Count == 0, $"seed {seed}: {verdict}");
        Assert.True(run.Faults.Count > 0, "Nothing was done to the cluster.");
        return run.Faults;
    }

    private static string Count(IReadOnlyList<Fault> faults) =>
        $"{faults.Count} faults: " + string.Join(", ", faults.GroupBy(f => $"{f.Kind} {f.Role}").OrderBy(g => g.Key, StringComparer.Ordinal).Select(g => $"{g.Key} {g.Count()}"));

    private static void Say(string text)
    {
        TestContext.Current.TestOutputHelper?.WriteLine(text);
        if (Environment.GetEnvironmentVariable("FAULTS_LOG") is { Length: > 0 } file)
            File.AppendAllText(file, text + "\n");
    }
}
