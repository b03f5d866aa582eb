using OrleansCluster.Hosting;

namespace OrleansCluster.Tests;

public sealed class QuietRuleTests
{
    [Fact]
    public void Observe_WhileMuchIsAllocated_AsksForNothing()
    {
        var rule = new QuietRule();
        for (var allocated = QuietRule.Worth; allocated < 10 * QuietRule.Worth; allocated += QuietRule.Quiet)
            Assert.False(rule.Observe(allocated));
    }

    [Fact]
    public void Observe_FirstQuietLookAfterABurst_AsksOnce()
    {
        var rule = new QuietRule();
        Assert.False(rule.Observe(QuietRule.Worth));
        Assert.True(rule.Observe(QuietRule.Worth + 1));
        Assert.False(rule.Observe(QuietRule.Worth + 2));
    }

    [Fact]
    public void Observe_SteadySmallAllocation_AsksOnlyWhenItAddsUp()
    {
        var rule = new QuietRule();
        Assert.False(rule.Observe(QuietRule.Worth));
        Assert.True(rule.Observe(QuietRule.Worth));
        const long step = QuietRule.Quiet / 2;
        var looks = 0;
        for (var allocated = QuietRule.Worth + step; !rule.Observe(allocated); allocated += step)
            looks++;
        Assert.Equal(QuietRule.Worth / step, looks + 1);
    }
}
