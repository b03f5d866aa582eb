using System.Net;
using System.Net.Sockets;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Tests.Runtime;

namespace OrleansCluster.Kubelet.Tests.Network;

public sealed class PodSubnetTests
{
    [Fact]
    public void Reserve_gives_every_usable_address_once_and_then_fails()
    {
        var subnet = new PodSubnet(IPNetwork.Parse("10.1.2.0/29"));
        Assert.Equal(IPAddress.Parse("10.1.2.1"), subnet.Gateway);
        var given = Enumerable.Range(0, 5).Select(index => subnet.Reserve("pod" + index).ToString()).ToList();
        Assert.Equal(["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"], given);
        var failure = Assert.Throws<RuntimeException>(() => subnet.Reserve("one more"));
        Assert.Equal(RuntimeFailure.Network, failure.Failure);
        Assert.True(subnet.Release("pod2"));
        Assert.Equal("10.1.2.4", subnet.Reserve("one more").ToString());
    }

    [Fact]
    public void Reserve_again_gives_the_same_and_a_released_address_rests()
    {
        var subnet = new PodSubnet(IPNetwork.Parse("10.1.2.0/24"));
        var first = subnet.Reserve("a");
        Assert.Equal(first, subnet.Reserve("a"));
        subnet.Release("a");
        Assert.NotEqual(first, subnet.Reserve("b"));
        Assert.False(subnet.Release("a"));
    }

    [Fact]
    public void Restore_keeps_an_address_from_others()
    {
        var subnet = new PodSubnet(IPNetwork.Parse("10.1.2.0/29"));
        subnet.Restore("old", IPAddress.Parse("10.1.2.3"));
        subnet.Restore("foreign", IPAddress.Parse("10.9.9.9"));
        var given = Enumerable.Range(0, 4).Select(index => subnet.Reserve("pod" + index).ToString()).Order().ToList();
        Assert.Equal(["10.1.2.2", "10.1.2.4", "10.1.2.5", "10.1.2.6"], given);
        Assert.Equal("10.1.2.3", subnet.Reserve("old").ToString());
    }
}

public sealed class PodFilesTests
{
    [Fact]
    public void Hosts_names_the_pod_and_its_aliases()
    {
        var text = PodFiles.Hosts([IPAddress.Parse("10.1.2.3")], "web-0", "web-0.web.ns.svc.cluster.local", [new("1.2.3.4", ["a", "b"])]);
        Assert.Contains("10.1.2.3\tweb-0.web.ns.svc.cluster.local\tweb-0\n", text, StringComparison.Ordinal);
        Assert.EndsWith("1.2.3.4\ta\tb\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public void ResolvConf_of_ClusterFirst_with_a_dnsConfig()
    {
        var dns = PodDns.ClusterFirst("10.96.0.10", "ns").Merge(["8.8.8.8"], ["example.org"], ["ndots:2", "edns0"]);
        Assert.Equal(
            "search ns.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 10.96.0.10\nnameserver 8.8.8.8\noptions ndots:2 edns0\n",
            PodFiles.ResolvConf(dns));
    }
}

/// <summary>Routed pods on the real kernel.</summary>
[Trait("Category", "Docker")]
public sealed class RoutedPodNetworkTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Pods_of_two_nodes_reach_each_other_and_the_host_reaches_both_under_their_addresses()
    {
        await using var first = await StartAsync();
        await using var second = await DockerNode.StartAsync();
        var (_, serverAddress) = await ServeAsync(first);
        var client = await second.Runtime.StartSandboxAsync((await second.Runtime.CreateSandboxAsync(SpecOf(NewPod()), Stop)).Id, Stop);

        var page = await DockerRuntimeTests.FetchAsync(async () =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(serverAddress, 8080, Stop);
            return new NetworkStream(socket, ownsSocket: true);
        });
        Assert.EndsWith("page\n", page, StringComparison.Ordinal);

        var pod = client.Pod;
        var id = await second.Runtime.CreateContainerAsync(
            client.Id,
            DockerNode.Shell(pod, "client", $"ip -4 addr show eth0 | grep inet; wget -qO- http://{serverAddress}:8080/cgi-bin/who"),
            Stop);
        await second.Runtime.StartContainerAsync(id, Stop);
        using var output = new MemoryStream();
        await second.Runtime.ReadLogsAsync(id, new LogQuery { Follow = true }, output, output, Stop);
        var text = System.Text.Encoding.UTF8.GetString(output.ToArray());
        Assert.Contains($"inet {client.PodIP}/32", text, StringComparison.Ordinal);
        Assert.Matches($@"from .*{client.PodIP}\b", text); // No translation between pods.
    }

