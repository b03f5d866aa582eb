using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;

namespace OrleansCluster.ControlPlane.Admission;

/// <summary>
/// What the cluster adds to a new pod: its service account's name, and how long it stays on a node that is not ready or unreachable
/// (Kubernetes' DefaultTolerationSeconds).
/// </summary>
public sealed class PodDefaults(IOptions<ControlPlaneOptions> options) : IAdmissionStep
{
    private static readonly string[] NodeTaints = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

    /// <inheritdoc/>
    public IReadOnlyCollection<string>? Resources { get; } = ["pods"];

    /// <inheritdoc/>
    public ValueTask AdmitAsync(AdmissionRequest request, CancellationToken cancellationToken)
    {
        if (request.Operation != AdmissionOperation.Create || request.Object["spec"] is not JsonObject spec)
            return ValueTask.CompletedTask;
        if (string.IsNullOrEmpty((string?)spec["serviceAccountName"]))
            spec["serviceAccountName"] = "default";
        spec["serviceAccount"] = (string?)spec["serviceAccountName"];

        if (spec["tolerations"] is not JsonArray tolerations)
            spec["tolerations"] = tolerations = [];
        foreach (var taint in NodeTaints)
        {
            if (tolerations.Any(t => Tolerates(t, taint)))
                continue;
            tolerations.Add((JsonNode)new JsonObject
            {
                ["key"] = taint,
                ["operator"] = "Exists",
                ["effect"] = "NoExecute",
                ["tolerationSeconds"] = (long)options.Value.DefaultEvictionDelay.TotalSeconds,
            });
        }
        return ValueTask.CompletedTask;
    }

    private static bool Tolerates(JsonNode? toleration, string taint)
    {
        var key = (string?)toleration?["key"] ?? "";
        var effect = (string?)toleration?["effect"] ?? "";
        return (key.Length == 0 || key == taint) && effect is "" or "NoExecute";
    }
}
