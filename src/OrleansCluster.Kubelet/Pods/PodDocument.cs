using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// The part of a Pod that a node agent reads, parsed once from the pushed bytes. It is a view, not the stored form: unknown fields are dropped, so
/// it is never written back. Collections are never null.
/// </summary>
internal sealed class PodDocument
{
    public PodMetadata Metadata { get; set => field = value ?? new(); } = new();

    public PodSpec Spec { get; set => field = value ?? new(); } = new();

    public PodStatusDocument Status { get; set => field = value ?? new(); } = new();

    [JsonIgnore]
    public string Uid => Metadata.Uid;

    [JsonIgnore]
    public string FullName => $"{Metadata.Namespace}/{Metadata.Name}";

    /// <summary>How the texts of events and states name the pod: `name_namespace(uid)`.</summary>
    [JsonIgnore]
    public string LongName => $"{Metadata.Name}_{Metadata.Namespace}({Metadata.Uid})";

    [JsonIgnore]
    public Runtime.PodIdentity Identity => new(Metadata.Namespace, Metadata.Name, Metadata.Uid);

    /// <summary>`metadata.resourceVersion` as the number it is in this system; 0 if it is none.</summary>
    [JsonIgnore]
    public long Revision => long.TryParse(Metadata.ResourceVersion, NumberStyles.None, CultureInfo.InvariantCulture, out var revision) ? revision : 0;

    [JsonIgnore]
    public bool Deleting => Metadata.DeletionTimestamp is not null;

    /// <exception cref="JsonException">The bytes are not a pod.</exception>
    public static PodDocument Parse(ReadOnlySpan<byte> utf8) =>
        JsonSerializer.Deserialize(utf8, PodJson.Default.PodDocument) ?? throw new JsonException("The pod is null.");

    /// <summary>All containers of the spec in order of their start, with what kind each is.</summary>
    public IEnumerable<(PodContainer Container, ContainerKind Kind)> AllContainers()
    {
        foreach (var container in Spec.InitContainers)
            yield return (container, container.RestartPolicy == "Always" ? ContainerKind.Sidecar : ContainerKind.Init);
        foreach (var container in Spec.Containers)
            yield return (container, ContainerKind.Main);
        foreach (var container in Spec.EphemeralContainers)
            yield return (container, ContainerKind.Ephemeral);
    }
}

/// <summary>What part a container plays in its pod.</summary>
internal enum ContainerKind
{
    /// <summary>Runs to its end before the next one starts.</summary>
    Init,

    /// <summary>An init container with `restartPolicy: Always`: started in order, kept running beside the main ones, ended last.</summary>
    Sidecar,

    /// <summary>One of `spec.containers`.</summary>
    Main,

    /// <summary>Added for debugging; never restarted.</summary>
    Ephemeral,
}

internal sealed class PodMetadata
{
    public string Name { get; set; } = "";

    public string Namespace { get; set; } = "";

    public string Uid { get; set; } = "";

    public string? ResourceVersion { get; set; }

    public Dictionary<string, string> Labels { get; set => field = value ?? []; } = [];

    public Dictionary<string, string> Annotations { get; set => field = value ?? []; } = [];

    public DateTimeOffset? DeletionTimestamp { get; set; }

    public long? DeletionGracePeriodSeconds { get; set; }
}

internal sealed class PodSpec
{
    public string? NodeName { get; set; }

    public string RestartPolicy { get; set => field = value ?? "Always"; } = "Always";

    public long? TerminationGracePeriodSeconds { get; set; }

    public long? ActiveDeadlineSeconds { get; set; }

    public PodContainer[] InitContainers { get; set => field = value ?? []; } = [];

    public PodContainer[] Containers { get; set => field = value ?? []; } = [];

    public PodContainer[] EphemeralContainers { get; set => field = value ?? []; } = [];

    public PodVolume[] Volumes { get; set => field = value ?? []; } = [];

    public string? Hostname { get; set; }

    public string? Subdomain { get; set; }

    public bool HostNetwork { get; set; }

    [JsonPropertyName("hostPID")]
    public bool HostPid { get; set; }

    [JsonPropertyName("hostIPC")]
    public bool HostIpc { get; set; }

    public bool ShareProcessNamespace { get; set; }

    public string? ServiceAccountName { get; set; }

    public bool? EnableServiceLinks { get; set; }

    public string DnsPolicy { get; set => field = value ?? "ClusterFirst"; } = "ClusterFirst";

    public PodDnsConfig? DnsConfig { get; set; }

    public PodHostAlias[] HostAliases { get; set => field = value ?? []; } = [];

    public PodReadinessGate[] ReadinessGates { get; set => field = value ?? []; } = [];

    public PodSecurityContext SecurityContext { get; set => field = value ?? new(); } = new();
}

internal sealed class PodContainer
{
    public string Name { get; set; } = "";

    public string Image { get; set; } = "";

