using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Testing.Tests.Support;

/// <summary>The smallest controller with an effect: copies a config map's key `greeting` to an annotation.</summary>
internal sealed class LabelCopier : IController
{
    public string Name => "greeter";

    public string Resource => "configmaps";

    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { } cached)
            return ReconcileResult.Done;
        var map = CanonicalJson.Parse(cached.Bytes.Span);
        if ((string?)map["data"]?["greeting"] is not { } greeting || (string?)map["metadata"]!["annotations"]?["greeting"] == greeting)
            return ReconcileResult.Done;
        await context.Objects.PatchAsync(
            key, new JsonObject { ["metadata"] = new JsonObject { ["annotations"] = new JsonObject { ["greeting"] = greeting } } }, context.CancellationToken);
        return ReconcileResult.Done;
    }
}