    [Fact]
    public async Task HostPort_leads_into_the_pod_until_it_is_removed()
    {
        await using var node = await StartAsync();
        var port = FreePort();
        var (sandbox, _) = await ServeAsync(node, new HostPort(port, 8080));
        var address = HostAddress();
        var page = await DockerRuntimeTests.FetchAsync(async () =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(address, port, Stop);
            return new NetworkStream(socket, ownsSocket: true);
        });
        Assert.EndsWith("page\n", page, StringComparison.Ordinal);

        await node.Runtime.RemoveSandboxAsync(sandbox.Id, Stop);
        using var after = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await Assert.ThrowsAsync<SocketException>(async () => await after.ConnectAsync(address, port, Stop));
    }

    [Fact]
    public async Task Restarted_runtime_finds_pods_and_keeps_their_addresses()
    {
        var cluster = DockerNode.NewCluster();
        await using var before = await DockerNode.StartAsync(cluster: cluster);
        if (before.Network.EngineAssignsAddress)
        {
            Assert.Skip("no routed pods here");
        }

        var pod = NewPod();
        var sandbox = await before.Runtime.CreateSandboxAsync(SpecOf(pod), Stop);
        await before.Runtime.StartSandboxAsync(sandbox.Id, Stop);

        await using var after = await DockerNode.StartAsync(cluster: cluster, subnet: before.Subnet);
        var found = Assert.Single(await after.Runtime.ListSandboxesAsync(Stop));
        Assert.Equal((sandbox.Id, pod, sandbox.PodIP, true), (found.Id, found.Pod, found.PodIP, found.Running));
        var next = await after.Runtime.CreateSandboxAsync(SpecOf(NewPod()), Stop);
        Assert.NotEqual(sandbox.PodIP, next.PodIP);
    }

    private static PodIdentity NewPod() => new("network", "p", Guid.NewGuid().ToString());

    private static SandboxSpec SpecOf(PodIdentity pod, params HostPort[] ports) => new() { Pod = pod, Hostname = "p", HostPorts = ports };

    private static async Task<DockerNode> StartAsync()
    {
        var node = await DockerNode.StartAsync();
        if (node.Network.EngineAssignsAddress)
        {
            await node.DisposeAsync();
            Assert.Skip("no routed pods here");
        }

        return node;
    }

    private static async Task<(SandboxStatus Sandbox, IPAddress Address)> ServeAsync(DockerNode node, params HostPort[] ports)
    {
        var pod = NewPod();
        var sandbox = await node.Runtime.CreateSandboxAsync(SpecOf(pod, ports), Stop);
        sandbox = await node.Runtime.StartSandboxAsync(sandbox.Id, Stop);
        const string script = """
            mkdir -p /www/cgi-bin; echo page >/www/index.html
            printf '#!/bin/sh\necho; echo from $REMOTE_ADDR\n' >/www/cgi-bin/who; chmod +x /www/cgi-bin/who
            httpd -h /www -p 8080; echo ready; sleep 1000
            """;
        var id = await node.Runtime.CreateContainerAsync(sandbox.Id, DockerNode.Shell(pod, "server", script), Stop);
        await node.Runtime.StartContainerAsync(id, Stop);
        await ContainerRuntimeBattery.FirstOutputAsync(node.Runtime, id);
        return (sandbox, sandbox.PodIP!);
    }

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <summary>An address of this machine that is not the loopback's.</summary>
    private static IPAddress HostAddress() => System.Net.NetworkInformation.NetworkInterface.GetAllNetworkInterfaces()
        .Where(link => link.NetworkInterfaceType != System.Net.NetworkInformation.NetworkInterfaceType.Loopback)
        .SelectMany(link => link.GetIPProperties().UnicastAddresses)
        .Select(unicast => unicast.Address)
        .First(address => address.AddressFamily == AddressFamily.InterNetwork);
}
