using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

public sealed class FieldSelectorTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    [Theory]
    [InlineData("pods", "spec.nodeName=n1,status.phase!=Succeeded,status.phase!=Failed", true)]
    [InlineData("pods", "spec.nodeName==n2", false)]
    [InlineData("pods", "spec.host=n1", true)]
    [InlineData("pods", "metadata.name=p", true)]
    [InlineData("pods", "metadata.namespace!=ns", false)]
    [InlineData("pods", "status.podIPs=10.0.0.1", true)]
    [InlineData("pods", "spec.hostNetwork=false", true)]
    [InlineData("pods", "status.nominatedNodeName=", true)]
    [InlineData("pods", "", true)]
    [InlineData("pods", ",", true)]
    public void Matches(string resource, string text, bool expected)
    {
        var definition = Registry.Get(resource);
        var bytes = """
            {"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"ns"},"spec":{"containers":[{"nodeName":"x"}],"nodeName":"n1"},
            "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}
            """u8;
        Assert.Equal(expected, FieldSelector.Parse(text, definition).Matches(ObjectHeader.Read(bytes, definition)));
    }

    [Theory]
    [InlineData("spec.containers=x", "field label not supported: spec.containers")]
    [InlineData("status.phase", "invalid selector: 'status.phase'; can't understand 'status.phase'")]
    [InlineData("status.phase in (a)", "invalid selector: 'status.phase in (a)'; can't understand 'status.phase in (a)'")]
    [InlineData("status.phase=a=b", "invalid selector: 'status.phase=a=b'; can't understand 'status.phase=a=b'")]
    public void Refuses(string text, string message)
    {
        var status = Assert.Throws<StatusException>(() => FieldSelector.Parse(text, Registry.Get("pods"))).Status;
        Assert.Equal((400, message), (status.Code, status.Message));
    }

    [Fact]
    public void Escapes_survive_the_round_trip()
    {
        var selector = FieldSelector.Parse("""reason=a\,b\=c\\d""", Registry.Get("events"));
        Assert.Equal("a,b=c\\d", selector.Requirements[0].Value);
        Assert.Equal("""reason=a\,b\=c\\d""", selector.ToString());
        Assert.True(selector.RequiresExactMatch("reason", out _));
    }

    [Fact]
    public void Events_fall_back_to_the_reporting_component()
    {
        var events = Registry.Get("events");
        var header = ObjectHeader.Read("""{"metadata":{"name":"e"},"source":{},"reportingComponent":"kubelet"}"""u8, events);
        Assert.Equal("kubelet", header.Field("source"));
        header = ObjectHeader.Read("""{"metadata":{"name":"e"},"reportingComponent":"kubelet","source":{"component":"sched"}}"""u8, events);
        Assert.Equal("sched", header.Field("source"));
    }

    [Fact]
    public void Defaults_stand_in_for_absent_members()
    {
        Assert.Equal("false", ObjectHeader.Read("""{"metadata":{}}"""u8, Registry.Get("nodes")).Field("spec.unschedulable"));
        Assert.Equal("true", ObjectHeader.Read("""{"metadata":{},"spec":{"unschedulable":true}}"""u8, Registry.Get("nodes")).Field("spec.unschedulable"));
        Assert.Equal("3", ObjectHeader.Read("""{"status":{"replicas":3}}"""u8, Registry.Get("replicationcontrollers")).Field("status.replicas"));
    }
}
