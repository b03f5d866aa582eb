using System.CommandLine;
using System.Net;
using OrleansCluster.Hosting;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster silo`: one silo of a cluster on Redis.</summary>
internal static class SiloCommand
{
    /// <summary>The largest network for pods: 32,768 subnets of 254; the control plane's own default has 256.</summary>
    private const string LargePodCidr = "10.128.0.0/9";

    public static Command Create()
    {
        var data = RoleOptions.Data("Folder that holds pki/. Silos and API servers of a cluster share its contents.");
        var cluster = new ClusterAddressOptions(gateways: false);
        var advertise = new Option<string>("--advertise")
        {
            Description = "Name or address under which the other processes reach this silo.",
            DefaultValueFactory = _ => IPAddress.Loopback.ToString(),
        };
        var siloPort = RoleOptions.Port("--silo-port", "Port for the other silos.", 11_111);
        var gatewayPort = RoleOptions.Port("--gateway-port", "Port for API servers, nodes, proxies and programs on the SDK.", 30_000);
        var times = new ControlPlaneTimes();
        var podCidr = new Option<string>("--pod-cidr") { Description = $"Network of the pods; {LargePodCidr} has room for 32,768 nodes.", DefaultValueFactory = _ => "10.244.0.0/16" };
        var verbosity = RoleOptions.Verbosity();
        var health = new HealthOptions();
        var dashboard = RoleOptions.Dashboard();
        var command = new Command("silo", "Run one silo of a cluster: grains, controllers and a scheduler worker. Any number of them are one control plane.")
        {
            data, advertise, siloPort, gatewayPort, podCidr, verbosity,
        };
        cluster.AddTo(command);
        times.AddTo(command);
        health.AddTo(command);
        command.Options.Add(dashboard);
        command.SetAction((parsed, cancellationToken) => RoleOptions.RunAsync(
            () => SiloHost.Build(new SiloHostOptions
            {
                DataDirectory = parsed.GetRequiredValue(data).FullName,
                Cluster = cluster.Read(parsed),
                Advertise = parsed.GetRequiredValue(advertise),
                SiloPort = parsed.GetValue(siloPort),
                GatewayPort = parsed.GetValue(gatewayPort),
                LogLevel = parsed.GetValue(verbosity),
                Health = health.Read(parsed),
                Dashboard = parsed.GetValue(dashboard),
                ConfigureServices = services => services.AddHostedService<QuietCollector>(),
                ConfigureControlPlane = controlPlane =>
                {
                    times.Apply(parsed, controlPlane);
                    controlPlane.PodCidr = parsed.GetRequiredValue(podCidr);
                },
            }),
            cancellationToken));
        return command;
    }
}
