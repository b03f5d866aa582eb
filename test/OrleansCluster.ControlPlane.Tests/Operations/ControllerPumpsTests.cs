using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.ControlPlane.Operations;

namespace OrleansCluster.ControlPlane.Tests.Operations;

public sealed class ControllerPumpsTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly ControllerPumps.Watch _watch = new();

    [Fact]
    public void APumpThatHasWork_AndMakesNoProgress_IsStuckAfterTheLimit()
    {
        Assert.False(Look(progress: 7, hasWork: true));
        _time.Advance(ControllerPumps.StallLimit);
        Assert.False(Look(progress: 7, hasWork: true));
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.True(Look(progress: 7, hasWork: true));
        Assert.False(Look(progress: 8, hasWork: true));
    }

    [Fact]
    public void WorkThatHasJustCome_AfterALongQuiet_IsNoStall()
    {
        Assert.False(Look(progress: 7, hasWork: false));
        _time.Advance(TimeSpan.FromHours(1));
        Assert.False(Look(progress: 7, hasWork: true));
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.False(Look(progress: 7, hasWork: true));
    }

    [Fact]
    public void AControllerWhosePumpIsNotHeardOf_IsReportedByName()
    {
        using var services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        var pumps = new ControllerPumps(_time, services.GetRequiredService<IMeterFactory>());
        Assert.Null(pumps.Problem(["a", "b"]));
        _time.Advance(ControllerPumps.SilenceLimit + TimeSpan.FromSeconds(1));
        pumps.Answered("a");
        Assert.Equal("no answer from the pumps of: b", pumps.Problem(["a", "b"]));
        pumps.Answered("b");
        Assert.Null(pumps.Problem(["a", "b"]));
    }

    private bool Look(long progress, bool hasWork) => _watch.IsStuck(new PumpState(0, 0, 0, progress, hasWork, []), _time);
}
