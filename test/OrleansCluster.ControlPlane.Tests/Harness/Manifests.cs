using System.Text.Json.Nodes;

namespace OrleansCluster.ControlPlane.Tests.Harness;

/// <summary>Small objects.</summary>
internal static class Manifests
{
    public static string Pod(string name, string cpu = "", string memory = "", string spec = "", string metadata = "", string container = "")
    {
        var requests = string.Join(',', new[] { cpu.Length > 0 ? $"\"cpu\":\"{cpu}\"" : "", memory.Length > 0 ? $"\"memory\":\"{memory}\"" : "" }.Where(p => p.Length > 0));
        return $$"""
            {"metadata":{"name":"{{name}}","namespace":"default"{{metadata}}},
             "spec":{"containers":[{"name":"c","image":"app:1","resources":{"requests":{ {{requests}} } }{{container}} }]{{spec}} } }
            """;
    }

    public static string Node(string name, string cpu = "4", string memory = "8Gi", int pods = 110, string spec = "", string labels = "") => $$"""
        {"metadata":{"name":"{{name}}","labels":{"kubernetes.io/hostname":"{{name}}"{{labels}} } },"spec":{ {{spec}} },
         "status":{"capacity":{"cpu":"{{cpu}}","memory":"{{memory}}","pods":"{{pods}}"},"allocatable":{"cpu":"{{cpu}}","memory":"{{memory}}","pods":"{{pods}}"},
          "conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status"}]} }
        """;

    public static string ReplicationController(string name, int replicas, string labels = "\"app\":\"web\"") => $$"""
        {"metadata":{"name":"{{name}}","namespace":"default"},
         "spec":{"replicas":{{replicas}},"selector":{ {{labels}} },
          "template":{"metadata":{"labels":{ {{labels}} } },"spec":{"containers":[{"name":"c","image":"app:1"}]} } } }
        """;

    public static string Service(string name, string spec = "\"selector\":{\"app\":\"web\"},\"ports\":[{\"port\":80}]") =>
        $$"""{"metadata":{"name":"{{name}}","namespace":"default"},"spec":{ {{spec}} } }""";

    public static string Running(string ip, bool ready = true) => $$"""
        {"status":{"phase":"Running","podIP":"{{ip}}","podIPs":[{"ip":"{{ip}}"}],"conditions":[
          {"type":"Ready","status":"{{(ready ? "True" : "False")}}","lastTransitionTime":"2026-01-01T00:00:00Z"}]} }
        """;

    public static string? At(this JsonNode? node, params string[] path)
    {
        foreach (var member in path)
            node = node is JsonArray array ? array.ElementAtOrDefault(int.Parse(member)) : (node as JsonObject)?[member];
        return node?.ToString();
    }
}
