namespace OrleansCluster.ControlPlane.Tests;

public sealed class OptionsTests
{
    [Fact]
    public void The_defaults_are_valid() => Assert.True(Validate(_ => { }).Succeeded);

    public static TheoryData<string, Action<ControlPlaneOptions>> Wrong => new()
    {
        { "ServiceCidr", o => o.ServiceCidr = "10.96.0.0" },
        { "ServiceCidr", o => o.ServiceCidr = "fd00::/112" },
        { "PodCidr", o => o.PodCidr = "pods" },
        { "NodePodCidrPrefix", o => o.NodePodCidrPrefix = 15 },
        { "NodePodCidrPrefix", o => o.NodePodCidrPrefix = 31 },
        { "NodePortFirst", o => o.NodePortFirst = 0 },
        { "NodePortFirst", o => o.NodePortLast = 29_999 },
        { "NodeMonitorGracePeriod", o => o.NodeMonitorGracePeriod = TimeSpan.FromSeconds(19) },
        { "NodeMonitorGracePeriod", o => o.NodeHeartbeatInterval = TimeSpan.Zero },
        { "DefaultEvictionDelay", o => o.DefaultEvictionDelay = TimeSpan.FromSeconds(-1) },
        { "TerminatedPodThreshold", o => o.TerminatedPodThreshold = -1 },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public void A_wrong_value_is_named(string name, Action<ControlPlaneOptions> configure)
    {
        var result = Validate(configure);
        Assert.True(result.Failed);
        Assert.Contains(name, Assert.Single(result.Failures!), StringComparison.Ordinal);
    }

    private static Microsoft.Extensions.Options.ValidateOptionsResult Validate(Action<ControlPlaneOptions> configure)
    {
        var options = new ControlPlaneOptions();
        configure(options);
        return new ControlPlaneOptionsValidator().Validate(null, options);
    }
}
