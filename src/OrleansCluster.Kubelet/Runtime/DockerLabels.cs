using System.Globalization;
using System.Net;
using System.Text;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>
/// Names and labels of what the node agent creates in Docker, so that <c>docker ps</c> can be read and a restarted agent finds everything again.
/// The names follow the long-standing pattern <c>k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT</c>.
/// </summary>
internal static class DockerLabels
{
    public const string PodName = "io.kubernetes.pod.name";
    public const string PodNamespace = "io.kubernetes.pod.namespace";
    public const string PodUid = "io.kubernetes.pod.uid";
    public const string ContainerName = "io.kubernetes.container.name";
    public const string Attempt = "io.kubernetes.container.restartCount";
    public const string SandboxId = "io.kubernetes.sandbox.id";
    public const string Type = "io.kubernetes.docker.type";
    public const string Node = "orleanscluster.io/node";
    public const string Cluster = "orleanscluster.io/cluster";
    public const string PodIP = "orleanscluster.io/pod-ip";
    public const string Network = "orleanscluster.io/network";
    public const string HostPorts = "orleanscluster.io/host-ports";

    public const string SandboxType = "podsandbox";
    public const string ContainerType = "container";

    public static string SandboxName(PodIdentity pod, int attempt) => Name("POD", pod, attempt);

    public static string Name(string container, PodIdentity pod, int attempt) => string.Create(
        CultureInfo.InvariantCulture,
        $"k8s_{container}_{Clean(pod.Name)}_{Clean(pod.Namespace)}_{Clean(pod.Uid)}_{attempt}");

    public static PodIdentity PodOf(IDictionary<string, string> labels) => new(
        labels.TryGetValue(PodNamespace, out var podNamespace) ? podNamespace : "",
        labels.TryGetValue(PodName, out var podName) ? podName : "",
        labels.TryGetValue(PodUid, out var podUid) ? podUid : "");

    public static int AttemptOf(IDictionary<string, string> labels) =>
        labels.TryGetValue(Attempt, out var text) && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var attempt) ? attempt : 0;

    public static IPAddress? AddressOf(IDictionary<string, string> labels) =>
        labels.TryGetValue(PodIP, out var text) && IPAddress.TryParse(text, out var address) ? address : null;

    public static SandboxNetwork NetworkOf(IDictionary<string, string> labels) =>
        labels.TryGetValue(Network, out var text) && text == "host" ? SandboxNetwork.Host : SandboxNetwork.Pod;

    /// <summary>Writes host ports as <c>[ip,]port,containerPort,protocol</c> separated by spaces.</summary>
    public static string Format(IReadOnlyList<HostPort> ports) =>
        string.Join(' ', ports.Select(port => string.Create(
            CultureInfo.InvariantCulture,
            $"{port.HostIP?.ToString() ?? "*"},{port.Port},{port.ContainerPort},{port.Protocol}")));

    public static IReadOnlyList<HostPort> HostPortsOf(IDictionary<string, string> labels)
    {
        if (!labels.TryGetValue(HostPorts, out var text) || text.Length == 0)
        {
            return [];
        }

        return
        [
            .. text.Split(' ').Select(entry => entry.Split(',')).Select(parts => new HostPort(
                int.Parse(parts[1], CultureInfo.InvariantCulture),
                int.Parse(parts[2], CultureInfo.InvariantCulture),
                parts[3],
                parts[0] == "*" ? null : IPAddress.Parse(parts[0]))),
        ];
    }

    /// <summary>Docker names allow letters, digits, <c>_.-</c> only; a static pod's uid or name may hold others.</summary>
    private static string Clean(string text)
    {
        if (text.All(IsAllowed))
        {
            return text;
        }

        var clean = new StringBuilder(text.Length);
        foreach (var character in text)
        {
            clean.Append(IsAllowed(character) ? character : '-');
        }

        return clean.ToString();
    }

    private static bool IsAllowed(char character) => char.IsAsciiLetterOrDigit(character) || character is '.' or '-' or '_';
}
