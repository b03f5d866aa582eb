using System.CommandLine;
using OrleansCluster.Hosting;
using OrleansCluster.Proxy;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster proxy`: the service proxy of this machine.</summary>
internal static class ProxyCommand
{
    public static Command Create()
    {
        var data = RoleOptions.Data("Folder that holds pki/.");
        var cluster = new ClusterAddressOptions(gateways: true);
        var names = new Option<string[]>("--node-name")
        {
            Description = "Node of this machine, for services with a local traffic policy; may be given several times.",
            DefaultValueFactory = _ => [],
        };
        var mode = new Option<ServiceProxyMode>("--mode")
        {
            Description = "Auto: kernel rules where possible. Nftables: kernel rules. UserSpace: listeners in this process.",
            DefaultValueFactory = _ => ServiceProxyMode.Auto,
        };
        var remove = new Option<bool>("--remove-on-stop") { Description = "Remove kernel rules and routes at the end; else services work on while the proxy is replaced." };
        var verbosity = RoleOptions.Verbosity();
        var health = new HealthOptions();
        var command = new Command("proxy", "Run the service proxy: cluster IPs and node ports of this machine.") { data, names, mode, remove, verbosity };
        cluster.AddTo(command);
        health.AddTo(command);
        command.SetAction((parsed, cancellationToken) => RoleOptions.RunAsync(
            () => ProxyHost.Build(
                parsed.GetRequiredValue(data).FullName,
                cluster.Read(parsed),
                proxy =>
                {
                    proxy.Mode = parsed.GetValue(mode);
                    proxy.RemoveOnStop = parsed.GetValue(remove);
                    foreach (var name in parsed.GetRequiredValue(names))
                        proxy.NodeNames.Add(name);
                },
                parsed.GetValue(verbosity),
                health.Read(parsed)),
            cancellationToken));
        return command;
    }
}
