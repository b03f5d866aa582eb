using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using OrleansCluster.Faults.Checking;
using OrleansCluster.Faults.Histories;
using OrleansCluster.Faults.Nemesis;
using OrleansCluster.Faults.Workloads;

namespace OrleansCluster.Faults.Tests;

/// <summary>One run: workload and nemesis side by side, then peace, then judgement.</summary>
internal sealed class FaultRun(FaultCluster cluster, int seed, Action<string> log)
{
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(90);
    private const int Clients = 4;
    private readonly long _began = Stopwatch.GetTimestamp();

    public History History { get; } = new();

    public List<Fault> Faults { get; } = [];

    /// <summary>Runs faults for some time and returns what the checker says.</summary>
    /// <param name="faults">Yields what the nemesis does; it ends the run when it ends.</param>
    /// <param name="mayLose">True: a change of epoch may lose acknowledged writes.</param>
    public async Task<Verdict> RunAsync(Func<FaultMaker, IEnumerable<Fault[]>> faults, bool mayLose)
    {
        try
        {
            var verdict = await JudgeAsync(faults, mayLose);
            if (verdict.Violations.Count > 0)
                Keep();
            return verdict;
        }
        catch (Exception error)
        {
            // The processes and their files are gone in a moment: whatever broke the run must be found in what is said here.
            Say($"the run has broken: {error.Message}");
            Say($"the last lines of each process:\n{cluster.Logs(30)}");
            Keep();
            throw;
        }
    }

    private void Say(string text) =>
        log(string.Create(CultureInfo.InvariantCulture, $"[{Stopwatch.GetElapsedTime(_began).TotalSeconds,6:0.0} s, {History.Operations.Count} operations] {text}"));

    private async Task<Verdict> JudgeAsync(Func<FaultMaker, IEnumerable<Fault[]>> faults, bool mayLose)
    {
        var workload = new ApiWorkload(cluster.Endpoints, History, seed) { PodCpu = await PodCpuAsync() };
        await workload.PrepareAsync(CancellationToken.None);
        using var endFollowers = new CancellationTokenSource();
        using var endClients = new CancellationTokenSource();
        using var endSupervisor = new CancellationTokenSource();
        var supervisor = cluster.SuperviseAsync(Say, endSupervisor.Token);
        var followers = workload.Follow(endFollowers.Token);
        var clients = workload.RunAsync(Clients, endClients.Token);
        var maker = new FaultMaker(cluster, seed, Say);
        try
        {
            await Task.Delay(TimeSpan.FromSeconds(2));
            foreach (var together in faults(maker))
            {
                await Task.WhenAll(together.Select(maker.DoAsync));
                await Task.Delay(maker.Calm());
            }
        }
        finally
        {
            Faults.AddRange(maker.Done);
            await endClients.CancelAsync();
            await clients;
        }
        Say("the clients have ended; waiting for peace");
        await cluster.WaitReadyAsync(mayEnd: true);
        var unsettled = await SettleAsync();
        Say(unsettled.Length == 0 ? "all is quiet" : $"not quiet after {Settle.TotalSeconds:0} s: {unsettled}");
        await FinishAsync(workload);
        await endSupervisor.CancelAsync();
        await supervisor;
        await endFollowers.CancelAsync();
        await Task.WhenAll(followers);
        var verdict = HistoryChecker.Check(History, mayLose);
        ClusterRules.Check(History, verdict);
        Say(verdict.ToString());
        Say(
            $"{History.Operations.Count(o => o.Outcome == Outcome.Ok)} ok, {History.Operations.Count(o => o.Outcome == Outcome.Failed)} refused, "
            + $"{History.Operations.Count(o => o.Outcome == Outcome.Unknown)} unknown; {workload.Followers.Sum(f => f.Relists)} lists and "
            + $"{workload.Followers.Sum(f => f.Observer.Steps.Count(s => s.Stream is not null))} streams of {workload.Followers.Count} followers; {verdict.RolledBack.Count} undone unacknowledged, {verdict.LostByPermission.Count} lost by permission");
        return verdict;
    }

    /// <summary>Three pods of the workload fill a node, so that there is something to overcommit.</summary>
    private async Task<string> PodCpuAsync()
    {
        var nodes = await new ApiClient(0, cluster.Endpoints, History).ListAsync(cluster.Endpoints[0], "nodes", "", CancellationToken.None, record: false);
        using var node = JsonDocument.Parse(nodes.Items[0].Body!);
        return string.Create(CultureInfo.InvariantCulture, $"{ClusterRules.Cpu(node.RootElement.GetProperty("status").GetProperty("allocatable").GetProperty("cpu")) * 3 / 10}m");
    }

    private async Task<string> SettleAsync()
    {
        var client = new ApiClient(0, cluster.Endpoints, History);
        var began = Stopwatch.GetTimestamp();
        var quiet = 0;
        while (true)
        {
            var controllers = await client.ListAsync(cluster.Endpoints[0], "replicationcontrollers", "", CancellationToken.None, record: false);
            var pods = await client.ListAsync(cluster.Endpoints[^1], "pods", "", CancellationToken.None, record: false);
            var unsettled = controllers.Outcome == Outcome.Ok && pods.Outcome == Outcome.Ok
                ? ClusterRules.Unsettled(Bodies(controllers), Bodies(pods))
                : $"{controllers} {pods}";
            // Quiet for some time: no late reconcile changes it again.
            quiet = unsettled.Length == 0 ? quiet + 1 : 0;
            if (quiet == 10 || Stopwatch.GetElapsedTime(began) > Settle)
                return unsettled;
            await Task.Delay(300);
        }
    }

    private async Task FinishAsync(ApiWorkload workload)
    {
        var client = new ApiClient(0, cluster.Endpoints, History);
        foreach (var resource in ApiWorkload.Followed.Append("namespaces").Append("services"))
        {
            foreach (var endpoint in resource == "nodes" ? cluster.Endpoints.Take(1) : cluster.Endpoints)
            {
                var list = await client.ListAsync(endpoint, resource, "", CancellationToken.None, record: false);
                History.Final.Enqueue(list);
                foreach (var follower in workload.Followers.Where(f => f.Observer.Resource == resource))
                    follower.Observer.Goal = list.ListRevision;
            }
        }
        // Followers that see everything get as far as the final lists; those of one namespace have seen what concerns them long ago.
        var began = Stopwatch.GetTimestamp();
        while (workload.Followers.Any(f => f.Observer.Namespace.Length == 0 && f.Last < f.Observer.Goal) && Stopwatch.GetElapsedTime(began) < TimeSpan.FromSeconds(20))
            await Task.Delay(100);
    }

    private void Keep()
    {
        var folder = Directory.CreateDirectory(Path.Combine(Path.GetTempPath(), $"orleanscluster-faults-seed-{seed}")).FullName;
        History.Save(Path.Combine(folder, "history.json"));
        cluster.SaveLogs(folder);
        Say($"history and logs are in {folder}");
    }

    private static List<JsonElement> Bodies(Operation list)
    {
        var bodies = new List<JsonElement>();
        foreach (var item in list.Items)
        {
            using var document = JsonDocument.Parse(item.Body!);
            bodies.Add(document.RootElement.Clone());
        }
        return bodies;
    }
}
