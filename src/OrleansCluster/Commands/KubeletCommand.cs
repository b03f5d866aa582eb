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
        var names = new Option<string[]>("--name")
        {
            Description = "Name of the node; may be given several times. Default: the machine's name.",
            DefaultValueFactory = _ => [Environment.MachineName.ToLowerInvariant()],
        };
        var data = new Option<DirectoryInfo?>("--data") { Description = "Folder of the nodes' files. Default: the folder of --join." };
        var runtime = new Option<NodeRuntime>("--runtime") { Description = "docker: real containers. hollow: simulated ones.", DefaultValueFactory = _ => NodeRuntime.Docker };
        var port = new Option<int>("--port") { Description = "Port of the nodes' HTTPS endpoint on loopback (0: any free one).", DefaultValueFactory = _ => 0 };
        var verbosity = new Option<LogLevel>("--log-level") { Description = "Least level of log lines.", DefaultValueFactory = _ => LogLevel.Information };
        var command = new Command("kubelet", "Run node agents that join a cluster of this machine. Their pods live on when either process ends.")
        {
            join, names, data, runtime, port, verbosity,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var cluster = parsed.GetRequiredValue(join).FullName;
            try
            {
                using var host = KubeletHost.Build(
                    cluster,
                    options =>
                    {
                        foreach (var name in parsed.GetRequiredValue(names))
                            options.NodeNames.Add(name);
                        options.Runtime = parsed.GetValue(runtime);
                        options.DataDirectory = parsed.GetValue(data)?.FullName ?? cluster;
                        options.Port = parsed.GetValue(port);
                    },
                    parsed.GetValue(verbosity));
                await host.RunAsync(cancellationToken);
                return 0;
            }
            catch (Exception error) when (StartFailure.Explain(error) is { } explanation)
            {
                await Console.Error.WriteLineAsync(explanation);
                return 1;
            }
        });
        return command;
    }
}
