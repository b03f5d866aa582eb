using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>Objects as big as a body may be (3 MiB) must not make a step quadratic, nor an answer many times the question.</summary>
public sealed class HostileSizeTests
{
    private const int Many = 40_000;
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    [Fact]
    public void Errors_are_capped()
    {
        var pods = Registry.Get("pods");
        var pod = SampleObjects.Make(pods);
        pod["metadata"]!["labels"] = new JsonObject(Enumerable.Range(0, Many).Select(i => KeyValuePair.Create($"bad key {i}", (JsonNode?)"bad value")));

        var error = SampleObjects.Create(pods, pod).Error!;

        Assert.Equal(422, error.Code);
        Assert.InRange(error.Causes.Count, 1, 500);
        Assert.InRange(error.ToJson().ToJsonString().Length, 1, 2_000_000);
    }

    [Fact(Timeout = 20_000)]
    public async Task Long_lists_are_walked_once()
    {
        var pods = Registry.Get("pods");
        var pod = SampleObjects.Make(pods);
        pod["metadata"]!["ownerReferences"] = List(i => new JsonObject { ["apiVersion"] = "v1", ["kind"] = "A", ["name"] = "a", ["uid"] = $"u{i}" });
        pod["spec"]!["tolerations"] = List(i => new JsonObject { ["key"] = $"k{i}", ["operator"] = "Exists" });
        pod["spec"]!["volumes"] = List(i => new JsonObject { ["name"] = $"v{i}", ["emptyDir"] = new JsonObject() });
        pod["spec"]!["containers"]![0]!["ports"] = List(i => new JsonObject { ["containerPort"] = 1 + i, ["hostPort"] = 1 + i });

        await Task.Run(() =>
        {
            var stored = SampleObjects.Stored(pods, pod);
            var changed = (JsonObject)stored.DeepClone();
            changed["spec"]!["tolerations"]!.AsArray().RemoveAt(0);
            Assert.Equal(422, SampleObjects.Update(pods, changed, stored).Error?.Code);
            Assert.Equal(Many, ObjectHeader.Read(Encoding.UTF8.GetBytes(stored.ToJsonString()), pods).OwnerUids.Count);

            var services = Registry.Get("services");
            var service = SampleObjects.Parse(services, """{"spec":{"type":"NodePort"}}""");
            service["spec"]!["ports"] = List(i => new JsonObject { ["name"] = $"p{i}", ["port"] = 1 + i, ["nodePort"] = 1 + i });
            stored = SampleObjects.Stored(services, service);
            changed = (JsonObject)stored.DeepClone();
            foreach (var (_, port) in changed["spec"]!.AsObject().Items("ports"))
                port.Remove("nodePort");
            Assert.Equal(PipelineOutcome.Unchanged, SampleObjects.Update(services, changed, stored).Outcome);
        }, TestContext.Current.CancellationToken);
    }

    private static JsonArray List(Func<int, JsonNode> item) => new([.. Enumerable.Range(0, Many).Select(item)]);
}
