using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Tests.Support;

namespace OrleansCluster.Kubelet.Tests.Nodes;

public sealed class StatusReporterTests : IAsyncLifetime
{
    private readonly FakeControlPlane _controlPlane = new();
    private readonly WakeWheel _wheel = new(TimeProvider.System);
    private readonly StatusReporter _reporter;

    public StatusReporterTests() => _reporter = new StatusReporter(
        _controlPlane, _wheel, TimeProvider.System, new Random(1), 4, NullLogger<StatusReporter>.Instance);

    public ValueTask InitializeAsync()
    {
        _reporter.Start();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _reporter.DisposeAsync();
        _wheel.Dispose();
    }

    private static byte[] Phase(string phase, string uid = "uid-web") =>
        Encoding.UTF8.GetBytes($$$"""{"metadata":{"uid":"{{{uid}}}"},"status":{"phase":"{{{phase}}}"}}""");

    private static readonly PodIdentity Web = new("default", "web", "uid-web");

    private void Put(string uid = "uid-web") => _controlPlane.Put("pods", PodJsonBuilder.Pod(uid: uid));

    [Fact]
    public async Task Only_the_latest_of_what_waits_is_written()
    {
        Put();
        _controlPlane.Down = true;
        var settled = new List<int>();
        var done = new TaskCompletionSource();
        for (var i = 0; i < 50; i++)
        {
            var number = i;
            _reporter.Report("node-1", Web, Phase($"P{i}"), written =>
            {
                Assert.True(written);
                settled.Add(number);
                if (number == 49)
                    done.SetResult();
            });
        }
        _controlPlane.Down = false;
        await done.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal("P49", (string?)_controlPlane.Find("pods", "default", "web")!["status"]!["phase"]);
        Assert.Equal(Enumerable.Range(0, 50), settled);
        var successes = int.Parse((string)_controlPlane.Find("pods", "default", "web")!["metadata"]!["resourceVersion"]!, System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(successes, 2, 4);
    }

    [Fact]
    public async Task Status_of_a_pod_that_is_gone_is_dropped()
    {
        var gone = new TaskCompletionSource<bool>();
        _reporter.Report("node-1", Web, Phase("Running"), gone.SetResult);
        Assert.False(await gone.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Status_never_reaches_another_pod_of_the_same_name()
    {
        Put("uid-of-another");
        var gone = new TaskCompletionSource<bool>();
        _reporter.Report("node-1", Web, Phase("Failed"), gone.SetResult);
        Assert.False(await gone.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
        Assert.Equal("Pending", (string?)_controlPlane.Find("pods", "default", "web")!["status"]!["phase"]);
    }

    [Fact]
    public async Task Many_pods_are_written_side_by_side_without_an_older_status_winning()
    {
        const int Pods = 40, Rounds = 25;
        for (var i = 0; i < Pods; i++)
            _controlPlane.Put("pods", PodJsonBuilder.Pod($"p{i}"));
        var last = new CountdownEvent(Pods);
        await Parallel.ForAsync(0, Pods, TestContext.Current.CancellationToken, (i, _) =>
        {
            for (var round = 1; round <= Rounds; round++)
            {
                var final = round == Rounds;
                _reporter.Report("node-1", new PodIdentity("default", $"p{i}", $"uid-p{i}"), Phase($"R{round}", $"uid-p{i}"), _ =>
                {
                    if (final)
                        last.Signal();
                });
            }
            return ValueTask.CompletedTask;
        });
        await _controlPlane.WaitAsync(() => last.IsSet || _controlPlane.All("pods").All(pod => (string?)pod["status"]!["phase"] == $"R{Rounds}"), "the last round");
        Assert.All(_controlPlane.All("pods"), pod => Assert.Equal($"R{Rounds}", (string?)pod["status"]!["phase"]));
    }
}

public sealed class WakeWheelTests
{
    private sealed class Sleeper : IWakeable
    {
        public int Woken { get; private set; }

        public long WakeTicks { get; set; }

        public void Wake() => Woken++;
    }

    [Fact]
    public void Targets_wake_at_their_time_once()
    {
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        using var wheel = new WakeWheel(time);
        var (early, late, never) = (new Sleeper(), new Sleeper(), new Sleeper());
        wheel.Set(late, time.GetUtcNow().AddSeconds(20));
        wheel.Set(early, time.GetUtcNow().AddSeconds(10));
        wheel.Set(never, time.GetUtcNow().AddSeconds(5));
        wheel.Set(never, null);
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.Equal((0, 0, 0), (early.Woken, late.Woken, never.Woken));
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal((1, 0, 0), (early.Woken, late.Woken, never.Woken));
        time.Advance(TimeSpan.FromSeconds(30));
        Assert.Equal((1, 1, 0), (early.Woken, late.Woken, never.Woken));
    }

    [Fact]
    public void Changed_time_replaces_the_old_one()
    {
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        using var wheel = new WakeWheel(time);
        var sleeper = new Sleeper();
        wheel.Set(sleeper, time.GetUtcNow().AddSeconds(10));
        wheel.Set(sleeper, time.GetUtcNow().AddSeconds(30));
        time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(0, sleeper.Woken);
        wheel.Set(sleeper, time.GetUtcNow().AddSeconds(1));
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(1, sleeper.Woken);
        time.Advance(TimeSpan.FromSeconds(60));
        Assert.Equal(1, sleeper.Woken);
    }
}
