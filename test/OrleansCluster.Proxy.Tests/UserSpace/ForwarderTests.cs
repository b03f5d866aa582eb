using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Rules;
using OrleansCluster.Proxy.Tests.Rules;
using OrleansCluster.Proxy.Tests.Scenarios;
using OrleansCluster.Proxy.UserSpace;

namespace OrleansCluster.Proxy.Tests.UserSpace;

/// <summary>What needs no namespace: servers and listeners on free ports of 127.0.0.1.</summary>
public sealed class ForwarderTests : IAsyncLifetime
{
    private readonly HostNetwork _network = new(TimeProvider.System);
    private readonly ServiceProxyOptions _options = new() { DrainTimeout = TimeSpan.FromSeconds(20), MaxConnections = 2, MaxUdpClients = 2 };
    private readonly List<NameServer> _servers = [];
    private Forwarder? _forwarder;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        _forwarder = new Forwarder(_network, _options, TimeProvider.System, NullLogger<Forwarder>.Instance);
        for (var i = 1; i <= 3; i++)
            _servers.Add(new NameServer(_network, $"pod{i}", i, IPAddress.Loopback, port: 0));
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _forwarder!.StopAsync(now.Token);
        _forwarder.Dispose();
        foreach (var server in _servers)
            await server.DisposeAsync();
    }

    [Fact]
    public async Task An_address_that_is_not_this_hosts_is_mapped_to_loopback()
    {
        var cluster = IPEndPoint.Parse("198.51.100.10:80");
        await _forwarder!.SyncAsync([Forward(cluster) with { MayMap = true }], Token);

        var mapped = _forwarder.Mapped[(cluster, ServiceProtocol.Tcp)];

        Assert.True(IPAddress.IsLoopback(mapped.Address));
        Assert.Equal(ProxyBattery.Turns(2), await Ask.NamesAsync(_network, mapped, 6, Token));
        await _forwarder.SyncAsync([], Token);
        Assert.Empty(_forwarder.Mapped);
    }

    [Fact]
    public async Task A_taken_port_is_reported_and_opened_when_it_is_free()
    {
        using var taken = Bound();
        taken.Listen();
        var address = (IPEndPoint)taken.LocalEndPoint!;
        Assert.False(await _forwarder!.SyncAsync([Forward(address)], Token));
        Assert.True(_forwarder.HasFailedListeners);

        taken.Dispose();
        Assert.True(await _forwarder.SyncAsync([Forward(address)], Token));

        Assert.False(_forwarder.HasFailedListeners);
        Assert.Equal(["pod1"], await Ask.NamesAsync(_network, address, 1, Token));
    }

    [Fact]
    public async Task Beyond_the_limit_connections_wait_and_are_served_later()
    {
        var address = await ListenAsync();
        using var first = await ConnectAsync(address);
        using var second = await ConnectAsync(address);
        Assert.NotEqual(0, await first.ReceiveAsync(new byte[64], Token));
        Assert.NotEqual(0, await second.ReceiveAsync(new byte[64], Token));

        var third = Ask.NamesAsync(_network, address, 1, Token);
        Assert.Equal(2, _forwarder!.ConnectionCount);
        Assert.False(third.IsCompleted);
        first.Dispose();

        Assert.Equal(["pod3"], await third);
    }

    [Fact]
    public async Task All_endpoints_refusing_resets_the_client()
    {
        var address = await ListenAsync();
        foreach (var server in _servers)
            await server.DisposeAsync();

        var reset = await Assert.ThrowsAsync<SocketException>(() => Ask.TcpAsync(_network, address, Token));

        // Depending on whether the client was still sending when the reset came.
        Assert.Contains(reset.SocketErrorCode, (SocketError[])[SocketError.ConnectionReset, SocketError.Shutdown, SocketError.NotConnected]);
    }

    [Fact]
    public async Task Stop_lets_an_open_connection_end_in_peace()
    {
        var address = await ListenAsync();
        using var client = await ConnectAsync(address);
        var buffer = new byte[64];
        Assert.NotEqual(0, await client.ReceiveAsync(buffer, Token));

        var stopping = _forwarder!.StopAsync(Token);
        await client.SendAsync("abc"u8.ToArray(), Token);
        Assert.Equal(3, await client.ReceiveAsync(buffer, Token));
        Assert.False(stopping.IsCompleted);
        client.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, await client.ReceiveAsync(buffer, Token));

        await stopping.WaitAsync(TimeSpan.FromSeconds(10), Token);
        Assert.Equal(0, _forwarder.ConnectionCount);
    }

    [Fact]
    public async Task A_large_transfer_arrives_whole_through_a_slow_reader()
    {
        const int Size = 8 * 1024 * 1024;
        var address = await ListenAsync();
        using var client = await ConnectAsync(address);
        var sending = Task.Run(async () =>
        {
            var chunk = new byte[64 * 1024];
            for (var sent = 0; sent < Size; sent += chunk.Length)
            {
                for (var at = 0; at < chunk.Length;)
                    at += await client.SendAsync(chunk.AsMemory(at), Token);
            }

            client.Shutdown(SocketShutdown.Send);
        }, Token);

        var total = 0;
        var buffer = new byte[1500];
        int count;
        while ((count = await client.ReceiveAsync(buffer, Token)) > 0)
            total += count;
        await sending;

        Assert.Equal(Size + "pod1 127.0.0.1\n".Length, total);
    }

    [Fact]
    public async Task More_datagram_clients_than_remembered_are_all_answered()
    {
        var cluster = IPEndPoint.Parse("198.51.100.10:53");
        var key = new ServicePortKey("default", "dns", "dns", ServiceProtocol.Udp);
        await _forwarder!.SyncAsync([Forward(cluster) with { Service = key, MayMap = true }], Token);
        var mapped = _forwarder.Mapped[(cluster, ServiceProtocol.Udp)];

        Assert.Equal(ProxyBattery.Turns(4), await Ask.NamesAsync(_network, mapped, 12, Token, udp: true));
    }

    [Fact]
    public void Balancer_affinity_expires_and_failed_endpoints_are_passed_over()
    {
        var time = new FakeTimeProvider();
        var balancer = new Balancer(time);
        var client = IPAddress.Parse("192.0.2.1");
        ImmutableArray<IPEndPoint> endpoints = [IPEndPoint.Parse("10.0.0.1:1"), IPEndPoint.Parse("10.0.0.2:1"), IPEndPoint.Parse("10.0.0.3:1")];
        balancer.Set(endpoints, TimeSpan.FromSeconds(10));

        Assert.Equal(endpoints[0], balancer.Next(client));
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.Equal(endpoints[0], balancer.Next(client));
        time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(endpoints[1], balancer.Next(client));
        Assert.Equal(endpoints[2], balancer.Next(client, new HashSet<IPEndPoint> { endpoints[1] }));
        Assert.Equal(endpoints[2], balancer.Next(client));
        Assert.Null(balancer.Next(client, endpoints.ToHashSet()));
    }

    [Fact]
    public void Plan_covers_cluster_ip_node_port_and_local_external_addresses()
    {
        var local = new[] { IPAddress.Loopback, IPAddress.Parse("192.0.2.1") };
        var rule = new ServiceRule
        {
            Key = new("default", "dns", "dns", ServiceProtocol.Udp),
            ClusterIPs = [IPAddress.Parse("10.96.0.2")],
            ExternalIPs = [IPAddress.Parse("192.0.2.1"), IPAddress.Parse("192.0.2.2")],
            Port = 53,
            NodePort = 30053,
            Endpoints = [IPEndPoint.Parse("10.0.0.1:53")],
            ExternalEndpoints = [],
        };

        Assert.Equal(["10.96.0.2:53"], ForwardPlan.For([rule], local).Select(static f => f.Listen).Texts());
        Assert.Equal(
            ["10.96.0.2:53", "192.0.2.1:53", "127.0.0.1:30053", "192.0.2.1:30053"],
            ForwardPlan.For([rule with { ExternalEndpoints = rule.Endpoints }], local).Select(static f => f.Listen).Texts());
        Assert.Equal(
            ["10.96.0.2:53", "192.0.2.1:53", "0.0.0.0:30053"],
            ForwardPlan.For([rule with { ExternalEndpoints = rule.Endpoints, Key = rule.Key with { Protocol = ServiceProtocol.Tcp } }], local)
                .Select(static f => f.Listen).Texts());
        Assert.Empty(ForwardPlan.For([rule with { Key = rule.Key with { Protocol = ServiceProtocol.Sctp } }], local));
    }

    [Fact]
    public async Task A_program_that_runs_too_long_is_killed_and_a_missing_one_is_a_result()
    {
        var late = await _network.RunAsync("sleep", ["60"], "", TimeSpan.FromMilliseconds(50), Token);
        var missing = await _network.RunAsync("no-such-program", [], "", TimeSpan.FromSeconds(5), Token);
        var piped = await _network.RunAsync("cat", [], new string('x', 300_000), TimeSpan.FromSeconds(20), Token);

        Assert.Equal(CommandResult.TimedOut, late.ExitCode);
        Assert.Equal(CommandResult.NotStarted, missing.ExitCode);
        Assert.Contains("no-such-program", missing.Error, StringComparison.Ordinal);
        Assert.Equal(300_000, piped.Output.Length);
    }

    private async Task<IPEndPoint> ListenAsync()
    {
        IPEndPoint address;
        using (var probe = Bound())
            address = (IPEndPoint)probe.LocalEndPoint!;
        await _forwarder!.SyncAsync([Forward(address)], Token);
        return address;
    }

    private static async Task<Socket> ConnectAsync(IPEndPoint address)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(address, Token);
        return socket;
    }

    private static Socket Bound()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return socket;
    }

    private Forward Forward(IPEndPoint listen) =>
        new(listen, new("default", "web", "http", ServiceProtocol.Tcp), External: false, [.. _servers.Select(static s => s.EndPoint)], Affinity: null);
}
