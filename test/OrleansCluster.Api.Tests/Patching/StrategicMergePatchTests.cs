using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.Patching;

public sealed class StrategicMergePatchTests
{
    private static readonly TypeSchema Pod = SchemaCatalog.Find("", "v1", "Pod")!;
    private static readonly TypeSchema Deployment = SchemaCatalog.Find("apps", "v1", "Deployment")!;

    /// <summary>Name, pod spec, patch of the pod spec, expected pod spec.</summary>
    public static TheoryData<string, string, string, string> PodSpecs => new()
    {
        { "scalars replace, null removes", """{"hostname":"a","nodeName":"n"}""", """{"hostname":"b","nodeName":null,"absent":null}""", """{"hostname":"b"}""" },
        { "maps merge", """{"nodeSelector":{"a":"1","b":"2"}}""", """{"nodeSelector":{"b":null,"c":"3"}}""", """{"nodeSelector":{"a":"1","c":"3"}}""" },
        {
            "keyed list: merge matched, new ones first",
            """{"containers":[{"name":"a","image":"i1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"i2"}]}""",
            """{"containers":[{"name":"b","image":"i3"},{"name":"c","image":"i4"},{"name":"a","env":[{"name":"Y","value":"2"}]}]}""",
            """{"containers":[{"name":"b","image":"i3"},{"name":"c","image":"i4"},{"name":"a","image":"i1","env":[{"name":"Y","value":"2"},{"name":"X","value":"1"}]}]}"""
        },
        {
            "keyed list: the others keep their place",
            """{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}""",
            """{"containers":[{"name":"c","image":"x"}]}""",
            """{"containers":[{"name":"a"},{"name":"b"},{"name":"c","image":"x"}]}"""
        },
        { "list without a strategy is replaced", """{"tolerations":[{"key":"a"},{"key":"b"}]}""", """{"tolerations":[{"key":"c"}]}""", """{"tolerations":[{"key":"c"}]}""" },
        { "nulls of new items are dropped", """{}""", """{"containers":[{"name":"a","image":null}]}""", """{"containers":[{"name":"a"}]}""" },
        { "list item removed", """{"containers":[{"name":"a"},{"name":"b"}]}""", """{"containers":[{"$patch":"delete","name":"a"}]}""", """{"containers":[{"name":"b"}]}""" },
        { "removing an absent item is no error", """{"containers":[{"name":"a"}]}""", """{"containers":[{"$patch":"delete","name":"z"}]}""", """{"containers":[{"name":"a"}]}""" },
        { "list replaced", """{"containers":[{"name":"a","image":"i"},{"name":"b"}]}""", """{"containers":[{"$patch":"replace"},{"name":"a"}]}""", """{"containers":[{"name":"a"}]}""" },
        { "map replaced", """{"nodeSelector":{"a":"1"}}""", """{"nodeSelector":{"$patch":"replace","b":"2"}}""", """{"nodeSelector":{"b":"2"}}""" },
        { "map emptied", """{"securityContext":{"runAsUser":1}}""", """{"securityContext":{"$patch":"delete"}}""", """{"securityContext":{}}""" },
        { "explicit merge", """{"nodeSelector":{"a":"1"}}""", """{"nodeSelector":{"$patch":"merge","b":"2"}}""", """{"nodeSelector":{"a":"1","b":"2"}}""" },
        {
            "order is wished",
            """{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}""",
            """{"$setElementOrder/containers":[{"name":"c"},{"name":"a"},{"name":"n"}],"containers":[{"name":"n"}]}""",
            """{"containers":[{"name":"b"},{"name":"c"},{"name":"a"},{"name":"n"}]}"""
        },
        {
            "order alone",
            """{"containers":[{"name":"a","image":"i"},{"name":"b"}]}""",
            """{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}""",
            """{"containers":[{"name":"b"},{"name":"a","image":"i"}]}"""
        },
        {
            "order of a list that is gone",
            """{}""",
            """{"$setElementOrder/containers":[{"name":"b"}]}""",
            """{}"""
        },
        {
            "what kubectl apply sends",
            """{"containers":[{"name":"web","image":"i1","terminationMessagePath":"/x"},{"name":"injected","image":"s"}]}""",
            """{"$setElementOrder/containers":[{"name":"web"}],"containers":[{"name":"web","image":"i2"}]}""",
            """{"containers":[{"name":"web","image":"i2","terminationMessagePath":"/x"},{"name":"injected","image":"s"}]}"""
        },
        {
            "retainKeys changes a volume's source",
            """{"volumes":[{"name":"v","emptyDir":{}},{"name":"w","emptyDir":{}}]}""",
            """{"volumes":[{"$retainKeys":["name","configMap"],"name":"v","configMap":{"name":"m"}}]}""",
            """{"volumes":[{"name":"v","configMap":{"name":"m"}},{"name":"w","emptyDir":{}}]}"""
        },
        {
            "ports merge by containerPort",
            """{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http"}]}]}""",
            """{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"TCP"},{"containerPort":81}]}]}""",
            """{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http","protocol":"TCP"},{"containerPort":81}]}]}"""
        },
        { "kinds of value may change", """{"nodeSelector":"x","containers":{"a":1}}""", """{"nodeSelector":{"a":"1"},"containers":[{"name":"a"}]}""", """{"containers":[{"name":"a"}],"nodeSelector":{"a":"1"}}""" },
        { "unknown members merge as in a merge patch", """{"zzz":{"a":1,"l":[1]}}""", """{"zzz":{"b":2,"l":[{"x":1}]}}""", """{"zzz":{"a":1,"b":2,"l":[{"x":1}]}}""" },
    };

