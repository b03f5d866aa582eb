using System.CommandLine;
using OrleansCluster.Commands;

var root = new RootCommand("A Kubernetes-compatible cluster of Orleans grains. kubectl and every other Kubernetes client work against it.")
{
    DevCommand.Create(),
    SiloCommand.Create(),
    ApiServerCommand.Create(),
    KubeletCommand.Create(),
    ProxyCommand.Create(),
    PkiCommand.Create(),
    StoreCommand.Create(),
};
// The host ends on SIGTERM and Ctrl+C by itself, in order and with exit code 0; the parser's own handler would call that a kill (143).
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });
