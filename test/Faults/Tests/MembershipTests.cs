using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using OrleansCluster.EndToEnd.Harness;
using OrleansCluster.Faults.Nemesis;
using OrleansCluster.Faults.Workloads;

namespace OrleansCluster.Faults.Tests;

/// <summary>The known traps of a membership table in Redis, each on real processes: it is lost, it is out of date, a member leaves, a member was stopped.</summary>
[Trait("Category", "Long")]
public sealed class MembershipTests(ITestOutputHelper output)
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_lost_membership_table_is_written_again_and_no_request_fails()
    {
        await using var cluster = await FaultCluster.StartAsync(kubelets: 1);
        var table = await TableAsync(cluster);
        Assert.Equal("-1", await RedisAsync(cluster, "TTL", table)); // Rows that vanish by time are the trap itself.

        await using var writer = new SteadyWriter(cluster.Endpoints, "steady");
        await writer.GoesOnAsync(20);
        Assert.Equal("1", await RedisAsync(cluster, "DEL", table));
        await WholeAsync(cluster, table);
        await writer.GoesOnAsync(50);
        // The mended table is one that members leave and join.
        await cluster.Silos[0].KillAsync();
        await writer.GoesOnAsync(20);
        cluster.Silos[0].Start();
        await cluster.WaitReadyAsync();
        await writer.GoesOnAsync(20);
        await writer.StopAsync();
        output.WriteLine($"{writer.Written} writes, the slowest request took {writer.Slowest.TotalSeconds:0.0} s");
        Assert.Empty(writer.Failures);
    }

    /// <summary>The rows of all silos say Active and nobody is there to vote them dead. Orleans' own times would have a starting silo wait for them for minutes.</summary>
    [Fact]
    public async Task After_everything_was_killed_the_stale_rows_delay_the_first_write_by_less_than_a_minute()
    {
        await using var cluster = await FaultCluster.StartAsync(kubelets: 1);
        await using (var writer = new SteadyWriter(cluster.Endpoints, "before"))
        {
            await writer.GoesOnAsync(10);
            await writer.StopAsync();
            Assert.Empty(writer.Failures);
        }
        await Task.WhenAll(cluster.All.Where(r => r != cluster.Redis).Select(r => r.KillAsync()));
        await cluster.Redis.KillAsync();

        var began = Stopwatch.GetTimestamp();
        cluster.Redis.Start();
        foreach (var role in (RoleProcess[])[.. cluster.Silos, .. cluster.ApiServers, .. cluster.Kubelets])
            role.Start();
        await Eventually.TrueAsync(
            "a write is acknowledged",
            async cancellation =>
            {
                using var body = new StringContent("""{"data":{"after":"1"} }""", Encoding.UTF8, "application/merge-patch+json");
                using var answer = await cluster.Endpoints[0].Http.PatchAsync(new Uri("api/v1/namespaces/default/configmaps/before", UriKind.Relative), body, cancellation);
                return answer.IsSuccessStatusCode;
            },
            TimeSpan.FromSeconds(60));
        output.WriteLine($"the first write was acknowledged {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s after the start");
        await cluster.WaitReadyAsync();
    }

    [Fact]
    public async Task A_silo_that_leaves_hands_grains_and_node_sessions_over_without_an_error_at_any_client()
    {
        await using var cluster = await FaultCluster.StartAsync(kubelets: 2);
        var before = await ReadySinceAsync(cluster);
        await using var writer = new SteadyWriter(cluster.Endpoints, "steady");
        await writer.GoesOnAsync(20);
        await cluster.Silos[0].StopAsync(TimeSpan.FromSeconds(30));
        await writer.GoesOnAsync(20);

        // Sessions live on at the other silo: what is bound now still reaches its node, and none was taken for lost meanwhile.
        for (var i = 1; i <= 2; i++)
        {
            var pod = $$"""{"metadata":{"name":"late-{{i}}"},"spec":{"nodeName":"node-{{i}}","containers":[{"name":"c","image":"busybox"}]} }""";
            using var answer = await cluster.Endpoints[0].Http.PostAsync(
                new Uri("api/v1/namespaces/default/pods", UriKind.Relative), new StringContent(pod, Encoding.UTF8, "application/json"), Cancellation);
            Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Cancellation));
        }
        await Eventually.GetAsync(
            "both pods run",
            async cancellation => (await ItemsAsync(cluster, "api/v1/namespaces/default/pods", cancellation)).Select(p => p.GetProperty("status").GetProperty("phase").GetString()),
            phases => phases.Count(p => p == "Running") == 2);
        await writer.StopAsync();
        output.WriteLine($"{writer.Written} writes, the slowest request took {writer.Slowest.TotalSeconds:0.0} s");
        Assert.Empty(writer.Failures);
        Assert.Equal(before, await ReadySinceAsync(cluster));
    }

    [Fact]
    public async Task A_silo_that_was_stopped_and_goes_on_acts_on_nothing_old_and_ends()
    {
        await using var cluster = await FaultCluster.StartAsync(kubelets: 1);
        await using var writer = new SteadyWriter(cluster.Endpoints, "steady");
        await using var other = new SteadyWriter(cluster.Endpoints, "other");
        await writer.GoesOnAsync(20);
        cluster.Silos[0].Pause();
        // Until the other silo has declared it dead and both objects' grains live there, whichever silo had them.
        await Task.WhenAll(writer.GoesOnAsync(20), other.GoesOnAsync(20));
        await Eventually.TrueAsync("the stopped silo is declared dead", async _ => (await RowsAsync(cluster)).Any(r => r.Contains("\"Status\":6", StringComparison.Ordinal) || r.Contains("Dead", StringComparison.Ordinal)));
        cluster.Silos[0].Continue();
        await Eventually.TrueAsync("it has ended by itself", _ => Task.FromResult(!cluster.Silos[0].IsRunning));
        await Task.WhenAll(writer.GoesOnAsync(20), other.GoesOnAsync(20));
        cluster.Silos[0].Start();
        await cluster.WaitReadyAsync();
        await Task.WhenAll(writer.GoesOnAsync(20), other.GoesOnAsync(20));
        await writer.StopAsync();
        await other.StopAsync();
        output.WriteLine($"{writer.Written + other.Written} writes, the slowest request took {Math.Max(writer.Slowest.TotalSeconds, other.Slowest.TotalSeconds):0.0} s");
        Assert.Empty(writer.Failures.Concat(other.Failures));
    }

    /// <summary>Waits until the table has its version and a row of every silo that runs.</summary>
    private static Task WholeAsync(FaultCluster cluster, string table) => Eventually.GetAsync(
        "every silo's row is in the table again",
        _ => RedisAsync(cluster, "HLEN", table),
        fields => int.Parse(fields, CultureInfo.InvariantCulture) > cluster.Silos.Count);

    private static async Task<string> TableAsync(FaultCluster cluster)
    {
        var keys = await RedisAsync(cluster, "--scan", "--pattern", "*members*");
        return Assert.Single(keys.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    private static async Task<string[]> RowsAsync(FaultCluster cluster) => (await RedisAsync(cluster, "HVALS", await TableAsync(cluster))).Split('\n');

    private static async Task<string> RedisAsync(FaultCluster cluster, params string[] arguments) =>
        (await Command.RunAsync("redis-cli", ["-p", $"{cluster.Redis.Ports[0]}", .. arguments], cancellation: Cancellation)).OrFail().Output.Trim();

    private static async Task<string> ReadySinceAsync(FaultCluster cluster)
    {
        var nodes = await ItemsAsync(cluster, "api/v1/nodes", Cancellation);
        return string.Join("; ", nodes.Select(n => n.GetProperty("status").GetProperty("conditions").EnumerateArray().First(c => c.GetProperty("type").GetString() == "Ready"))
            .Select(c => $"{c.GetProperty("status").GetString()} since {c.GetProperty("lastTransitionTime").GetString()}"));
    }

    private static async Task<List<JsonElement>> ItemsAsync(FaultCluster cluster, string path, CancellationToken cancellation)
    {
        using var list = JsonDocument.Parse(await cluster.Endpoints[^1].Http.GetStringAsync(new Uri(path, UriKind.Relative), cancellation));
        return [.. list.RootElement.GetProperty("items").EnumerateArray().Select(i => i.Clone())];
    }
}
