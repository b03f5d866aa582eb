using System.Globalization;
using System.Text;
using OrleansCluster.Kubelet.Pods;

namespace OrleansCluster.Kubelet.Variables;

/// <summary>Facts of a pod that only its node knows.</summary>
/// <param name="NodeName">The node.</param>
/// <param name="HostIP">The node's address.</param>
/// <param name="PodIP">The pod's address, or null before it is known.</param>
/// <param name="AllocatableCpu">Processors of the node: the limit of a container without one.</param>
/// <param name="AllocatableMemory">Bytes of the node, likewise.</param>
internal sealed record PodFacts(string NodeName, string HostIP, string? PodIP, decimal AllocatableCpu, decimal AllocatableMemory);

/// <summary>A container cannot be made from what its spec refers to; waiting reason `CreateContainerConfigError`.</summary>
internal sealed class ContainerConfigException(string message) : Exception(message);

/// <summary>The downward API: fields and resources of a pod as text.</summary>
internal static class DownwardFields
{
    /// <exception cref="ContainerConfigException">The field is not one of the downward API.</exception>
    public static string Field(PodDocument pod, PodFacts facts, string path)
    {
        if (Subscript(path) is var (map, key))
        {
            return map switch
            {
                "metadata.labels" => pod.Metadata.Labels.GetValueOrDefault(key, ""),
                "metadata.annotations" => pod.Metadata.Annotations.GetValueOrDefault(key, ""),
                _ => throw Unsupported(path),
            };
        }
        return path switch
        {
            "metadata.name" => pod.Metadata.Name,
            "metadata.namespace" => pod.Metadata.Namespace,
            "metadata.uid" => pod.Uid,
            "metadata.labels" => Lines(pod.Metadata.Labels),
            "metadata.annotations" => Lines(pod.Metadata.Annotations),
            "spec.nodeName" => facts.NodeName,
            "spec.serviceAccountName" => pod.Spec.ServiceAccountName ?? "",
            "status.hostIP" or "status.hostIPs" => facts.HostIP,
            "status.podIP" or "status.podIPs" => facts.PodIP ?? "",
            _ => throw Unsupported(path),
        };
    }

    /// <summary>A resource of a container in units of the divisor, rounded up.</summary>
    public static string Resource(PodDocument pod, PodFacts facts, ResourceFieldRef reference, string? ownContainer)
    {
        var name = reference.ContainerName ?? ownContainer;
        var container = pod.AllContainers().FirstOrDefault(c => c.Container.Name == name).Container
            ?? throw new ContainerConfigException($"container {name} not found");
        var parts = reference.Resource.Split('.', 2);
        if (parts.Length != 2 || parts[0] is not ("limits" or "requests"))
            throw new ContainerConfigException($"unsupported container resource : {reference.Resource}");
        var resources = container.Resources;
        var amount = parts[0] == "requests"
            ? Amount.Find(resources.Requests, parts[1]) ?? 0
            : Amount.Find(resources.Limits, parts[1]) ?? parts[1] switch
            {
                "cpu" => facts.AllocatableCpu,
                "memory" => facts.AllocatableMemory,
                _ => 0,
            };
        var divisor = Amount.Parse(reference.Divisor);
        return Amount.Whole(amount / (divisor <= 0 ? 1 : divisor)).ToString(CultureInfo.InvariantCulture);
    }

    private static string Lines(Dictionary<string, string> map)
    {
        var text = new StringBuilder();
        foreach (var (key, value) in map.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            if (text.Length > 0)
                text.Append('\n');
            text.Append(key).Append("=\"").Append(Escape(value)).Append('"');
        }
        return text.ToString();
    }

    private static string Escape(string value) => value
        .Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)
        .Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal)
        .Replace("\r", "\\r", StringComparison.Ordinal);

    private static (string Map, string Key)? Subscript(string path)
    {
        var open = path.IndexOf("['", StringComparison.Ordinal);
        return open > 0 && path.EndsWith("']", StringComparison.Ordinal) ? (path[..open], path[(open + 2)..^2]) : null;
    }

    private static ContainerConfigException Unsupported(string path) => new($"unsupported fieldPath: {path}");
}
