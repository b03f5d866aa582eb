using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Kubelet.Reporting;

/// <summary>The writes of a node agent, made as the node's own user (`system:node:NAME`).</summary>
internal static class NodeRequests
{
    public const string StrategicMerge = "application/strategic-merge-patch+json";

    public static ObjectRequest PatchStatus(string node, byte[] patch) => As(node, new ObjectRequest
    {
        Verb = ObjectVerb.Patch,
        Subresource = "status",
        ContentType = StrategicMerge,
        Body = patch,
        FieldManager = "kubelet",
    });

    public static ObjectRequest Patch(string node, JsonObject patch) => As(node, new ObjectRequest
    {
        Verb = ObjectVerb.Patch,
        ContentType = StrategicMerge,
        Body = CanonicalJson.SerializeNode(patch),
        FieldManager = "kubelet",
    });

    public static ObjectRequest Create(string node, JsonObject body, Guid uid) => As(node, new ObjectRequest
    {
        Verb = ObjectVerb.Create,
        Body = CanonicalJson.SerializeNode(body),
        FieldManager = "kubelet",
        NewUid = uid,
    });

    /// <summary>The last word about a pod that has ended here: gone now, if it is still this one.</summary>
    public static ObjectRequest DeletePod(string node, string uid) => As(node, new ObjectRequest
    {
        Verb = ObjectVerb.Delete,
        Body = CanonicalJson.SerializeNode(new JsonObject
        {
            ["kind"] = "DeleteOptions",
            ["apiVersion"] = "v1",
            ["gracePeriodSeconds"] = 0,
            ["preconditions"] = new JsonObject { ["uid"] = uid },
        }),
    });

    /// <summary>A uid from an injected source of randomness (version 4).</summary>
    public static Guid NewUid(Random random)
    {
        Span<byte> bytes = stackalloc byte[16];
        lock (random)
            random.NextBytes(bytes);
        bytes[6] = (byte)(bytes[6] & 0x0f | 0x40);
        bytes[8] = (byte)(bytes[8] & 0x3f | 0x80);
        return new Guid(bytes, bigEndian: true);
    }

    private static ObjectRequest As(string node, ObjectRequest request)
    {
        var user = UserInfo.Node(node);
        return request with { UserName = user.Name, UserGroups = [.. user.Groups] };
    }
}
