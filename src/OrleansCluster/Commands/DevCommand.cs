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
        var data = RoleOptions.Data("Folder of all state. It is created if it does not exist.");
        var port = RoleOptions.Port("--port", "Port of the API (0: any free one).", 6443);
        var address = RoleOptions.Address("--address", "Address the API listens on. Anything but loopback lets the network try its credentials.");
        var nodes = new Option<int>("--nodes") { Description = "Number of nodes, each with its own pod subnet.", DefaultValueFactory = _ => 1 };
        var runtime = new Option<NodeRuntime>("--runtime")
        {
            Description = "docker: real containers. hollow: simulated ones, thousands of nodes in one process.",
            DefaultValueFactory = _ => NodeRuntime.Docker,
        };
        var times = new ControlPlaneTimes();
        var noProxy = new Option<bool>("--no-proxy") { Description = "Do not run the service proxy: no cluster IPs and node ports on this machine." };
        var gateway = RoleOptions.Port("--gateway-port", "Loopback port for node agents of other processes (0: any free one).", 0);
        var verbosity = RoleOptions.Verbosity();
        nodes.Validators.Add(result => RoleOptions.Range(result, 0, 32_768));

        var health = new HealthOptions();
        var dashboard = RoleOptions.Dashboard();
        var command = new Command("dev", "Run a whole cluster in this process: API, control plane, nodes and service proxy.")
        {
            data, port, address, nodes, runtime, noProxy, gateway, verbosity,
        };
        times.AddTo(command);
        health.AddTo(command);
        command.Options.Add(dashboard);
        command.SetAction((parsed, cancellationToken) => RoleOptions.RunAsync(
            () => ClusterHost.Build(new ClusterHostOptions
            {
                DataDirectory = parsed.GetRequiredValue(data).FullName,
                Endpoint = new IPEndPoint(parsed.GetRequiredValue(address), parsed.GetValue(port)),
                Nodes = parsed.GetValue(nodes),
                Runtime = parsed.GetValue(runtime),
                ServiceProxy = !parsed.GetValue(noProxy) && parsed.GetValue(runtime) == NodeRuntime.Docker,
                GatewayPort = parsed.GetValue(gateway),
                LogLevel = parsed.GetValue(verbosity),
                Health = health.Read(parsed),
                Dashboard = parsed.GetValue(dashboard),
                ConfigureServices = services => services.AddHostedService<QuietCollector>(),
                ConfigureControlPlane = controlPlane =>
                {
                    times.Apply(parsed, controlPlane);
                    if (parsed.GetValue(nodes) > 250)
                        controlPlane.PodCidr = "10.128.0.0/9"; // 32,768 subnets of 254 pods; the default has 256.
                },
            }),
            cancellationToken));
        return command;
    }
}
