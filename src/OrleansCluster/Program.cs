using System.CommandLine;
using OrleansCluster.Commands;

var root = new RootCommand("A Kubernetes-compatible cluster of Orleans grains. kubectl and every other Kubernetes client work against it.")
{
    DevCommand.Create(),
    KubeletCommand.Create(),
};
return await root.Parse(args).InvokeAsync();
