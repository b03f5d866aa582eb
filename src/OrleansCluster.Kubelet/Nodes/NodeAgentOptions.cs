using System.Net;
using System.Security.Cryptography.X509Certificates;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>What runs the containers of a node.</summary>
public enum NodeRuntime
{
    /// <summary>A Docker Engine.</summary>
    Docker,

    /// <summary>Nothing: containers are simulated, for nodes without an engine and for scale tests.</summary>
    Hollow,
}

/// <summary>The node agents of one process. They share one Orleans client, one HTTPS endpoint and, with Docker, one engine.</summary>
public sealed class NodeAgentOptions
{
    /// <summary>Tells clusters on one container engine apart. Default <c>default</c>.</summary>
    public string Cluster { get; set; } = "default";

    /// <summary>How many nodes this process is, 1 to 10,000; not used when <see cref="NodeNames"/> has names. Default 1.</summary>
    public int NodeCount { get; set; } = 1;

    /// <summary>Names of the nodes. Empty (the default): `PREFIX1`, `PREFIX2`, … by <see cref="NodeNamePrefix"/>.</summary>
    public IList<string> NodeNames { get; } = [];

    /// <summary>Prefix of numbered names. Default <c>node-</c>.</summary>
    public string NodeNamePrefix { get; set; } = "node-";

    /// <summary>What runs the containers. Default Docker.</summary>
    public NodeRuntime Runtime { get; set; } = NodeRuntime.Docker;

    /// <summary>
    /// Directory of the agents' state: pods' specs and volumes, in `nodes/NODE/` below it. Required with Docker; hollow nodes keep nothing. An agent
    /// that is started with another directory does not find what the last one kept, though it still adopts running containers.
    /// </summary>
    public string DataDirectory { get; set; } = "";

    /// <summary>
    /// The address of the nodes in `status.addresses` and `status.hostIP`. Default loopback, which is right while everything runs on one machine. It
    /// must be one that API servers reach <see cref="ListenAddress"/> by, and be in the server certificate.
    /// </summary>
    public IPAddress NodeAddress { get; set; } = IPAddress.Loopback;

    /// <summary>Pod subnets by node name (IPv4, at most /30). A node without one gets its subnet from the control plane (`spec.podCIDR`).</summary>
    public IDictionary<string, IPNetwork> PodSubnets { get; } = new Dictionary<string, IPNetwork>(StringComparer.Ordinal);

