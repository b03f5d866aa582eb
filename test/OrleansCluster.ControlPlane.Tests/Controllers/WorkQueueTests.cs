using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Core.Internal;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>From the change log to a settled reconcile: nothing is acknowledged before it was seen, and nothing is lost with an activation.</summary>
public sealed class WorkQueueTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_change_is_acknowledged_only_after_a_run_that_has_seen_it()
    {
        var probe = new Probe();
        await using var cluster = await StartAsync(probe);
        var hold = probe.Hold("held");
        await cluster.CreateAsync("configmaps", ConfigMap("before"));
        var held = long.Parse((await cluster.CreateAsync("configmaps", ConfigMap("held"))).At("metadata", "resourceVersion")!, System.Globalization.CultureInfo.InvariantCulture);
        await cluster.CreateAsync("configmaps", ConfigMap("after"));
        await cluster.UntilAsync("the others have run", () => Task.FromResult(probe.Runs("before") > 0 && probe.Runs("after") > 0));
        await cluster.UntilAsync("all before the held one is acknowledged", async () => await AcknowledgedAsync(cluster) == held - 1);

        hold.SetResult();
        await cluster.UntilAsync("all is acknowledged", async () => await AcknowledgedAsync(cluster) > held);
        Assert.All(probe.Seen, s => Assert.True(s.Read >= s.Written, "A run read a state older than the change that woke it."));
    }

    [Fact]
    public async Task A_failing_run_backs_off_recovers_and_is_not_acknowledged_meanwhile()
    {
        var probe = new Probe();
        await using var cluster = await StartAsync(probe);
        probe.Fail("bad", times: 4);
        var revision = long.Parse((await cluster.CreateAsync("configmaps", ConfigMap("bad"))).At("metadata", "resourceVersion")!, System.Globalization.CultureInfo.InvariantCulture);
        await cluster.UntilAsync("it has run five times", () => Task.FromResult(probe.Runs("bad") == 5));
        var gaps = probe.Seen.Where(s => s.Name == "bad").Select(s => s.At).ToList();
        // The fourth pause is 400 ms, of which chance may take half; the first is 50.
        Assert.True(gaps[4] - gaps[3] >= TimeSpan.FromMilliseconds(195), $"the last pause was {gaps[4] - gaps[3]}");
        await cluster.UntilAsync("then it is acknowledged", async () => await AcknowledgedAsync(cluster) >= revision);
        Assert.Equal(5, probe.Runs("bad"));
    }

    [Fact]
    public async Task Changes_during_a_run_cause_exactly_one_more()
    {
        var probe = new Probe();
        await using var cluster = await StartAsync(probe);
        var hold = probe.Hold("busy");
        await cluster.CreateAsync("configmaps", ConfigMap("busy"));
        await cluster.UntilAsync("it runs", () => Task.FromResult(probe.Runs("busy") == 1));
        for (var i = 0; i < 10; i++)
            await cluster.PatchAsync("configmaps", "busy", $$"""{"data":{"i":"{{i}}"} }""");
        await cluster.CreateAsync("configmaps", ConfigMap("marker"));
        await cluster.UntilAsync("the pump has read all of it", () => Task.FromResult(probe.Runs("marker") == 1));
        Assert.Equal(1, probe.Runs("busy"));
        hold.SetResult();
        await cluster.UntilAsync("all is acknowledged", async () => await AcknowledgedAsync(cluster) == await cluster.Inner.GetRevisionAsync("configmaps", Cancellation));
        Assert.Equal(2, probe.Runs("busy"));
    }

    [Fact]
    public async Task What_a_pump_and_its_grains_had_in_hand_is_done_by_their_successors()
    {
        var probe = new Probe();
        await using var cluster = await StartAsync(probe);
        var hold = probe.Hold("held");
        await cluster.CreateAsync("configmaps", ConfigMap("held"));
        await cluster.CreateAsync("configmaps", ConfigMap("gone"));
        await cluster.UntilAsync("one is in hand", () => Task.FromResult(probe.Runs("held") == 1 && probe.Runs("gone") == 1));
        var management = cluster.Grains.GetGrain<IManagementGrain>(0);
        probe.Fail("gone", times: 1000); // Its removal stays unacknowledged under the first pump.
        await cluster.DeleteAsync("configmaps", "gone");
        await cluster.UntilAsync("the removal has been tried", () => Task.FromResult(probe.Runs("gone") >= 2));

        await management.ForceActivationCollection(TimeSpan.Zero, Cancellation);
        await DeactivatePumpAsync(cluster);
        hold.TrySetResult();
        probe.Fail("gone", times: 0);
        var before = probe.Runs("gone");
        await cluster.UntilAsync(
            $"the successor has done the held one and the removal, which had been tried {before} times",
            () => Task.FromResult((Held: probe.Runs("held"), Gone: probe.Runs("gone"))), runs => runs.Held >= 2 && runs.Gone > before, patience: TimeSpan.FromSeconds(20));
        await cluster.UntilAsync("all is acknowledged", async () => await AcknowledgedAsync(cluster) == await cluster.Inner.GetRevisionAsync("configmaps", Cancellation));
    }

    private static async Task DeactivatePumpAsync(TestCluster cluster)
    {
        // As the death of its silo would: no word to the pump's reconciles.
        var pump = cluster.Grains.GetGrain<IControllerPumpGrain>("probe");
        await pump.Cast<IGrainManagementExtension>().DeactivateOnIdle();
    }

    private static async Task<long> AcknowledgedAsync(TestCluster cluster) =>
        await cluster.Inner.GetAcknowledgedAsync("configmaps", "controller/probe", Cancellation) ?? 0;

    private static string ConfigMap(string name) => $$"""{"metadata":{"name":"{{name}}","namespace":"default"} }""";

    private static Task<TestCluster> StartAsync(Probe probe) => TestCluster.StartAsync(new TestClusterOptions
    {
        Controllers = [typeof(Probe)],
        Services = services => services.AddSingleton<IController>(probe),
    });

    private sealed record Run(string Name, long Read, long Written, DateTimeOffset At);

    /// <summary>A controller that counts, and can be held up or made to fail.</summary>
    private sealed class Probe : IController
    {
        private readonly ConcurrentDictionary<string, TaskCompletionSource> _holds = new();
        private readonly ConcurrentDictionary<string, int> _failures = new();
        private readonly ConcurrentDictionary<string, long> _written = new();

        public ConcurrentQueue<Run> Seen { get; } = new();

        public string Name => "probe";

        public string Resource => "configmaps";

        public bool WakesOnOwnResource => false;

        public IReadOnlyList<WakeSource> WakeSources =>
        [
            new WakeSource("configmaps", wake =>
            {
                _written[wake.Object.Key.Name] = wake.Object.Revision;
                return [wake.Object.Key];
            }),
        ];

        public int Runs(string name) => Seen.Count(r => r.Name == name);

        public TaskCompletionSource Hold(string name) => _holds[name] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        public void Fail(string name, int times) => _failures[name] = times;

        public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
        {
            var written = _written.GetValueOrDefault(key.Name);
            var snapshot = await context.Objects.ListAsync("configmaps", context.CancellationToken);
            Seen.Enqueue(new Run(key.Name, snapshot.Revision, written, context.Time.GetUtcNow()));
            if (_holds.TryGetValue(key.Name, out var hold))
                await hold.Task.WaitAsync(context.CancellationToken);
            if (_failures.TryGetValue(key.Name, out var left) && left > 0)
            {
                _failures[key.Name] = left - 1;
                throw new InvalidOperationException("as the test asks");
            }
            return ReconcileResult.Done;
        }
    }
}
