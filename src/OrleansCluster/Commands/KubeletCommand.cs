using System.CommandLine;
using OrleansCluster.Hosting;
using OrleansCluster.Kubelet.Nodes;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster kubelet`: node agents in a process of their own.</summary>
internal static class KubeletCommand
{
    public static Command Create()
    {
        var join = new Option<DirectoryInfo>("--join")
        {
            Description = "Data folder of the cluster to join, on this machine ('orleanscluster dev --nodes 0 --data DIR').",
            DefaultValueFactory = _ => new DirectoryInfo(".cluster"),
        };
        var cluster = new ClusterAddressOptions(gateways: true);
        var names = new Option<string[]>("--name")
        {
            Description = "Name of the node; may be given several times. Default: the machine's name.",
            DefaultValueFactory = _ => [Environment.MachineName.ToLowerInvariant()],
        };
        var count = new Option<int>("--nodes") { Description = "This many nodes, the name with a number each, instead of one (for hollow ones).", DefaultValueFactory = _ => 0 };
        count.Validators.Add(result => RoleOptions.Range(result, 0, 10_000));
        var data = new Option<DirectoryInfo?>("--data") { Description = "Folder of pki/ (with --gateway or --redis) and of the nodes' files. Default: the folder of --join." };
        var runtime = new Option<NodeRuntime>("--runtime") { Description = "docker: real containers. hollow: simulated ones.", DefaultValueFactory = _ => NodeRuntime.Docker };
        var address = RoleOptions.Address("--address", "Address of the nodes: what they announce, and where their HTTPS endpoint listens.");
        var port = RoleOptions.Port("--port", "Port of the nodes' HTTPS endpoint (0: any free one).", 0);
        var verbosity = RoleOptions.Verbosity();
        var health = new HealthOptions();
        var command = new Command("kubelet", "Run node agents that join a cluster. Their pods live on when either process ends.")
        {
            join, names, count, data, runtime, address, port, verbosity,
        };
        cluster.AddTo(command);
        health.AddTo(command);
        command.SetAction((parsed, cancellationToken) => RoleOptions.RunAsync(
            () =>
            {
                var local = parsed.GetRequiredValue(join).FullName;
                var folder = parsed.GetValue(data)?.FullName ?? local;
                var remote = cluster.IsGiven(parsed);
                return KubeletHost.Build(
                    remote ? folder : local,
                    remote ? cluster.Read(parsed) : KubeletHost.Local(local),
                    options =>
                    {
                        if (parsed.GetValue(count) is > 0 and var nodes)
                        {
                            options.NodeNamePrefix = parsed.GetRequiredValue(names)[0] + "-";
                            options.NodeCount = nodes;
                        }
                        else
                        {
                            foreach (var name in parsed.GetRequiredValue(names))
                                options.NodeNames.Add(name);
                        }
                        options.Runtime = parsed.GetValue(runtime);
                        options.DataDirectory = folder;
                        options.NodeAddress = options.ListenAddress = parsed.GetRequiredValue(address);
                        options.Port = parsed.GetValue(port);
                    },
                    parsed.GetValue(verbosity),
                    health.Read(parsed));
            },
            cancellationToken));
        return command;
    }
}
