using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// What controllers ask of a pod, read once per version of it: a reconcile over a thousand pods parses only those that changed.
/// </summary>
internal sealed class PodFacts
{
    private static readonly ConditionalWeakTable<ICachedObject, PodFacts> Known = [];

    private PodFacts(ICachedObject pod)
    {
        Pod = pod;
        using var document = JsonDocument.Parse(pod.Bytes);
        var root = document.RootElement;
        var metadata = root.GetProperty("metadata");
        Created = Time(metadata.Text("creationTimestamp"));
        DeletionCost = metadata.TryObject("annotations", out var annotations)
            && int.TryParse(annotations.Text("controller.kubernetes.io/pod-deletion-cost"), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var cost)
                ? cost : 0;
        if (root.TryObject("spec", out var spec))
        {
            NodeName = spec.Text("nodeName");
            Hostname = spec.Text("hostname");
            Subdomain = spec.Text("subdomain");
            var ports = new List<(string, string, int)>();
            foreach (var container in spec.Array("containers"))
            {
                foreach (var port in container.Array("ports"))
                {
                    var protocol = port.Text("protocol");
                    ports.Add((port.Text("name"), protocol.Length == 0 ? "TCP" : protocol, port.GetProperty("containerPort").GetInt32()));
                }
            }
            Ports = ports;
        }
        if (root.TryObject("status", out var status))
        {
            Phase = status.Text("phase");
            PodIP = status.Text("podIP");
            foreach (var condition in status.Array("conditions"))
            {
                if (condition.Text("type") == "Ready")
                {
                    IsReady = condition.Text("status") == "True";
                    ReadySince = Time(condition.Text("lastTransitionTime"));
                }
            }
            foreach (var container in status.Array("containerStatuses"))
            {
                if (container.TryGetProperty("restartCount", out var count))
                    Restarts += count.GetInt32();
            }
        }
    }

    /// <summary>The pod.</summary>
    public ICachedObject Pod { get; }

    public string Phase { get; } = "";

    public string NodeName { get; } = "";

    public string PodIP { get; } = "";

    public string Hostname { get; } = "";

    public string Subdomain { get; } = "";

    public bool IsReady { get; }

    public DateTimeOffset ReadySince { get; }

    public DateTimeOffset Created { get; }

    public int Restarts { get; }

    public int DeletionCost { get; }

    public IReadOnlyList<(string Name, string Protocol, int Number)> Ports { get; } = [];

    public bool IsFinished => Phase is "Succeeded" or "Failed";

    /// <summary>Neither finished nor on its way out: it counts as a replica.</summary>
    public bool IsActive => !IsFinished && !Pod.IsDeleting;

    public static PodFacts Of(ICachedObject pod) => Known.GetValue(pod, static p => new PodFacts(p));

    private static DateTimeOffset Time(string text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : default;
}
