using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>Chooses how pods are connected on this machine.</summary>
public static partial class PodNetworks
{
    private const int NetAdmin = 12;
    private const int SysAdmin = 21;

    /// <summary>
    /// Routed links where they can work: Linux, the engine on this very machine and visible as a process, and the rights to the network
    /// (CAP_NET_ADMIN) and to other namespaces (CAP_SYS_ADMIN). Otherwise Docker's bridge. Says which and why in the log.
    /// </summary>
    public static async Task<IPodNetwork> ChooseAsync(
        DockerEngine engine,
        RoutedPodNetworkOptions options,
        ILoggerFactory loggers,
        CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(loggers);
        var logger = loggers.CreateLogger(typeof(PodNetworks));
        if (!OperatingSystem.IsLinux())
        {
            Log.Bridge(logger, "this is not Linux");
            return new DockerBridgeNetwork();
        }

        var obstacle = await FindObstacleAsync(engine, cancellationToken);
        if (obstacle is not null)
        {
            Log.Bridge(logger, obstacle);
            return new DockerBridgeNetwork();
        }

        Log.Routed(logger, options.Subnet);
        return new RoutedPodNetwork(options, loggers.CreateLogger<RoutedPodNetwork>());
    }

    private static async Task<string?> FindObstacleAsync(DockerEngine engine, CancellationToken cancellationToken)
    {
        var capabilities = DockerEngine.ReadCapabilities("self", "CapEff") ?? 0;
        if ((capabilities & (1ul << NetAdmin)) == 0 || (capabilities & (1ul << SysAdmin)) == 0)
        {
            return "this process lacks CAP_NET_ADMIN or CAP_SYS_ADMIN (run it as root)";
        }

        if (engine.FindProcess() == 0)
        {
            return "the engine is not on this machine, or this process cannot see its processes";
        }

        var version = await engine.GetVersionAsync(cancellationToken);
        var kernel = (await File.ReadAllTextAsync("/proc/sys/kernel/osrelease", cancellationToken)).Trim();
        return kernel == version.KernelVersion ? null : $"the engine runs on another kernel ({version.KernelVersion}, here {kernel})";
    }

    private static partial class Log
    {
        [LoggerMessage(EventId = 1, Level = LogLevel.Information, Message = "Pod network: routed links in {Subnet}")]
        public static partial void Routed(ILogger logger, System.Net.IPNetwork subnet);

        [LoggerMessage(EventId = 2, Level = LogLevel.Warning, Message = "Pod network: Docker's default bridge, because {Obstacle}; pods start slower and only reach pods of this engine")]
        public static partial void Bridge(ILogger logger, string obstacle);
    }
}