    public string[]? Command { get; set; }

    public string[]? Args { get; set; }

    public string? WorkingDir { get; set; }

    public ContainerPort[] Ports { get; set => field = value ?? []; } = [];

    public EnvFromSource[] EnvFrom { get; set => field = value ?? []; } = [];

    public EnvVar[] Env { get; set => field = value ?? []; } = [];

    public ResourceRequirements Resources { get; set => field = value ?? new(); } = new();

    public string? RestartPolicy { get; set; }

    public VolumeMount[] VolumeMounts { get; set => field = value ?? []; } = [];

    public Probe? LivenessProbe { get; set; }

    public Probe? ReadinessProbe { get; set; }

    public Probe? StartupProbe { get; set; }

    public Lifecycle? Lifecycle { get; set; }

    public string TerminationMessagePath { get; set => field = value ?? "/dev/termination-log"; } = "/dev/termination-log";

    public string? TerminationMessagePolicy { get; set; }

    public string? ImagePullPolicy { get; set; }

    public ContainerSecurityContext SecurityContext { get; set => field = value ?? new(); } = new();

    public bool Stdin { get; set; }

    public bool StdinOnce { get; set; }

    public bool Tty { get; set; }

    /// <summary>Ephemeral containers only: whose processes to see.</summary>
    public string? TargetContainerName { get; set; }
}

internal sealed class ContainerPort
{
    public string? Name { get; set; }

    [JsonPropertyName("containerPort")]
    public int Port { get; set; }

    public int HostPort { get; set; }

    [JsonPropertyName("hostIP")]
    public string? HostIp { get; set; }

    public string Protocol { get; set => field = value ?? "TCP"; } = "TCP";
}

internal sealed class EnvVar
{
    public string Name { get; set; } = "";

    public string? Value { get; set; }

    public EnvVarSource? ValueFrom { get; set; }
}

internal sealed class EnvVarSource
{
    public FieldRef? FieldRef { get; set; }

    public ResourceFieldRef? ResourceFieldRef { get; set; }

    public KeyRef? ConfigMapKeyRef { get; set; }

    public KeyRef? SecretKeyRef { get; set; }
}

internal sealed class FieldRef
{
    public string FieldPath { get; set; } = "";
}

internal sealed class ResourceFieldRef
{
    public string? ContainerName { get; set; }

    public string Resource { get; set; } = "";

    public JsonElement Divisor { get; set; }
}

internal sealed class KeyRef
{
    public string Name { get; set; } = "";

    public string Key { get; set; } = "";

    public bool Optional { get; set; }
}

internal sealed class EnvFromSource
{
    public string Prefix { get; set => field = value ?? ""; } = "";

    public KeyRef? ConfigMapRef { get; set; }

    public KeyRef? SecretRef { get; set; }
}

internal sealed class ResourceRequirements
{
    public Dictionary<string, JsonElement> Limits { get; set => field = value ?? []; } = [];

    public Dictionary<string, JsonElement> Requests { get; set => field = value ?? []; } = [];
}

internal sealed class VolumeMount
{
    public string Name { get; set; } = "";

    public string MountPath { get; set; } = "";

    public bool ReadOnly { get; set; }

    public string? SubPath { get; set; }

    public string? SubPathExpr { get; set; }

    public string? MountPropagation { get; set; }
}

/// <summary>A volume: its name and one member named after its type.</summary>
internal sealed class PodVolume
{
    public string Name { get; set; } = "";

    [JsonExtensionData]
    public Dictionary<string, JsonElement> Sources { get; set => field = value ?? []; } = [];

    /// <summary>True for files that come from the API and follow it: containers see them read-only, as everywhere.</summary>
    [JsonIgnore]
    public bool IsWrittenByAgent =>
        Sources.ContainsKey("configMap") || Sources.ContainsKey("secret") || Sources.ContainsKey("downwardAPI") || Sources.ContainsKey("projected");
}

internal sealed class Probe
{
    public ExecAction? Exec { get; set; }

    public HttpGetAction? HttpGet { get; set; }

    public TcpSocketAction? TcpSocket { get; set; }

    public JsonElement? Grpc { get; set; }

    public int InitialDelaySeconds { get; set; }

    public int TimeoutSeconds { get; set => field = value <= 0 ? 1 : value; } = 1;

    public int PeriodSeconds { get; set => field = value <= 0 ? 10 : value; } = 10;

    public int SuccessThreshold { get; set => field = value <= 0 ? 1 : value; } = 1;

    public int FailureThreshold { get; set => field = value <= 0 ? 3 : value; } = 3;

    public long? TerminationGracePeriodSeconds { get; set; }
}

internal sealed class Lifecycle
{
    public LifecycleHandler? PostStart { get; set; }

    public LifecycleHandler? PreStop { get; set; }
}

internal sealed class LifecycleHandler
{
    public ExecAction? Exec { get; set; }

