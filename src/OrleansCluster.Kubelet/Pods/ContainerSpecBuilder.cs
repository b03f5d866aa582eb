using System.Globalization;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Variables;
using OrleansCluster.Kubelet.Volumes;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>What a container is made from besides its spec.</summary>
internal sealed record ContainerIngredients
{
    public required PodDocument Pod { get; init; }

    public required PodContainer Container { get; init; }

    public required int Attempt { get; init; }

    /// <summary>The image as it was found; its user counts where the spec names none.</summary>
    public required ContainerImage Image { get; init; }

    public required IReadOnlyList<KeyValuePair<string, string>> Environment { get; init; }

    /// <summary>The node's path of each volume.</summary>
    public required IReadOnlyDictionary<string, string> Volumes { get; init; }

    /// <summary>The pod's directory, or null on a hollow node, where nothing is mounted.</summary>
    public required string? PodDirectory { get; init; }

    /// <summary>The node's memory, bytes: what a request is measured against.</summary>
    public required decimal NodeMemory { get; init; }

    /// <summary>Container whose processes it shall see, or null.</summary>
    public string? SharePidOf { get; init; }
}

/// <summary>Translates a container of a pod into what the runtime is asked for.</summary>
internal static class ContainerSpecBuilder
{
    /// <exception cref="ContainerConfigException">The spec cannot be fulfilled.</exception>
    public static ContainerSpec Build(ContainerIngredients ingredients)
    {
        var (pod, container) = (ingredients.Pod, ingredients.Container);
        var podSecurity = pod.Spec.SecurityContext;
        var security = container.SecurityContext;
        var variables = new Dictionary<string, string>(ingredients.Environment, StringComparer.Ordinal);
        var runAsUser = security.RunAsUser ?? podSecurity.RunAsUser;
        if ((security.RunAsNonRoot ?? podSecurity.RunAsNonRoot) == true)
            RequireNonRoot(runAsUser, ingredients.Image.User, pod, container);

        var limits = container.Resources.Limits;
        var requests = container.Resources.Requests;
        var cpuLimit = Amount.Millis(Amount.Find(limits, "cpu") ?? 0);
        var memoryLimit = Amount.Whole(Amount.Find(limits, "memory") ?? 0);
        var cpuRequest = Amount.Find(requests, "cpu") is { } cpu ? Amount.Millis(cpu) : cpuLimit;
        var memoryRequest = Amount.Find(requests, "memory") is { } memory ? Amount.Whole(memory) : memoryLimit;
        var seccomp = security.SeccompProfile?.Type ?? podSecurity.SeccompProfile?.Type;

        return new ContainerSpec
        {
            Pod = pod.Identity,
            Name = container.Name,
            Attempt = ingredients.Attempt,
            Image = container.Image,
            Command = container.Command is { Length: > 0 } command ? [.. command.Select(part => Expansion.Expand(part, variables))] : null,
            Args = container.Args is { Length: > 0 } args ? [.. args.Select(part => Expansion.Expand(part, variables))] : null,
            Environment = ingredients.Environment,
            WorkingDirectory = string.IsNullOrEmpty(container.WorkingDir) ? null : container.WorkingDir,
            Mounts = ingredients.PodDirectory is null ? [] : Mounts(ingredients, variables),
            CpuRequestMillis = cpuRequest,
            CpuLimitMillis = cpuLimit,
            MemoryLimitBytes = memoryLimit,
            OomScoreAdjustment = OomScore(pod, memoryRequest, ingredients.NodeMemory),
            RunAsUser = runAsUser,
            RunAsGroup = security.RunAsGroup ?? podSecurity.RunAsGroup,
            SupplementalGroups = podSecurity.FsGroup is { } fsGroup
                ? [.. podSecurity.SupplementalGroups.Append(fsGroup).Distinct()]
                : podSecurity.SupplementalGroups,
            Privileged = security.Privileged,
            AllowPrivilegeEscalation = security.AllowPrivilegeEscalation ?? true,
            AddCapabilities = security.Capabilities?.Add ?? [],
            DropCapabilities = security.Capabilities?.Drop ?? [],
            ReadOnlyRootFilesystem = security.ReadOnlyRootFilesystem,
            SeccompRuntimeDefault = seccomp == "RuntimeDefault" && !security.Privileged,
            Tty = container.Tty,
            Stdin = container.Stdin,
            StdinOnce = container.StdinOnce,
            SharePodPid = pod.Spec.ShareProcessNamespace,
            SharePidOfContainerId = ingredients.SharePidOf,
            HostPid = pod.Spec.HostPid,
            HostIpc = pod.Spec.HostIpc,
            Labels = new Dictionary<string, string>(StringComparer.Ordinal) { [ContainerRules.ImageLabel] = container.Image },
        };
    }

