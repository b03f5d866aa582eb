using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.Patching;

internal static class PatchAssert
{
    public static void Equal(string expected, JsonNode actual, bool ignoreMemberOrder = false)
    {
        if (!JsonNode.DeepEquals(JsonNode.Parse(expected), actual) || !ignoreMemberOrder)
            Assert.Equal(Text(JsonNode.Parse(expected)!), Text(actual));
    }

    public static string Text(JsonNode node) => Encoding.UTF8.GetString(CanonicalJson.SerializeNode(node));
}