    /// <summary>Labels of all nodes besides the standard ones.</summary>
    public IDictionary<string, string> Labels { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Most pods per node, 1 to 1,000. Default 110, as Kubernetes has it.</summary>
    public int MaxPods { get; set; } = 110;

    /// <summary>Processors of each node; 0 (the default) means those of the engine's machine, divided by the number of nodes on it.</summary>
    public int Cpus { get; set; }

    /// <summary>Memory of each node, bytes; 0 (the default) means that of the engine's machine, divided by the number of nodes on it.</summary>
    public long MemoryBytes { get; set; }

    /// <summary>Thousandths of a processor that pods cannot ask for (`capacity` less `allocatable`). Default 0.</summary>
    public long ReservedCpuMillis { get; set; }

    /// <summary>Bytes of memory that pods cannot ask for. Default 0.</summary>
    public long ReservedMemoryBytes { get; set; }

    /// <summary>Below so many bytes of available memory the node reports MemoryPressure. Default 100 MiB, as Kubernetes has it.</summary>
    public long MemoryPressureBytes { get; set; } = 100L << 20;

    /// <summary>
    /// Below so many free bytes on the data directory's disk the node reports DiskPressure. Default 512 MiB: Kubernetes' 10 % would make a large,
    /// well-filled disk of a developer's machine unusable.
    /// </summary>
    public long DiskPressureBytes { get; set; } = 512L << 20;

    /// <summary>Where the HTTPS endpoint (logs, exec, attach, port-forward) listens. Default loopback.</summary>
    public IPAddress ListenAddress { get; set; } = IPAddress.Loopback;

    /// <summary>Its port, 0 for a free one. Default 10250.</summary>
    public int Port { get; set; } = 10250;

    /// <summary>
    /// Its certificate with private key, issued by the cluster's authority for the node address. Null: there is no endpoint, so no logs and no exec.
    /// </summary>
    public Func<X509Certificate2>? ServerCertificate { get; set; }

    /// <summary>The cluster's authority: only its client certificates are let in. Required with <see cref="ServerCertificate"/>.</summary>
    public Func<X509Certificate2>? ClientAuthority { get; set; }

    /// <summary>
    /// Names (CN) of client certificates that are let in; those of the group `system:masters` (O) always are. Default: the API server's client.
    /// </summary>
    public IList<string> AllowedClients { get; } = ["kube-apiserver-kubelet-client"];

    /// <summary>Address of the cluster's DNS for `dnsPolicy: ClusterFirst`; null (the default) gives pods the node's own resolv.conf.</summary>
    public IPAddress? ClusterDns { get; set; }

    /// <summary>The cluster's DNS domain. Default <c>cluster.local</c>.</summary>
    public string ClusterDomain { get; set; } = "cluster.local";

    /// <summary>How to reach the Docker Engine.</summary>
    public DockerEngineOptions Docker { get; set; } = new();

    /// <summary>How long a simulated start takes. Default 0.</summary>
    public TimeSpan HollowStartLatency { get; set; }

    /// <summary>
    /// Longest wait for an answer of the control plane, 0.5 s to 1 min. Default 5 s: shorter repeats work that was only slow, longer notices a dead
    /// silo later.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Most pod statuses written at once by all nodes of the process, 1 to 1,000. Default 32.</summary>
    public int StatusParallelism { get; set; } = 32;

    /// <summary>How often the node's own state is compared with what was reported. Default 10 s.</summary>
    public TimeSpan NodeCheckInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How often the node's status is written even without a change. Default 5 min.</summary>
    public TimeSpan NodeStatusInterval { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>How often the engine is listed to find what events did not tell, 1 s to 1 h. Default 1 min.</summary>
    public TimeSpan RelistInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Seed of the jitter of retries; null (the default) for an unpredictable one. A fixed seed replays a run.</summary>
    public int? Seed { get; set; }

    internal IReadOnlyList<string> Names() => NodeNames.Count > 0
        ? [.. NodeNames]
        : [.. Enumerable.Range(1, NodeCount).Select(number => NodeNamePrefix + number.ToString(System.Globalization.CultureInfo.InvariantCulture))];

    /// <summary>All that is wrong, each with the option's name, its value and what to do.</summary>
    internal IReadOnlyList<string> Validate()
    {
        var errors = new List<string>();
        if (NodeNames.Count == 0 && NodeCount is < 1 or > 10_000)
            errors.Add($"NodeCount is {NodeCount}: give a number from 1 to 10000.");
        var names = NodeCount is < 1 or > 10_000 && NodeNames.Count == 0 ? [] : Names();
        foreach (var name in names)
        {
            if (!IsNodeName(name))
                errors.Add($"NodeNames has \"{name}\": use lower-case letters, digits, '-' and '.', at most 253 characters.");
        }
        if (names.Distinct(StringComparer.Ordinal).Count() != names.Count)
            errors.Add("NodeNames has a name twice: every node needs its own.");
        if (Runtime == NodeRuntime.Docker && DataDirectory.Length == 0)
            errors.Add("DataDirectory is empty: name a directory for pods' specs and volumes.");
        foreach (var (name, subnet) in PodSubnets)
        {
            if (!names.Contains(name))
                errors.Add($"PodSubnets names node \"{name}\", which is none of {string.Join(", ", names.Take(10))}.");
            if (subnet.BaseAddress.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork || subnet.PrefixLength > 30)
                errors.Add($"PodSubnets has {subnet} for {name}: give an IPv4 subnet of at most 30 bits, for instance 10.244.1.0/24.");
        }
        if (MaxPods is < 1 or > 1000)
            errors.Add($"MaxPods is {MaxPods}: give a number from 1 to 1000.");
        if (Port is < 0 or > 65535)
            errors.Add($"Port is {Port}: give a port from 0 (any free one) to 65535.");
        if (ServerCertificate is not null && ClientAuthority is null)
            errors.Add("ClientAuthority is missing: with ServerCertificate, name the authority whose client certificates are let in.");
        if (CallTimeout < TimeSpan.FromSeconds(0.5) || CallTimeout > TimeSpan.FromMinutes(1))
            errors.Add($"CallTimeout is {CallTimeout}: give a time from 0.5 s to 1 min.");
        if (StatusParallelism is < 1 or > 1000)
            errors.Add($"StatusParallelism is {StatusParallelism}: give a number from 1 to 1000.");
        if (RelistInterval < TimeSpan.FromSeconds(1) || RelistInterval > TimeSpan.FromHours(1))
            errors.Add($"RelistInterval is {RelistInterval}: give a time from 1 s to 1 h.");
        if (NodeCheckInterval <= TimeSpan.Zero || NodeStatusInterval < NodeCheckInterval)
            errors.Add($"NodeStatusInterval is {NodeStatusInterval}, NodeCheckInterval {NodeCheckInterval}: the check must be positive and not longer.");
        return errors;
    }

    private static bool IsNodeName(string name) =>
        name.Length is > 0 and <= 253
        && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '.')
        && char.IsAsciiLetterOrDigit(name[0]) && char.IsAsciiLetterOrDigit(name[^1]);
}