    /// <summary>Where the container writes its termination message.</summary>
    public static string TerminationLog(string podDirectory, string container, int attempt) =>
        Path.Combine(podDirectory, "containers", container, string.Create(CultureInfo.InvariantCulture, $"termination-log-{attempt}"));

    public static string HostsFile(string podDirectory) => Path.Combine(podDirectory, "etc-hosts");

    public static string ResolvConfFile(string podDirectory) => Path.Combine(podDirectory, "resolv.conf");

    /// <summary>Kubernetes' figures: 1000 for best effort, less the more of the node's memory was asked for; guaranteed pods last of all.</summary>
    private static int OomScore(PodDocument pod, long memoryRequest, decimal nodeMemory) => pod.Status.QosClass switch
    {
        "Guaranteed" => 0,
        "BestEffort" => 1000,
        _ when nodeMemory <= 0 => 999,
        _ => (int)Math.Clamp(1000 - 1000m * memoryRequest / nodeMemory, 3, 999),
    };

    private static void RequireNonRoot(long? runAsUser, string imageUser, PodDocument pod, PodContainer container)
    {
        var who = $"(pod: \"{pod.LongName}\", container: {container.Name})";
        if (runAsUser is { } uid)
        {
            if (uid == 0)
                throw new ContainerConfigException($"container's runAsUser breaks non-root policy {who}");
            return;
        }
        var user = imageUser.Split(':')[0];
        if (user is "" or "0" or "root")
            throw new ContainerConfigException($"container has runAsNonRoot and image will run as root {who}");
        if (!long.TryParse(user, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            throw new ContainerConfigException($"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {who}");
    }

    private static List<ContainerMount> Mounts(ContainerIngredients ingredients, Dictionary<string, string> variables)
    {
        var (pod, container, directory) = (ingredients.Pod, ingredients.Container, ingredients.PodDirectory!);
        var mounts = new List<ContainerMount>(container.VolumeMounts.Length + 3);
        foreach (var mount in container.VolumeMounts)
        {
            if (!ingredients.Volumes.TryGetValue(mount.Name, out var path))
                throw new ContainerConfigException($"cannot find volume \"{mount.Name}\" to mount into container \"{container.Name}\"");
            var subPath = mount.SubPathExpr is { Length: > 0 } expression ? ExpandStrictly(expression, variables) : mount.SubPath;
            if (!string.IsNullOrEmpty(subPath))
            {
                try
                {
                    path = SubPath.Resolve(path, subPath);
                }
                catch (Exception exception) when (exception is VolumeException or IOException or UnauthorizedAccessException)
                {
                    throw new ContainerConfigException(
                        $"failed to prepare subPath for volumeMount \"{mount.Name}\" of container \"{container.Name}\": {exception.Message}");
                }
            }
            // What the agent writes, as root and by path, no container may turn into links that lead elsewhere.
            var readOnly = mount.ReadOnly || pod.Spec.Volumes.Any(volume => volume.Name == mount.Name && volume.IsWrittenByAgent);
            mounts.Add(new ContainerMount(path, Absolute(mount.MountPath), readOnly, mount.MountPropagation switch
            {
                "HostToContainer" => MountPropagation.HostToContainer,
                "Bidirectional" => MountPropagation.Bidirectional,
                _ => MountPropagation.None,
            }));
        }

        var taken = mounts.Select(mount => mount.ContainerPath.TrimEnd('/')).ToHashSet(StringComparer.Ordinal);
        void Add(string hostPath, string containerPath)
        {
            if (taken.Add(containerPath))
                mounts.Add(new ContainerMount(hostPath, containerPath));
        }

        Add(HostsFile(directory), "/etc/hosts");
        Add(ResolvConfFile(directory), "/etc/resolv.conf");
        Add(TerminationLog(directory, container.Name, ingredients.Attempt), Absolute(container.TerminationMessagePath));
        return mounts;
    }

    private static string ExpandStrictly(string expression, Dictionary<string, string> variables)
    {
        var expanded = Expansion.Expand(expression, variables);
        return expanded.Contains("$(", StringComparison.Ordinal)
            ? throw new ContainerConfigException($"missing value for a variable in subPathExpr \"{expression}\"")
            : expanded;
    }

    private static string Absolute(string path) => path.StartsWith('/') ? path : "/" + path;
}