    public HttpGetAction? HttpGet { get; set; }

    public TcpSocketAction? TcpSocket { get; set; }

    public SleepAction? Sleep { get; set; }
}

internal sealed class ExecAction
{
    public string[] Command { get; set => field = value ?? []; } = [];
}

internal sealed class SleepAction
{
    public long Seconds { get; set; }
}

internal sealed class HttpGetAction
{
    public string? Path { get; set; }

    /// <summary>A number or the name of a container port.</summary>
    public JsonElement Port { get; set; }

    public string? Host { get; set; }

    public string? Scheme { get; set; }

    public HttpHeader[] HttpHeaders { get; set => field = value ?? []; } = [];
}

internal sealed class HttpHeader
{
    public string Name { get; set; } = "";

    public string Value { get; set => field = value ?? ""; } = "";
}

internal sealed class TcpSocketAction
{
    public JsonElement Port { get; set; }

    public string? Host { get; set; }
}

internal sealed class PodSecurityContext
{
    public long? RunAsUser { get; set; }

    public long? RunAsGroup { get; set; }

    public bool? RunAsNonRoot { get; set; }

    public long? FsGroup { get; set; }

    public long[] SupplementalGroups { get; set => field = value ?? []; } = [];

    public Sysctl[] Sysctls { get; set => field = value ?? []; } = [];

    public SeccompProfile? SeccompProfile { get; set; }
}

internal sealed class Sysctl
{
    public string Name { get; set; } = "";

    public string Value { get; set; } = "";
}

internal sealed class SeccompProfile
{
    public string? Type { get; set; }
}

internal sealed class ContainerSecurityContext
{
    public long? RunAsUser { get; set; }

    public long? RunAsGroup { get; set; }

    public bool? RunAsNonRoot { get; set; }

    public bool Privileged { get; set; }

    public bool? AllowPrivilegeEscalation { get; set; }

    public bool ReadOnlyRootFilesystem { get; set; }

    public Capabilities? Capabilities { get; set; }

    public SeccompProfile? SeccompProfile { get; set; }
}

internal sealed class Capabilities
{
    public string[] Add { get; set => field = value ?? []; } = [];

    public string[] Drop { get; set => field = value ?? []; } = [];
}

internal sealed class PodDnsConfig
{
    public string[] Nameservers { get; set => field = value ?? []; } = [];

    public string[] Searches { get; set => field = value ?? []; } = [];

    public PodDnsOption[] Options { get; set => field = value ?? []; } = [];
}

internal sealed class PodDnsOption
{
    public string Name { get; set; } = "";

    public string? Value { get; set; }
}

internal sealed class PodHostAlias
{
    public string Ip { get; set; } = "";

    public string[] Hostnames { get; set => field = value ?? []; } = [];
}

internal sealed class PodReadinessGate
{
    public string ConditionType { get; set; } = "";
}

internal sealed class PodStatusDocument
{
    public string? Phase { get; set; }

    public string? Reason { get; set; }

    public string? Message { get; set; }

    public string? QosClass { get; set; }

    public DateTimeOffset? StartTime { get; set; }

    [JsonPropertyName("podIP")]
    public string? PodIP { get; set; }

    public PodConditionDocument[] Conditions { get; set => field = value ?? []; } = [];

    public ContainerStatusDocument[] InitContainerStatuses { get; set => field = value ?? []; } = [];

    public ContainerStatusDocument[] ContainerStatuses { get; set => field = value ?? []; } = [];

    public ContainerStatusDocument[] EphemeralContainerStatuses { get; set => field = value ?? []; } = [];
}

internal sealed class PodConditionDocument
{
    public string Type { get; set; } = "";

    public string Status { get; set; } = "";

    public string? Reason { get; set; }

    public string? Message { get; set; }

    public DateTimeOffset? LastTransitionTime { get; set; }
}

internal sealed class ContainerStatusDocument
{
    public string Name { get; set; } = "";

    public int RestartCount { get; set; }

    public bool Ready { get; set; }

    public bool? Started { get; set; }

    [JsonPropertyName("containerID")]
    public string? ContainerId { get; set; }

    public ContainerStateDocument? State { get; set; }

    public ContainerStateDocument? LastState { get; set; }
}

internal sealed class ContainerStateDocument
{
    public JsonElement? Waiting { get; set; }

    public JsonElement? Running { get; set; }

    public TerminatedDocument? Terminated { get; set; }
}

internal sealed class TerminatedDocument
{
    public int ExitCode { get; set; }

    public int Signal { get; set; }

    public string? Reason { get; set; }

    public string? Message { get; set; }

    public DateTimeOffset? StartedAt { get; set; }

    public DateTimeOffset? FinishedAt { get; set; }

    [JsonPropertyName("containerID")]
    public string? ContainerId { get; set; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(PodDocument))]
internal sealed partial class PodJson : JsonSerializerContext;
