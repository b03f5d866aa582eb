using System.Text.Json;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>What streaming must know of a pod, read from its bytes (wire contract, section 11).</summary>
internal sealed class PodContainers
{
    private const string DefaultContainerAnnotation = "kubectl.kubernetes.io/default-container";

    private readonly List<string> _containers = [];
    private readonly List<string> _others = [];
    private string? _default;

    /// <summary>The pod's name.</summary>
    public string PodName { get; private set; } = "";

    /// <summary>Its node, empty while it has none.</summary>
    public string NodeName { get; private set; } = "";

    /// <summary>`status.phase`.</summary>
    public string Phase { get; private set; } = "";

    /// <summary>Reads a pod.</summary>
    public static PodContainers Read(ReadOnlyMemory<byte> pod)
    {
        using var document = JsonDocument.Parse(pod);
        var root = document.RootElement;
        var result = new PodContainers { PodName = Text(root.GetProperty("metadata"), "name") };
        if (root.TryGetProperty("status", out var status))
            result.Phase = Text(status, "phase");
        if (root.GetProperty("metadata").TryGetProperty("annotations", out var annotations))
            result._default = Text(annotations, DefaultContainerAnnotation) is { Length: > 0 } name ? name : null;
        if (root.TryGetProperty("spec", out var spec))
        {
            result.NodeName = Text(spec, "nodeName");
            AddNames(spec, "containers", result._containers);
            AddNames(spec, "initContainers", result._others);
            AddNames(spec, "ephemeralContainers", result._others);
        }
        return result;
    }

    /// <summary>The container a request is about.</summary>
    /// <param name="asked">Name in the query, or the empty string.</param>
    /// <exception cref="StatusException">400: no such container, or several and none named.</exception>
    public string Choose(string asked)
    {
        if (asked.Length > 0)
        {
            return _containers.Contains(asked, StringComparer.Ordinal) || _others.Contains(asked, StringComparer.Ordinal)
                ? asked
                : throw new StatusException(StatusError.BadRequest($"container {asked} is not valid for pod {PodName}"));
        }
        if (_containers.Count == 1)
            return _containers[0];
        if (_default is not null && _containers.Contains(_default, StringComparer.Ordinal))
            return _default;
        var choice = _others.Count == 0
            ? $"choose one of: [{string.Join(" ", _containers)}]"
            : $"choose one of: [{string.Join(" ", _containers)}] or one of the init containers: [{string.Join(" ", _others)}]";
        throw new StatusException(StatusError.BadRequest($"a container name must be specified for pod {PodName}, {choice}"));
    }

    private static void AddNames(JsonElement spec, string member, List<string> names)
    {
        if (!spec.TryGetProperty(member, out var list) || list.ValueKind != JsonValueKind.Array)
            return;
        foreach (var container in list.EnumerateArray())
            names.Add(Text(container, "name"));
    }

    private static string Text(JsonElement obj, string member) =>
        obj.ValueKind == JsonValueKind.Object && obj.TryGetProperty(member, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString() ?? ""
            : "";
}
