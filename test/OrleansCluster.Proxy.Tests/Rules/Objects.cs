using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.Tests.Rules;

/// <summary>Writes Service and EndpointSlice objects as the API server would serve them.</summary>
internal static class Objects
{
    public static byte[] Service(string name, string? clusterIP = "10.96.0.10", Action<JsonObject>? spec = null, string ports = """[{"name":"http","port":80}]""")
    {
        var specification = new JsonObject { ["clusterIP"] = clusterIP, ["ports"] = JsonNode.Parse(ports) };
        spec?.Invoke(specification);
        return Bytes(new JsonObject
        {
            ["apiVersion"] = "v1",
            ["kind"] = "Service",
            ["metadata"] = new JsonObject { ["namespace"] = "default", ["name"] = name },
            ["spec"] = specification,
        });
    }

    public static byte[] Slice(string name, string service, string endpoints, string ports = """[{"name":"http","port":8080,"protocol":"TCP"}]""") =>
        Bytes(new JsonObject
        {
            ["apiVersion"] = "discovery.k8s.io/v1",
            ["kind"] = "EndpointSlice",
            ["addressType"] = "IPv4",
            ["metadata"] = new JsonObject
            {
                ["namespace"] = "default",
                ["name"] = name,
                ["labels"] = new JsonObject { ["kubernetes.io/service-name"] = service },
            },
            ["endpoints"] = JsonNode.Parse(endpoints),
            ["ports"] = JsonNode.Parse(ports),
        });

    /// <summary>Ready endpoints with the given addresses.</summary>
    public static byte[] ReadySlice(string name, string service, params IEnumerable<string> addresses) =>
        Slice(name, service, "[" + string.Join(',', addresses.Select(a => $$"""{"addresses":["{{a}}"]}""")) + "]");

    public static System.Collections.Immutable.ImmutableArray<ServiceRule> Compute(byte[] service, params IEnumerable<byte[]> slices) =>
        ServiceRules.Compute(service, slices.Select(static s => (ReadOnlyMemory<byte>)s), new HashSet<string>(StringComparer.Ordinal) { "here" });

    public static string[] Texts<T>(this IEnumerable<T> values) => [.. values.Select(static v => v!.ToString()!)];

    private static byte[] Bytes(JsonObject value) => Encoding.UTF8.GetBytes(value.ToJsonString());
}
