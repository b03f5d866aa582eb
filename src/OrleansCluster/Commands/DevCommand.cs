using System.CommandLine;
using System.Net;
using OrleansCluster.Hosting;
using OrleansCluster.Kubelet.Nodes;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster dev`: the whole cluster in this process.</summary>
internal static class DevCommand
{
    public static Command Create()
    {
        var data = new Option<DirectoryInfo>("--data") { Description = "Folder of all state. It is created if it does not exist.", DefaultValueFactory = _ => new DirectoryInfo(".cluster") };
        var port = new Option<int>("--port") { Description = "Port of the API (0: any free one).", DefaultValueFactory = _ => 6443 };
        var address = new Option<IPAddress>("--address")
        {
            Description = "Address the API listens on. Anything but loopback lets the network try its credentials.",
            CustomParser = result => IPAddress.TryParse(result.Tokens[0].Value, out var parsed) ? parsed : Fail(result, "is not an IP address"),
            DefaultValueFactory = _ => IPAddress.Loopback,
        };
        var nodes = new Option<int>("--nodes") { Description = "Number of nodes, each with its own pod subnet.", DefaultValueFactory = _ => 1 };
        var runtime = new Option<NodeRuntime>("--runtime")
        {
            Description = "docker: real containers. hollow: simulated ones, thousands of nodes in one process.",
            DefaultValueFactory = _ => NodeRuntime.Docker,
        };
        var gracePeriod = new Option<double>("--node-monitor-grace-period")
        {
            Description = "Seconds without a heartbeat after which a node counts as lost.",
            DefaultValueFactory = _ => 50,
        };
        var heartbeat = new Option<double>("--node-heartbeat-interval") { Description = "Seconds between two heartbeats of a node.", DefaultValueFactory = _ => 10 };
        var eviction = new Option<double>("--default-eviction-delay")
        {
            Description = "Seconds a pod stays on a node that is not ready or unreachable before it is replaced elsewhere.",
            DefaultValueFactory = _ => 300,
        };
        var noProxy = new Option<bool>("--no-proxy") { Description = "Do not run the service proxy: no cluster IPs and node ports on this machine." };
        var gateway = new Option<int>("--gateway-port") { Description = "Loopback port for node agents of other processes (0: any free one).", DefaultValueFactory = _ => 0 };
        var verbosity = new Option<LogLevel>("--log-level") { Description = "Least level of log lines.", DefaultValueFactory = _ => LogLevel.Information };
        nodes.Validators.Add(result => Range(result, 0, 32_768));
        port.Validators.Add(result => Range(result, 0, 65_535));
        gateway.Validators.Add(result => Range(result, 0, 65_535));

        var command = new Command("dev", "Run a whole cluster in this process: API, control plane, nodes and service proxy.")
        {
            data, port, address, nodes, runtime, gracePeriod, heartbeat, eviction, noProxy, gateway, verbosity,
        };
        command.SetAction((parsed, cancellationToken) => RunAsync(
            new ClusterHostOptions
            {
                DataDirectory = parsed.GetRequiredValue(data).FullName,
                Endpoint = new IPEndPoint(parsed.GetRequiredValue(address), parsed.GetValue(port)),
                Nodes = parsed.GetValue(nodes),
                Runtime = parsed.GetValue(runtime),
                ServiceProxy = !parsed.GetValue(noProxy) && parsed.GetValue(runtime) == NodeRuntime.Docker,
                GatewayPort = parsed.GetValue(gateway),
                LogLevel = parsed.GetValue(verbosity),
                ConfigureServices = services => services.AddHostedService<QuietCollector>(),
                ConfigureControlPlane = controlPlane =>
                {
                    controlPlane.NodeMonitorGracePeriod = TimeSpan.FromSeconds(parsed.GetValue(gracePeriod));
                    controlPlane.NodeHeartbeatInterval = TimeSpan.FromSeconds(parsed.GetValue(heartbeat));
                    controlPlane.DefaultEvictionDelay = TimeSpan.FromSeconds(parsed.GetValue(eviction));
                    if (parsed.GetValue(nodes) > 250)
                        controlPlane.PodCidr = "10.128.0.0/9"; // 32,768 subnets of 254 pods; the default has 256.
                },
            },
            cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(ClusterHostOptions options, CancellationToken cancellationToken)
    {
        try
        {
            await using var app = ClusterHost.Build(options);
            await app.RunAsync(cancellationToken);
            return 0;
        }
        catch (Exception error) when (StartFailure.Explain(error) is { } explanation)
        {
            await Console.Error.WriteLineAsync(explanation);
            return 1;
        }
    }

    // Validators run for what could not be parsed too; that has its own message, so only a number is looked at here.
    private static void Range(System.CommandLine.Parsing.OptionResult result, int least, int most)
    {
        if (result.Tokens is [var token] && int.TryParse(token.Value, out var value) && (value < least || value > most))
            result.AddError($"{result.Option.Name} must be between {least} and {most}.");
    }

    private static IPAddress? Fail(System.CommandLine.Parsing.ArgumentResult result, string why)
    {
        result.AddError($"'{result.Tokens[0].Value}' {why}.");
        return null;
    }
}
