using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>Gives every namespace its ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`, and puts them back when they are taken away.</summary>
public sealed class NamespaceDefaultsController(IOptions<ControlPlaneOptions> options) : IController
{
    private const string RootCa = "kube-root-ca.crt";

    /// <inheritdoc/>
    public string Name => "namespace-defaults-controller";

    /// <inheritdoc/>
    public string Resource => "namespaces";

    /// <inheritdoc/>
    public IReadOnlyList<WakeSource> WakeSources { get; } =
    [
        new WakeSource("serviceaccounts", wake => NamespaceOf(wake, "default")),
        new WakeSource("configmaps", wake => NamespaceOf(wake, RootCa)),
    ];

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(ObjectKey key, ReconcileContext context)
    {
        if (await context.Objects.GetAsync(key, context.CancellationToken) is not { IsDeleting: false })
            return ReconcileResult.Done;
        await EnsureAsync("serviceaccounts", key.Name, "default", new JsonObject { ["kind"] = "ServiceAccount" }, context);
        if (options.Value.ClusterCaPem is { } pem)
            await EnsureAsync("configmaps", key.Name, RootCa, new JsonObject { ["kind"] = "ConfigMap", ["data"] = new JsonObject { ["ca.crt"] = pem } }, context);
        return ReconcileResult.Done;
    }

    private static async Task EnsureAsync(string resource, string @namespace, string name, JsonObject obj, ReconcileContext context)
    {
        var existing = await context.Objects.GetAsync(new ObjectKey(resource, @namespace, name), context.CancellationToken);
        if (existing is not null && (obj["data"] is null || JsonNode.DeepEquals(existing.ToJson()["data"], obj["data"])))
            return;
        obj["apiVersion"] = "v1";
        obj["metadata"] = new JsonObject { ["name"] = name, ["namespace"] = @namespace };
        try
        {
            if (existing is null)
                await context.Objects.CreateAsync(resource, obj, context.CancellationToken);
            else
                await context.Objects.UpdateAsync(existing.Key, obj, context.CancellationToken);
        }
        catch (StatusException error) when (error.Status.Code == 403 && error.Status.Causes.Any(c => c.Reason == "NamespaceTerminating"))
        {
            // The namespace is on its way out.
        }
    }

    private static IEnumerable<ObjectKey> NamespaceOf(WakeEvent wake, string name) =>
        wake.Object.Key.Name == name && (wake.Removed || wake.Previous is not null) ? [new ObjectKey("namespaces", "", wake.Object.Key.Namespace)] : [];
}
