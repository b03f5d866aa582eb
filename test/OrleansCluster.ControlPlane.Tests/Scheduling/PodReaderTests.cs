using System.Text;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Tests.Scheduling;

/// <summary>What a pod asks for (wire contract, section 17): max(containers + sidecars, each init container + the sidecars before it) + overhead.</summary>
public sealed class PodReaderTests
{
    private const long Mi = 1 << 20;

    [Fact]
    public void Containers_add_up() => Assert.Equal(
        new ResourceAmounts(350, 192 * Mi, 0),
        Read("""{"containers":[{"resources":{"requests":{"cpu":"250m","memory":"128Mi"}}},{"resources":{"requests":{"cpu":0.1,"memory":"64Mi"}}}]}""").Requests);

    [Fact]
    public void An_init_container_larger_than_the_containers_counts_instead() => Assert.Equal(
        new ResourceAmounts(1000, 128 * Mi, 0),
        Read("""{"initContainers":[{"resources":{"requests":{"cpu":"1"}}}],"containers":[{"resources":{"requests":{"cpu":"250m","memory":"128Mi"}}}]}""").Requests);

    [Fact]
    public void A_sidecar_counts_beside_the_containers_and_the_init_containers_after_it() => Assert.Equal(
        new ResourceAmounts(1100, 0, 0),
        Read("""
            {"initContainers":[
               {"resources":{"requests":{"cpu":"1"}}},
               {"restartPolicy":"Always","resources":{"requests":{"cpu":"200m"}}},
               {"resources":{"requests":{"cpu":"900m"}}}],
             "containers":[{"resources":{"requests":{"cpu":"700m"}}}]}
            """).Requests);

    [Fact]
    public void Overhead_is_added() => Assert.Equal(
        new ResourceAmounts(150, 10 * Mi, 0),
        Read("""{"overhead":{"cpu":"50m","memory":"10Mi"},"containers":[{"resources":{"requests":{"cpu":"100m"}}}]}""").Requests);

    [Fact]
    public void Containers_that_request_nothing_score_with_stand_ins()
    {
        var pod = Read("""{"containers":[{},{"resources":{"requests":{"cpu":"1"}}}]}""");
        Assert.Equal(new ResourceAmounts(1000, 0, 0), pod.Requests);
        Assert.Equal(new ResourceAmounts(1100, 400 * Mi, 0), pod.ScoringRequests);
    }

    [Fact]
    public void Extended_resources_follow_the_same_rule_as_cpu()
    {
        var pod = Read("""
            {"initContainers":[{"resources":{"requests":{"example.com/gpu":"3"}}},{"restartPolicy":"Always","resources":{"requests":{"example.com/nic":"1"}}}],
             "containers":[{"resources":{"requests":{"example.com/gpu":"2","example.com/nic":"1"}}}]}
            """);
        Assert.Equal(3, pod.Extended["example.com/gpu"]);
        Assert.Equal(2, pod.Extended["example.com/nic"]);
    }

    [Fact]
    public void Host_ports_default_to_tcp_on_all_addresses() => Assert.Equal(
        [new HostPort("TCP", "0.0.0.0", 80), new HostPort("UDP", "10.0.0.1", 53)],
        Read("""{"containers":[{"ports":[{"containerPort":80,"hostPort":80},{"containerPort":1},{"containerPort":53,"hostPort":53,"protocol":"UDP","hostIP":"10.0.0.1"}]}]}""").HostPorts);

    [Fact]
    public void Tolerations_without_operator_compare_values()
    {
        var pod = Read("""{"containers":[],"tolerations":[{"key":"a","value":"b"},{"operator":"Exists","effect":"NoExecute"}]}""");
        Assert.True(pod.Tolerations[0].Covers(new Taint("a", "b", "NoSchedule")));
        Assert.False(pod.Tolerations[0].Covers(new Taint("a", "c", "NoSchedule")));
        Assert.True(pod.Tolerations[1].Covers(new Taint("x", "", "NoExecute")));
        Assert.False(pod.Tolerations[1].Covers(new Taint("x", "", "NoSchedule")));
    }

    internal static PodRequirements Read(string spec, string name = "p") =>
        PodReader.Read(Encoding.UTF8.GetBytes($$"""{"metadata":{"name":"{{name}}","namespace":"default","uid":"{{name}}"},"spec":{{spec}}}"""));
}
