using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.ControlPlane.Tests.Harness;

namespace OrleansCluster.ControlPlane.Tests.Objects;

/// <summary>A process that was stopped and goes on refuses what lay in its sockets, for a moment.</summary>
public sealed class PauseWatchTests
{
    [Theory]
    [InlineData(2.9, false)]
    [InlineData(3.1, true)]
    [InlineData(600, true)]
    public void HasJustResumed_AfterAGap_IsTrueForLongOnes(double seconds, bool expected)
    {
        var time = new FakeTimeProvider();
        using var watch = new PauseWatch(time);
        time.Advance(TimeSpan.FromSeconds(seconds));
        Assert.Equal(expected, watch.HasJustResumed);
    }

    [Fact]
    public void HasJustResumed_AMomentLater_IsFalseUntilTheNextPause()
    {
        var time = new FakeTimeProvider();
        using var watch = new PauseWatch(time);
        time.Advance(TimeSpan.FromSeconds(10));
        Assert.True(watch.HasJustResumed);
        time.Advance(TimeSpan.FromSeconds(0.9));
        Assert.True(watch.HasJustResumed);
        time.Advance(TimeSpan.FromSeconds(0.2));
        Assert.False(watch.HasJustResumed);
        time.Advance(TimeSpan.FromSeconds(10));
        Assert.True(watch.HasJustResumed);
    }

    [Fact]
    public async Task ObjectGrain_RightAfterAPause_RefusesAWriteAsNotTriedAndWritesNothing()
    {
        var time = new FakeTimeProvider();
        await using var cluster = await TestCluster.StartAsync(new TestClusterOptions
        {
            Services = services => services.Replace(ServiceDescriptor.Singleton(new PauseWatch(time))),
        });
        var grain = cluster.Grains.GetGrain<IObjectGrain>(cluster.Key("configmaps", "c").ToString());
        var request = new ObjectRequest
        {
            Verb = ObjectVerb.Create,
            ContentType = MediaTypes.Json,
            Body = """{"metadata":{"name":"c","namespace":"default"}}"""u8.ToArray(),
            NewUid = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
            RequestId = new Guid(2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
        };
        time.Advance(TimeSpan.FromSeconds(4));
        var refused = await grain.ExecuteAsync(request, TestContext.Current.CancellationToken);
        Assert.True(refused.NotTried);
        Assert.Equal(503, refused.Code);
        Assert.Null(await cluster.GetAsync("configmaps", "c"));

        time.Advance(TimeSpan.FromSeconds(1.5));
        var done = await grain.ExecuteAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(201, done.Code);
    }
}
