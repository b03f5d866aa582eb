using System.Net;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Runtime;

/// <summary>A node of its own on the real engine. Each gets a subnet that no other test and no cluster uses.</summary>
internal sealed class DockerNode : IAsyncDisposable
{
    public const string Image = "busybox:local";

    private static int _subnets;

    private DockerNode(DockerEngine engine, DockerRuntime runtime, IPodNetwork network, IPNetwork subnet) =>
        (Engine, Runtime, Network, Subnet) = (engine, runtime, network, subnet);

    public DockerEngine Engine { get; }

    public DockerRuntime Runtime { get; }

    public IPodNetwork Network { get; }

    public IPNetwork Subnet { get; }

    public static string NewCluster() => "test-" + Guid.NewGuid().ToString("N")[..8];

    /// <summary>Starts it, or skips the test where there is no engine or image.</summary>
    public static async Task<DockerNode> StartAsync(IPodNetwork? network = null, string? cluster = null, IPNetwork? subnet = null)
    {
        var stop = TestContext.Current.CancellationToken;
        var engine = new DockerEngine(new DockerEngineOptions(), TimeProvider.System);
        try
        {
            await engine.GetVersionAsync(stop);
        }
        catch (RuntimeException e)
        {
            engine.Dispose();
            Assert.Skip("no Docker Engine: " + e.Message);
        }

        // The process id keeps parallel runs on one machine apart: /26 subnets of 10.250.0.0/16.
        var index = (Environment.ProcessId * 31 + Interlocked.Increment(ref _subnets)) % 1024;
        var used = subnet ?? IPNetwork.Parse($"10.250.{index / 4}.{index % 4 * 64}/26");
        network ??= await PodNetworks.ChooseAsync(
            engine,
            new RoutedPodNetworkOptions { Subnet = used, ClusterCidr = IPNetwork.Parse("10.250.0.0/16") },
            NullLoggerFactory.Instance,
            stop);
        var runtime = new DockerRuntime(
            engine,
            new DockerRuntimeOptions { Cluster = cluster ?? NewCluster(), NodeName = "battery" },
            network,
            TimeProvider.System,
            NullLogger<DockerRuntime>.Instance);
        if (await runtime.Images.FindAsync(Image, stop) is null)
        {
            engine.Dispose();
            Assert.Skip($"the image {Image} is missing");
        }

        await runtime.PrepareAsync(stop);
        return new DockerNode(engine, runtime, network, used);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var container in await Runtime.ListContainersAsync(CancellationToken.None))
        {
            await Runtime.RemoveContainerAsync(container.Id, CancellationToken.None);
        }

        foreach (var sandbox in await Runtime.ListSandboxesAsync(CancellationToken.None))
        {
            await Runtime.RemoveSandboxAsync(sandbox.Id, CancellationToken.None);
        }

        if (OperatingSystem.IsLinux() && Network is RoutedPodNetwork routed)
        {
            await routed.CleanupHostAsync(CancellationToken.None);
        }

        await Runtime.DisposeAsync();
        Engine.Dispose();
    }

    public static ContainerSpec Shell(PodIdentity pod, string name, string script) => new()
    {
        Pod = pod,
        Name = name,
        Image = Image,
        Command = ["sh", "-c", script],
    };
}
