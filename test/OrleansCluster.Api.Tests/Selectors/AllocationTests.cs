using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>Bytes that the steps allocate which caches and watches run for every object. Unlike times they are the same everywhere.</summary>
public sealed class AllocationTests
{
    private static readonly ResourceDefinition Pods = new ResourceRegistry(BuiltInResources.All).Get("pods");

    private static readonly byte[] Pod = """
        {"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"web-7d9f8b6c5-abcde","namespace":"default","uid":"0d6ac7b3-40ba-4d4b-8e3c-0a6b3a5f1c11",
        "labels":{"app":"web","tier":"front"},"ownerReferences":[{"apiVersion":"v1","kind":"ReplicationController","name":"web","uid":"1d6ac7b3-40ba-4d4b-8e3c-0a6b3a5f1c11","controller":true}]},
        "spec":{"nodeName":"n1","schedulerName":"default-scheduler","containers":[{"name":"web","image":"web:1"}]},"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}}
        """u8.ToArray();

    [Fact]
    public void A_header_costs_its_own_strings_only() => Assert.InRange(Allocated(() => ObjectHeader.Read(Pod, Pods)), 1, 600);

    [Fact]
    public void Repeated_texts_are_shared()
    {
        var pool = new StringPool();
        Assert.Same(pool.Get("app"u8), pool.Get("app"u8));
        Assert.Equal("é", pool.Get("é"u8));
        var tooLong = new byte[100];
        tooLong.AsSpan().Fill((byte)'x');
        Assert.NotSame(pool.Get(tooLong), pool.Get(tooLong));
    }

    [Fact]
    public void Matching_allocates_nothing()
    {
        var header = ObjectHeader.Read(Pod, Pods);
        var labels = LabelSelector.Parse("app=web,tier in (back,front),!x,y notin (z)");
        var fields = FieldSelector.Parse("spec.nodeName=n1,status.phase!=Failed", Pods);
        Assert.True(labels.Matches(header.Labels) && fields.Matches(header));
        Assert.Equal(0, Allocated(() => labels.Matches(header.Labels)));
        Assert.Equal(0, Allocated(() => fields.Matches(header)));
    }

    private static long Allocated(Action action)
    {
        for (var i = 0; i < 100; i++)
            action();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
            action();
        return (GC.GetAllocatedBytesForCurrentThread() - before) / 100;
    }
}