    [Theory]
    [MemberData(nameof(PodSpecs))]
    public void Apply_PodSpec_GivesExpected(string scenario, string spec, string patch, string expected)
    {
        var original = (JsonObject)JsonNode.Parse($$"""{"spec":{{spec}}}""")!;
        var before = original.ToJsonString();

        var result = StrategicMergePatch.Apply(original, Encoding.UTF8.GetBytes($$"""{"spec":{{patch}}}"""), Pod);

        Assert.True(result.Succeeded, $"{scenario}: {result.Error?.Message}");
        PatchAssert.Equal(expected, result.Object["spec"]!, ignoreMemberOrder: true);
        Assert.Equal(before, original.ToJsonString());
    }

    [Fact]
    public void Apply_Finalizers_AreASet()
    {
        var original = (JsonObject)JsonNode.Parse("""{"metadata":{"finalizers":["a","b"]}}""")!;

        PatchAssert.Equal("""{"metadata":{"finalizers":["c","a","b"]}}""", StrategicMergePatch.Apply(original, """{"metadata":{"finalizers":["c","a"]}}"""u8, Pod).Object!);
        PatchAssert.Equal("""{"metadata":{"finalizers":["b"]}}""", StrategicMergePatch.Apply(original, """{"metadata":{"$deleteFromPrimitiveList/finalizers":["a","z"]}}"""u8, Pod).Object!);
        PatchAssert.Equal(
            """{"metadata":{"finalizers":["b","c"]}}""",
            StrategicMergePatch.Apply(original, """{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["b","c"],"finalizers":["c"]}}"""u8, Pod).Object!);
        PatchAssert.Equal("""{"metadata":{}}""", StrategicMergePatch.Apply(new JsonObject { ["metadata"] = new JsonObject() }, """{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}"""u8, Pod).Object!);
    }

    [Fact]
    public void Apply_DeploymentStrategy_RetainsKeys()
    {
        var original = (JsonObject)JsonNode.Parse("""{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}""")!;

        var result = StrategicMergePatch.Apply(original, """{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"""u8, Deployment);

        PatchAssert.Equal("""{"spec":{"strategy":{"type":"Recreate"}}}""", result.Object!);
    }

    [Fact]
    public void Apply_PodDisruptionBudgetSelector_IsReplaced()
    {
        var type = SchemaCatalog.Find("policy", "v1", "PodDisruptionBudget")!;
        var original = (JsonObject)JsonNode.Parse("""{"spec":{"selector":{"matchLabels":{"a":"1"}}}}""")!;

        var result = StrategicMergePatch.Apply(original, """{"spec":{"selector":{"matchLabels":{"b":"2"}}}}"""u8, type);

        PatchAssert.Equal("""{"spec":{"selector":{"matchLabels":{"b":"2"}}}}""", result.Object!);
    }

    [Theory]
    [InlineData("""{"spec":{"containers":[{"image":"x"}]}}""", "map: map[image:x] does not contain declared merge key: name")]
    [InlineData("""{"spec":{"containers":["x"]}}""", "cannot merge a list of maps with a value that is not a map")]
    [InlineData("""{"spec":{"$patch":"bogus"}}""", "Unknown patch type found: \"bogus\"")]
    [InlineData("""{"spec":{"containers":[{"$patch":"merge"}]}}""", "merging lists cannot yet be specified in the patch")]
    [InlineData("""{"metadata":{"finalizers":[{"$patch":"delete"}]}}""", "delete patch type with no merge key defined")]
    [InlineData("""{"spec":{"volumes":[{"$retainKeys":["name"],"name":"v","emptyDir":{}}]}}""", "The list in the $retainKeys directive must be a superset of the fields in the patch.")]
    [InlineData("""{"spec":{"$setElementOrder/containers":1}}""", "invalid $setElementOrder/containers: it must be a list")]
    [InlineData("""{"spec":{"$retainKeys":"x"}}""", "invalid $retainKeys: it must be a list")]
    [InlineData("""[]""", "error decoding patch: json: cannot unmarshal array into Go value of type struct")]
    [InlineData("""{""", "error decoding patch: unexpected end of JSON input")]
    public void Apply_BadPatch_IsABadRequest(string patch, string expected)
    {
        var result = StrategicMergePatch.Apply(new JsonObject(), Encoding.UTF8.GetBytes(patch), Pod);

        Assert.False(result.Succeeded);
        Assert.Equal(400, result.Error.Code);
        Assert.Equal(expected, result.Error.Message);
    }

    [Fact]
    public void Apply_LargeLists_TakesLinearTime()
    {
        var many = string.Join(',', Enumerable.Range(0, 100_000).Select(static n => $"\"f{n}\""));
        var patch = Encoding.UTF8.GetBytes($$$"""{"metadata":{"finalizers":[{{{many}}}],"$setElementOrder/finalizers":[{{{many}}}]}}""");

        var once = StrategicMergePatch.Apply(new JsonObject(), patch, Pod).Object!;
        var twice = StrategicMergePatch.Apply(once, patch, Pod).Object!;

        Assert.Equal(100_000, twice["metadata"]!["finalizers"]!.AsArray().Count);
    }
}
