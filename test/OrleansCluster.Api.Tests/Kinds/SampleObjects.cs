using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>One valid, minimal object per kind: what the battery runs over. A kind without one here fails the battery.</summary>
internal static class SampleObjects
{
    private static readonly Dictionary<string, string> Json = new(StringComparer.Ordinal)
    {
        ["configmaps"] = """{"data":{"k":"v"}}""",
        ["clusterrolebindings.rbac.authorization.k8s.io"] =
            """{"roleRef":{"kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"u"}]}""",
        ["clusterroles.rbac.authorization.k8s.io"] = """{"rules":[{"verbs":["get"],"nonResourceURLs":["/version"]}]}""",
        ["endpoints"] = """{"subsets":[{"addresses":[{"ip":"10.1.0.1"}],"ports":[{"port":80}]}]}""",
        ["endpointslices.discovery.k8s.io"] = """{"addressType":"IPv4","endpoints":[{"addresses":["10.1.0.1"]}],"ports":[{"port":80}]}""",
        ["events"] = """{"involvedObject":{"kind":"Pod","namespace":"ns","name":"p"},"reason":"Started","message":"m","type":"Normal"}""",
        ["leases.coordination.k8s.io"] = """{"spec":{"holderIdentity":"me","leaseDurationSeconds":15}}""",
        ["namespaces"] = "{}",
        ["nodes"] = "{}",
        ["replicationcontrollers"] =
            """{"spec":{"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"web:1"}]}}}}""",
        ["rolebindings.rbac.authorization.k8s.io"] =
            """{"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"ServiceAccount","name":"sa","namespace":"ns"}]}""",
        ["roles.rbac.authorization.k8s.io"] = """{"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}""",
        ["secrets"] = """{"stringData":{"k":"v"}}""",
        ["serviceaccounts"] = "{}",
        ["services"] = """{"spec":{"ports":[{"port":80}],"selector":{"app":"web"}}}""",
        ["pods"] = """{"spec":{"containers":[{"name":"c","image":"web:1"}]}}""",
    };

    public static DateTimeOffset Now { get; } = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    public static JsonObject Make(ResourceDefinition definition)
    {
        if (!Json.TryGetValue(definition.Resource, out var json))
            Assert.Fail($"The battery has no sample of {definition.Resource}: add one to {nameof(SampleObjects)}.");
        var obj = (JsonObject)JsonNode.Parse(json)!;
        obj["kind"] = definition.Kind;
        obj["apiVersion"] = definition.ApiVersion;
        obj["metadata"] = new JsonObject { ["name"] = "sample" };
        return obj;
    }

    /// <summary>An object of a kind from its other members.</summary>
    public static JsonObject Parse(ResourceDefinition definition, string json)
    {
        var obj = (JsonObject)JsonNode.Parse(json)!;
        obj["kind"] = definition.Kind;
        obj["apiVersion"] = definition.ApiVersion;
        obj.EnsureObject("metadata").SetDefault("name", "sample");
        return obj;
    }

    /// <summary>The text of a member of a node.</summary>
    public static string? As(this JsonNode? node, string member) => (node as JsonObject).GetString(member);

    public static StrategyContext Context(ResourceDefinition definition, string name = "sample", DateTimeOffset? now = null) =>
        new(definition, definition.Key("ns", name), UserInfo.ControlPlane, now ?? Now);

    /// <summary>A stored object, at revision 7.</summary>
    public static JsonObject Stored(ResourceDefinition definition, JsonObject? obj = null)
    {
        var context = Context(definition);
        var prepared = ObjectPipeline.PrepareCreate(obj ?? Make(definition), context, new Guid("11111111-2222-3333-4444-555555555555"));
        Assert.Null(prepared.Error);
        var finished = ObjectPipeline.FinishCreate(prepared.Object!, context);
        Assert.Null(finished.Error);
        return CanonicalJson.Parse(CanonicalJson.WithRevision(CanonicalJson.Serialize(finished.Object!), 7));
    }

    public static PipelineResult Update(ResourceDefinition definition, JsonObject obj, JsonObject old, string subresource = "", DateTimeOffset? now = null)
    {
        var context = Context(definition, now: now);
        var prepared = ObjectPipeline.PrepareUpdate((JsonObject)obj.DeepClone(), old, subresource, context);
        return prepared.Outcome == PipelineOutcome.Error ? prepared : ObjectPipeline.FinishUpdate(prepared.Object!, old, subresource, context);
    }

    public static PipelineResult Create(ResourceDefinition definition, JsonObject obj)
    {
        var context = Context(definition);
        var prepared = ObjectPipeline.PrepareCreate((JsonObject)obj.DeepClone(), context, new Guid("11111111-2222-3333-4444-555555555555"));
        return prepared.Outcome == PipelineOutcome.Error ? prepared : ObjectPipeline.FinishCreate(prepared.Object!, context);
    }
}
