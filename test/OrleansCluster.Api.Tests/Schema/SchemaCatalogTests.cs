namespace OrleansCluster.Api.Tests.Schema;

public sealed class SchemaCatalogTests
{
    public static TheoryData<string> AllTypes => [.. SchemaCatalog.TypeNames];

    [Theory]
    [MemberData(nameof(AllTypes))]
    public void Type_EveryOne_ReadsAndRefersToKnownTypes(string name)
    {
        var type = SchemaCatalog.Type(name)!;

        Assert.Equal(name, type.Name);
        var ordinal = 0;
        foreach (var field in type.Fields)
        {
            Assert.Equal(ordinal++, field.Ordinal);
            Assert.Same(field, type.Field(field.JsonName));
            for (var value = field.Type; value is not null; value = value.Element)
            {
                if (value.Kind == ValueKind.Object)
                    Assert.NotNull(value.Schema);
                Assert.NotEmpty(value.GoName);
            }
            if (field.PatchMergeKey is { } key)
                Assert.NotNull(field.Type.Element!.Schema!.Field(key));
            foreach (var listKey in field.ListMapKeys)
                Assert.NotNull(field.Type.Element!.Schema!.Field(listKey));
        }
    }

    [Theory]
    [InlineData("", "v1", "Pod", "io.k8s.api.core.v1.Pod")]
    [InlineData("", "v1", "PodList", "io.k8s.api.core.v1.PodList")]
    [InlineData("apps", "v1", "Deployment", "io.k8s.api.apps.v1.Deployment")]
    [InlineData("apps", "v1", "DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")]
    [InlineData("autoscaling", "v1", "Scale", "io.k8s.api.autoscaling.v1.Scale")]
    [InlineData("policy", "v1", "Eviction", "io.k8s.api.policy.v1.Eviction")]
    [InlineData("rbac.authorization.k8s.io", "v1", "ClusterRole", "io.k8s.api.rbac.v1.ClusterRole")]
    [InlineData("apiregistration.k8s.io", "v1", "APIService", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService")]
    [InlineData("metrics.k8s.io", "v1beta1", "PodMetrics", "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics")]
    public void Find_KnownKind_GivesItsType(string group, string version, string kind, string expected) =>
        Assert.Equal(expected, SchemaCatalog.Find(group, version, kind)!.Name);

    [Theory]
    [InlineData("", "v2", "Pod")]
    [InlineData("apps", "v1", "Pod")]
    [InlineData("", "v1", "pod")]
    [InlineData("", "v1", "PodSpec")]
    public void Find_UnknownKind_GivesNull(string group, string version, string kind) =>
        Assert.Null(SchemaCatalog.Find(group, version, kind));

    [Fact]
    public void Field_OfPodSpec_CarriesItsFacts()
    {
        var spec = SchemaCatalog.Type("io.k8s.api.core.v1.PodSpec")!;

        var containers = spec.Field("containers")!;
        Assert.True(containers.IsRequired);
        Assert.True(containers.PatchMerges);
        Assert.Equal("name", containers.PatchMergeKey);
        Assert.Equal(ListType.Map, containers.ListType);
        Assert.Equal(2, containers.ProtoNumber);
        Assert.True(spec.Field("volumes")!.PatchRetainsKeys);
        Assert.False(spec.Field("tolerations")!.PatchMerges);
        Assert.True(spec.Field("terminationGracePeriodSeconds")!.IsPointer);
        Assert.Null(spec.Field("Containers"));
        Assert.Null(spec.Field("contäiners"));
        Assert.Null(spec.Field(new string('x', 1000)));
    }

    [Fact]
    public void Field_OfInlinedMessage_IsAMemberOfTheOuterType()
    {
        var volume = SchemaCatalog.Type("io.k8s.api.core.v1.Volume")!;

        Assert.NotNull(volume.Field("emptyDir"));
        Assert.Equal("name", volume.Field("name")!.JsonName);
        Assert.True(volume.TryGetProto(2, out var field, out var inlined));
        Assert.Null(field);
        Assert.Equal("VolumeSource", inlined!.Type.ShortName);
    }
}
