using System.Globalization;
using Models = Docker.DotNet.Models;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>Translates sandboxes and containers from Kubernetes' words into Docker's.</summary>
internal static class DockerContainers
{
    /// <summary>The period a CPU limit is counted over, microseconds; Kubernetes' and the kernel's default.</summary>
    private const long CpuPeriod = 100_000;

    /// <summary>The smallest quota the kernel takes, microseconds.</summary>
    private const long MinCpuQuota = 1_000;

    /// <summary>The smallest share, for containers that request no CPU.</summary>
    private const long MinCpuShares = 2;

    // By bit number. The three youngest (38 to 40) are left out: engines before 2021 refuse their names.
    private static readonly string[] AllCapabilities =
    [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
        "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
        "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    ];

    public static Models.CreateContainerParameters Sandbox(
        SandboxSpec spec,
        string pauseImage,
        IDictionary<string, string> labels,
        bool ownNetwork)
    {
        var host = new Models.HostConfig
        {
            // Shareable, or the pod's containers could not join it.
            IpcMode = spec.HostIpc ? "host" : "shareable",
            PidMode = spec.HostPid ? "host" : "",
            SecurityOpt = ["seccomp=unconfined"],
            LogConfig = new Models.LogConfig { Type = "none", Config = new Dictionary<string, string>() },
            CPUShares = MinCpuShares,
            CgroupParent = spec.CgroupParent ?? "",
            Sysctls = spec.Sysctls.ToDictionary(),
        };
        var parameters = new Models.CreateContainerParameters
        {
            Name = DockerLabels.SandboxName(spec.Pod, spec.Attempt),
            Image = pauseImage,
            Labels = labels,
            HostConfig = host,
        };
        if (spec.Network == SandboxNetwork.Host)
        {
            host.NetworkMode = "host";
            return parameters;
        }

        parameters.Hostname = spec.Hostname;
        if (ownNetwork)
        {
            parameters.NetworkDisabled = true;
            return parameters;
        }

        host.PortBindings = new Dictionary<string, IList<Models.PortBinding>>();
        parameters.ExposedPorts = new Dictionary<string, Models.EmptyStruct>();
        foreach (var port in spec.HostPorts)
        {
            var key = string.Create(CultureInfo.InvariantCulture, $"{port.ContainerPort}/{Lower(port.Protocol)}");
            parameters.ExposedPorts[key] = default;
            host.PortBindings.TryAdd(key, []);
            host.PortBindings[key].Add(new Models.PortBinding
            {
                HostIP = port.HostIP?.ToString() ?? "",
                HostPort = port.Port.ToString(CultureInfo.InvariantCulture),
            });
        }

        return parameters;
    }

    /// <summary>A container that joins a sandbox.</summary>
    /// <param name="spec">What it shall be.</param>
    /// <param name="sandboxId">The sandbox.</param>
    /// <param name="network">Whose network the sandbox uses.</param>
    /// <param name="labels">The labels.</param>
    /// <param name="missingCapabilities">Capabilities (bit numbers) the engine itself may not give; null when it may give all.</param>
    public static Models.CreateContainerParameters Container(
        ContainerSpec spec,
        string sandboxId,
        SandboxNetwork network,
        IDictionary<string, string> labels,
        IReadOnlySet<int>? missingCapabilities)
    {
        var sandbox = "container:" + sandboxId;
        var host = new Models.HostConfig
        {
            NetworkMode = network == SandboxNetwork.Host ? "host" : sandbox,
            IpcMode = spec.HostIpc ? "host" : sandbox,
            PidMode = spec.HostPid ? "host"
                : spec.SharePidOfContainerId is { } other ? "container:" + other
                : spec.SharePodPid ? sandbox
                : "",
            Mounts = [.. spec.Mounts.Select(Mount)],
            ReadonlyRootfs = spec.ReadOnlyRootFilesystem,
            CgroupParent = spec.CgroupParent ?? "",
            OomScoreAdj = Math.Clamp(spec.OomScoreAdjustment, 0, 1000),
            CPUShares = Math.Max(MinCpuShares, spec.CpuRequestMillis * 1024 / 1000),
            GroupAdd = [.. spec.SupplementalGroups.Select(group => group.ToString(CultureInfo.InvariantCulture))],
            SecurityOpt = [],
        };
        if (spec.CpuLimitMillis > 0)
        {
            host.CPUPeriod = CpuPeriod;
            host.CPUQuota = Math.Max(MinCpuQuota, spec.CpuLimitMillis * CpuPeriod / 1000);
        }

        if (spec.MemoryLimitBytes > 0)
        {
            host.Memory = spec.MemoryLimitBytes;
            host.MemorySwap = spec.MemoryLimitBytes; // Equal means: no swap on top.
        }

        if (spec.PidsLimit > 0)
        {
            host.PidsLimit = spec.PidsLimit;
        }

        ApplySecurity(spec, host, missingCapabilities);
        return new Models.CreateContainerParameters
        {
            Name = DockerLabels.Name(spec.Name, spec.Pod, spec.Attempt),
            Image = spec.Image,
            Entrypoint = spec.Command?.Count > 0 ? [.. spec.Command] : null!,
            Cmd = spec.Args?.Count > 0 ? [.. spec.Args] : null!,
            Env = [.. spec.Environment.Select(variable => $"{variable.Key}={variable.Value}")],
            WorkingDir = spec.WorkingDirectory ?? "",
            User = User(spec),
            Tty = spec.Tty,
            OpenStdin = spec.Stdin,
            StdinOnce = spec.StdinOnce,

            // A health check of the image would run beside the pod's probes.
            Healthcheck = new Models.HealthcheckConfig { Test = ["NONE"] },
            Labels = labels,
            HostConfig = host,
        };
    }

    private static void ApplySecurity(ContainerSpec spec, Models.HostConfig host, IReadOnlySet<int>? missingCapabilities)
    {
        if (!spec.AllowPrivilegeEscalation && !spec.Privileged)
        {
            host.SecurityOpt.Add("no-new-privileges");
        }

        if (!spec.SeccompRuntimeDefault || spec.Privileged)
        {
            host.SecurityOpt.Add("seccomp=unconfined");
        }

        if (spec.Privileged && missingCapabilities is null or { Count: 0 })
        {
            host.Privileged = spec.Privileged;
            return;
        }

        if (spec.Privileged)
        {
            // An engine that lacks a capability itself cannot start a privileged container at all: give everything it has instead.
            host.SecurityOpt.Add("apparmor=unconfined");
            host.CapAdd = Available(missingCapabilities);
            host.DeviceCgroupRules = ["a *:* rwm"];
            host.MaskedPaths = [];
            host.ReadonlyPaths = [];
            return;
        }

        // ALL is spelt out where the engine lacks some, or the start would fail.
        host.CapAdd = missingCapabilities is { Count: > 0 } && spec.AddCapabilities.Any(IsAll)
            ? Available(missingCapabilities)
            : [.. spec.AddCapabilities.Select(Capability)];
        host.CapDrop = [.. spec.DropCapabilities.Select(Capability)];
    }

    private static List<string> Available(IReadOnlySet<int>? missing) =>
        [.. AllCapabilities.Where((_, bit) => missing is null || !missing.Contains(bit))];

    private static bool IsAll(string capability) => string.Equals(capability, "ALL", StringComparison.OrdinalIgnoreCase);

    private static string Capability(string name)
    {
        var upper = name.ToUpperInvariant();
        return upper.StartsWith("CAP_", StringComparison.Ordinal) ? upper[4..] : upper;
    }

    private static string User(ContainerSpec spec) => (spec.RunAsUser, spec.RunAsGroup) switch
    {
        ({ } user, { } group) => string.Create(CultureInfo.InvariantCulture, $"{user}:{group}"),
        ({ } user, null) => user.ToString(CultureInfo.InvariantCulture),

        // Docker has no group alone: Kubernetes requires a user with it, root being the default.
        (null, { } group) => string.Create(CultureInfo.InvariantCulture, $"0:{group}"),
        _ => "",
    };

    private static Models.Mount Mount(ContainerMount mount) => new()
    {
        Type = "bind",
        Source = mount.HostPath,
        Target = mount.ContainerPath,
        ReadOnly = mount.ReadOnly,
        BindOptions = new Models.BindOptions
        {
            Propagation = mount.Propagation switch
            {
                MountPropagation.HostToContainer => "rslave",
                MountPropagation.Bidirectional => "rshared",
                _ => "rprivate",
            },
        },
    };

    private static string Lower(string protocol) => protocol switch
    {
        "UDP" => "udp",
        "SCTP" => "sctp",
        _ => "tcp",
    };
}
