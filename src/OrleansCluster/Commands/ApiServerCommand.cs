using System.CommandLine;
using System.Net;
using OrleansCluster.Hosting;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster apiserver`: one API server of a cluster on Redis.</summary>
internal static class ApiServerCommand
{
    public static Command Create()
    {
        var data = RoleOptions.Data("Folder of pki/, token and kubeconfig. All API servers of a cluster share its contents.");
        var cluster = new ClusterAddressOptions(gateways: false);
        var address = RoleOptions.Address("--address", "Address the API listens on. Anything but loopback lets the network try its credentials.");
        var port = RoleOptions.Port("--port", "Port of the API (0: any free one).", 6443);
        var names = new Option<string[]>("--tls-name") { Description = "Further name or address in the serving certificate; may be given several times.", DefaultValueFactory = _ => [] };
        var url = new Option<Uri?>("--public-url")
        {
            Description = "URL of the API in the kubeconfig, e.g. that of a load balancer. Default: this server's own.",
            CustomParser = result => Uri.TryCreate(result.Tokens[0].Value, UriKind.Absolute, out var parsed) ? parsed : RoleOptions.Fail<Uri>(result, "is not a URL"),
        };
        var reuse = new Option<bool>("--reuse-port") { Description = "Share the port with other API servers of this machine (Linux)." };
        var connections = RoleOptions.Count("--max-connections", "Most connections open at once; further ones are closed at once (0: no limit).", 10_000);
        var verbosity = RoleOptions.Verbosity();
        var health = new HealthOptions();
        var dashboard = RoleOptions.Dashboard();
        var command = new Command("apiserver", "Run one API server of a cluster. Any number of them may stand behind a load balancer.")
        {
            data, address, port, names, url, reuse, connections, verbosity,
        };
        cluster.AddTo(command);
        health.AddTo(command);
        command.Options.Add(dashboard);
        command.SetAction((parsed, cancellationToken) => RoleOptions.RunAsync(
            () => ApiServerHost.Build(new ApiServerHostOptions
            {
                DataDirectory = parsed.GetRequiredValue(data).FullName,
                Cluster = cluster.Read(parsed),
                Endpoint = new IPEndPoint(parsed.GetRequiredValue(address), parsed.GetValue(port)),
                TlsNames = parsed.GetRequiredValue(names),
                PublicUrl = parsed.GetValue(url),
                ReusePort = parsed.GetValue(reuse),
                MaxConnections = parsed.GetValue(connections),
                LogLevel = parsed.GetValue(verbosity),
                Health = health.Read(parsed),
                Dashboard = parsed.GetValue(dashboard),
                ConfigureServices = services => services.AddHostedService<QuietCollector>(),
            }),
            cancellationToken));
        return command;
    }
}
