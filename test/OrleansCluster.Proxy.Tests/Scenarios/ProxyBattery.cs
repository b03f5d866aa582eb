using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Proxy.Nftables;
using OrleansCluster.Proxy.Rules;
using OrleansCluster.Proxy.UserSpace;

namespace OrleansCluster.Proxy.Tests.Scenarios;

/// <summary>What a service promises, whichever way it is made. Each backend runs all of it on a real kernel.</summary>
[Trait("Needs", "root")]
public abstract class ProxyBattery : IAsyncLifetime
{
    internal static readonly IPEndPoint Web = IPEndPoint.Parse("10.96.0.10:80");
    internal const int NodePort = 30080;
    private World? _world;
    private IProxyBackend? _backend;

    internal World World => _world!;

    internal IProxyBackend Backend => _backend!;

    internal static CancellationToken Token => TestContext.Current.CancellationToken;

    internal abstract IProxyBackend Create(World world, ServiceProxyOptions options);

    public async ValueTask InitializeAsync()
    {
        var reason = Netns.WhyUnavailable();
        Assert.SkipUnless(reason is null, $"Not run: {reason}.");
        _world = await World.CreateAsync(Token);
        _backend = Create(_world, new ServiceProxyOptions { DrainTimeout = TimeSpan.Zero });
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        if (_backend is not null)
            await _backend.RemoveAsync(CancellationToken.None);
        if (_world is not null)
            await _world.DisposeAsync();
    }

    [Fact]
    public async Task Thirty_connections_from_the_host_are_ten_each_in_order()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3));

        Assert.Equal(Turns(10), await Ask.NamesAsync(World.Host, Web, 30, Token));
    }

    [Fact]
    public async Task Thirty_connections_from_a_pod_are_ten_each_in_order()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3));

        Assert.Equal(Turns(10), await Ask.NamesAsync(World.Client, Web, 30, Token));
    }

    [Fact]
    public async Task A_pod_reaches_itself_through_its_own_service()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3));

        Assert.Equal(Turns(2), await Ask.NamesAsync(World.Pod(1), Web, 6, Token));
    }

    [Fact]
    public async Task A_pod_that_is_the_only_endpoint_reaches_itself()
    {
        await SyncAsync(Rule("web", Web, 1));

        Assert.Equal(["pod1", "pod1"], await Ask.NamesAsync(World.Pod(1), Web, 2, Token));
    }

    [Fact]
    public async Task Node_port_and_cluster_ip_share_one_turn_from_everywhere()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3) with { NodePort = NodePort });
        (Netns From, IPEndPoint To)[] ways =
        [
            (World.Lan, new(World.HostOnLan, NodePort)),
            (World.Host, new(World.HostOnLan, NodePort)),
            (World.Host, new(IPAddress.Loopback, NodePort)),
            (World.Client, new(World.HostForPods, NodePort)),
            (World.Pod(1), new(World.HostOnLan, NodePort)),
            (World.Host, Web),
        ];

        var names = new List<string>();
        foreach (var (from, to) in ways)
            names.AddRange(await Ask.NamesAsync(from, to, 1, Token));

        Assert.Equal(Turns(2), names);
    }

    [Fact]
    public async Task A_service_without_endpoints_refuses_within_a_second()
    {
        await SyncAsync(Rule("web", Web) with { NodePort = NodePort });

        await AssertRefusesAsync(World.Host, Web);
        await AssertRefusesAsync(World.Client, Web);
        await AssertRefusesAsync(World.Host, new(IPAddress.Loopback, NodePort));
        await AssertRefusesAsync(World.Host, new(World.HostOnLan, NodePort));
        await AssertRefusesAsync(World.Lan, new(World.HostOnLan, NodePort));
    }

    [Fact]
    public async Task A_port_that_the_service_lacks_refuses_within_a_second()
    {
        await SyncAsync(Rule("web", Web, 1));

        await AssertRefusesAsync(World.Host, new(Web.Address, 81));
        await AssertRefusesAsync(World.Client, new(Web.Address, 81));
    }

    [Fact]
    public async Task Endpoints_come_and_go_and_come_back()
    {
        await SyncAsync(Rule("web", Web));
        await AssertRefusesAsync(World.Host, Web);
        await SyncAsync(Rule("web", Web, 2));
        Assert.Equal(["pod2", "pod2"], await Ask.NamesAsync(World.Host, Web, 2, Token));
        await SyncAsync(Rule("web", Web));
        await AssertRefusesAsync(World.Host, Web);
        await SyncAsync(Rule("web", Web, 1, 3));
        Assert.Equal(["pod1", "pod3"], await Ask.NamesAsync(World.Host, Web, 2, Token));
    }

    [Fact]
    public async Task Affinity_keeps_each_client_with_its_endpoint()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3) with { Affinity = TimeSpan.FromMinutes(1) });

        var host = await Ask.NamesAsync(World.Host, Web, 8, Token);
        var client = await Ask.NamesAsync(World.Client, Web, 8, Token);

        Assert.Equal(Enumerable.Repeat("pod1", 8), host);
        Assert.Equal(Enumerable.Repeat("pod2", 8), client);
    }

    [Fact]
    public async Task Affinity_to_an_endpoint_survives_the_removal_of_another()
    {
        var rule = Rule("web", Web, 1, 2, 3) with { Affinity = TimeSpan.FromMinutes(1) };
        await SyncAsync(rule);
        Assert.Equal(["pod1"], await Ask.NamesAsync(World.Host, Web, 1, Token));
        Assert.Equal(["pod2"], await Ask.NamesAsync(World.Client, Web, 1, Token));

        await SyncAsync(Rule("web", Web, 2, 3) with { Affinity = TimeSpan.FromMinutes(1) });

        Assert.Equal(Enumerable.Repeat("pod2", 4), await Ask.NamesAsync(World.Client, Web, 4, Token));
        Assert.Single((await Ask.NamesAsync(World.Host, Web, 4, Token)).Distinct(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Datagrams_of_new_clients_take_turns_and_answers_come_back()
    {
        await SyncAsync(Rule("dns", Web, 1, 2, 3) with { Key = new("default", "dns", "dns", ServiceProtocol.Udp), NodePort = NodePort });

        Assert.Equal(Turns(3), await Ask.NamesAsync(World.Host, Web, 9, Token, udp: true));
        Assert.Equal(Turns(3), await Ask.NamesAsync(World.Client, Web, 9, Token, udp: true));
        Assert.Equal(Turns(1), await Ask.NamesAsync(World.Lan, new(World.HostOnLan, NodePort), 3, Token, udp: true));
        Assert.Equal(Turns(1), await Ask.NamesAsync(World.Client, new(World.HostForPods, NodePort), 3, Token, udp: true));
    }

    [Fact]
    public async Task A_datagram_client_that_keeps_its_port_follows_the_endpoints()
    {
        var rule = Rule("dns", Web, 1) with { Key = new("default", "dns", "dns", ServiceProtocol.Udp), NodePort = NodePort };
        await SyncAsync(rule);
        using var pod = await ConnectAsync(World.Client, Web);
        using var host = await ConnectAsync(World.Host, Web);
        using var lan = await ConnectAsync(World.Lan, new(World.HostOnLan, NodePort));
        foreach (var socket in (Socket[])[pod, host, lan])
            Assert.Equal("pod1", await AskAsync(socket));

        await SyncAsync(rule with { Endpoints = [World.EndPoint(2)], ExternalEndpoints = [World.EndPoint(2)] });
        foreach (var socket in (Socket[])[pod, host, lan])
            Assert.Equal("pod2", await AskAsync(socket));

        static async Task<Socket> ConnectAsync(Netns from, IPEndPoint to)
        {
            var socket = from.CreateSocket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            await socket.ConnectAsync(to, Token);
            return socket;
        }

        // A datagram may be lost while the user-space proxy changes over, as any may: its client asks again.
        static async Task<string> AskAsync(Socket socket)
        {
            var buffer = new byte[256];
            while (true)
            {
                await socket.SendAsync("?"u8.ToArray(), Token);
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
                limit.CancelAfter(TimeSpan.FromSeconds(1));
                try
                {
                    var count = await socket.ReceiveAsync(buffer, limit.Token);
                    return System.Text.Encoding.ASCII.GetString(buffer, 0, count).Split(' ')[0];
                }
                catch (OperationCanceledException) when (!Token.IsCancellationRequested)
                {
                    // Ask again.
                }
            }
        }
    }

    [Fact]
    public async Task Datagrams_to_a_service_without_endpoints_are_refused()
    {
        await SyncAsync(Rule("dns", Web) with { Key = new("default", "dns", "dns", ServiceProtocol.Udp) });

        var refused = await Assert.ThrowsAsync<SocketException>(() => Ask.UdpAsync(World.Client, Web, Token));

        Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
    }

    [Fact]
    public async Task An_endpoint_removed_in_mid_traffic_costs_no_connection()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3));
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var first = new TaskCompletionSource();
        var traffic = Task.Run(async () =>
        {
            var names = new List<string>();
            while (!enough.IsCancellationRequested)
            {
                names.AddRange(await Ask.NamesAsync(World.Client, Web, 1, Token));
                if (names.Count == 10)
                    first.SetResult();
            }

            return names;
        }, Token);
        await first.Task.WaitAsync(Ask.Patience, Token);

        // The order of a real removal: the endpoint leaves the slice, then the container stops.
        await SyncAsync(Rule("web", Web, 1, 2));
        var after = await Ask.NamesAsync(World.Host, Web, 10, Token);
        await World.StopPodAsync(3);
        after = [.. after, .. await Ask.NamesAsync(World.Host, Web, 10, Token)];
        await enough.CancelAsync();

        Assert.Contains("pod3", await traffic);
        Assert.DoesNotContain("pod3", after);
    }

    [Fact]
    public async Task An_open_connection_survives_changes_of_its_service()
    {
        await SyncAsync(Rule("web", Web, 1, 2));
        using var socket = World.Client.CreateSocket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(Web, Token);
        Assert.StartsWith("pod1", await ReadLineAsync(socket), StringComparison.Ordinal);

        await SyncAsync(Rule("web", Web, 2));
        await socket.SendAsync("still here\n"u8.ToArray(), Token);

        Assert.Equal("still here", await ReadLineAsync(socket));
    }

    [Fact]
    public async Task Changes_of_one_service_leave_the_turn_of_another_alone()
    {
        var web = Rule("web", Web, 1, 2, 3);
        await SyncAsync(web);
        Assert.Equal(["pod1"], await Ask.NamesAsync(World.Host, Web, 1, Token));

        await SyncAsync(web, Rule("other", new(IPAddress.Parse("10.96.0.11"), 80), 1));
        Assert.Equal(["pod2"], await Ask.NamesAsync(World.Host, Web, 1, Token));
        await SyncAsync(web with { NodePort = NodePort });
        Assert.Equal(["pod3"], await Ask.NamesAsync(World.Host, Web, 1, Token));
    }

    [Fact]
    public async Task Two_ports_of_a_service_are_balanced_apart()
    {
        var second = new IPEndPoint(Web.Address, 443);
        await SyncAsync(
            Rule("web", Web, 1, 2, 3),
            Rule("web", second, 1, 2, 3) with { Key = new("default", "web", "https", ServiceProtocol.Tcp) });

        Assert.Equal(["pod1", "pod2"], await Ask.NamesAsync(World.Host, Web, 2, Token));
        Assert.Equal(["pod1", "pod2"], await Ask.NamesAsync(World.Host, second, 2, Token));
    }

    [Fact]
    public async Task Fifty_connections_at_once_are_balanced_exactly()
    {
        await SyncAsync(Rule("web", Web, 1, 2));

        var names = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => Ask.NamesAsync(World.Client, Web, 1, Token)));

        Assert.Equal(25, names.Count(static n => n[0] == "pod1"));
    }

    [Fact]
    public async Task Removal_leaves_no_trace()
    {
        await SyncAsync(Rule("web", Web, 1) with { NodePort = NodePort });
        await Ask.TcpAsync(World.Host, Web, Token);

        await Backend.RemoveAsync(Token);

        Assert.Empty(await World.Host.ShellAsync("nft list ruleset", Token));
        Assert.DoesNotContain("10.96.", await World.Host.ShellAsync("ip route show table all", Token), StringComparison.Ordinal);
        await AssertRefusesAsync(World.Host, new(IPAddress.Loopback, NodePort));
    }

    internal Task SyncAsync(params ServiceRule[] rules) => Backend.SyncAsync([.. rules], Token);

    internal static ServiceRule Rule(string name, IPEndPoint address, params IEnumerable<int> pods)
    {
        ImmutableArray<IPEndPoint> endpoints = [.. pods.Select(World.EndPoint)];
        return new ServiceRule
        {
            Key = new("default", name, "http", ServiceProtocol.Tcp),
            ClusterIPs = [address.Address],
            Port = address.Port,
            Endpoints = endpoints,
            ExternalEndpoints = endpoints,
        };
    }

    internal static string[] Turns(int times) => [.. Enumerable.Repeat<string[]>(["pod1", "pod2", "pod3"], times).SelectMany(static n => n)];

    internal static async Task AssertRefusesAsync(Netns from, IPEndPoint to)
    {
        var clock = Stopwatch.StartNew();
        var refused = await Assert.ThrowsAsync<SocketException>(() => Ask.TcpAsync(from, to, Token));
        Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(1), $"{to} from {from.Name} refused only after {clock.Elapsed}.");
    }

    private static async Task<string> ReadLineAsync(Socket socket)
    {
        var buffer = new byte[256];
        var length = 0;
        do
            length += await socket.ReceiveAsync(buffer.AsMemory(length), Token);
        while (buffer[length - 1] != '\n');
        return System.Text.Encoding.ASCII.GetString(buffer, 0, length - 1);
    }

    internal static Forwarder NewForwarder(World world, ServiceProxyOptions options) =>
        new(world.Host, options, TimeProvider.System, NullLogger<Forwarder>.Instance);
}

/// <summary>The battery on kernel rules, and what only they promise.</summary>
public sealed class NftablesScenarios : ProxyBattery
{
    internal override IProxyBackend Create(World world, ServiceProxyOptions options) =>
        new NftablesBackend(
            new NftProgram(world.Host, options.CommandTimeout), world.Host, NewForwarder(world, options), options, NullLogger<NftablesBackend>.Instance);

    [Fact]
    public async Task A_pod_sees_the_address_of_a_client_pod()
    {
        await SyncAsync(Rule("web", Web, 1));

        Assert.Equal("pod1 10.244.0.100", await Ask.TcpAsync(World.Client, Web, Token));
    }

    [Fact]
    public async Task External_traffic_policy_local_keeps_the_address_of_an_outside_client()
    {
        await SyncAsync(Rule("web", Web, 1) with { NodePort = NodePort, ExternalTrafficLocal = true });

        Assert.Equal("pod1 172.30.0.9", await Ask.TcpAsync(World.Lan, new(World.HostOnLan, NodePort), Token));
    }

    [Fact]
    public async Task Other_tables_are_left_alone_and_a_lost_table_is_built_again()
    {
        await World.Host.ShellAsync("nft add table ip foreign", Token);
        await SyncAsync(Rule("web", Web, 1));
        Assert.True(await Backend.CheckAsync(Token));

        await World.Host.ShellAsync("nft delete table ip orleanscluster", Token);
        Assert.False(await Backend.CheckAsync(Token));
        await SyncAsync(Rule("web", Web, 2));

        Assert.Equal(["pod2"], await Ask.NamesAsync(World.Host, Web, 1, Token));
        Assert.Contains("table ip foreign", await World.Host.ShellAsync("nft list tables", Token), StringComparison.Ordinal);
        await World.Host.ShellAsync("nft delete table ip foreign", Token);
    }

    [Fact]
    public async Task A_refused_transaction_is_reported_and_the_next_sync_replaces_everything()
    {
        await SyncAsync(Rule("web", Web, 1));
        // The kernel's table no longer is what the backend believes, so its increment must fail.
        await World.Host.ShellAsync("nft flush map ip orleanscluster services", Token);

        var refused = await Assert.ThrowsAsync<ProxyBackendException>(() => SyncAsync(Rule("web", Web)));
        Assert.Contains("nft refused", refused.Message, StringComparison.Ordinal);
        Assert.Contains("No such file", refused.Message, StringComparison.Ordinal);
        await SyncAsync(Rule("web", Web, 2));

        Assert.Equal(["pod2"], await Ask.NamesAsync(World.Host, Web, 1, Token));
    }

    [Fact]
    public async Task A_second_proxy_takes_over_the_rules_of_the_first()
    {
        await SyncAsync(Rule("web", Web, 1), Rule("old", new(IPAddress.Parse("10.96.0.11"), 80), 1));

        await Create(World, new ServiceProxyOptions()).SyncAsync([Rule("web", Web, 2)], Token);

        Assert.Equal(["pod2"], await Ask.NamesAsync(World.Host, Web, 1, Token));
        Assert.DoesNotContain("default/old", await World.Host.ShellAsync("nft list table ip orleanscluster", Token), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_without_any_address_but_its_pods_gateway_reaches_services()
    {
        await World.Host.ShellAsync("ip link delete lan0", Token);
        await SyncAsync(Rule("web", Web, 1, 2, 3) with { NodePort = NodePort });

        Assert.Equal(Turns(1), await Ask.NamesAsync(World.Client, Web, 3, Token));
        Assert.Equal(Turns(1), await Ask.NamesAsync(World.Host, Web, 3, Token));
        Assert.Equal(Turns(1), await Ask.NamesAsync(World.Pod(1), Web, 3, Token));
        Assert.Equal(Turns(1), await Ask.NamesAsync(World.Host, new(IPAddress.Loopback, NodePort), 3, Token));
    }

    [Fact]
    public async Task Services_survive_the_stop_of_the_proxy()
    {
        await SyncAsync(Rule("web", Web, 1));

        await Backend.StopAsync(Token);

        Assert.Equal(["pod1"], await Ask.NamesAsync(World.Client, Web, 1, Token));
    }

    [Fact]
    public async Task Affinity_ends_after_its_time()
    {
        await SyncAsync(Rule("web", Web, 1, 2) with { Affinity = TimeSpan.FromSeconds(1) });
        Assert.Equal(["pod1"], await Ask.NamesAsync(World.Host, Web, 1, Token));

        while ((await World.Host.ShellAsync("nft list table ip orleanscluster", Token)).Contains("expires", StringComparison.Ordinal))
            Token.ThrowIfCancellationRequested();

        Assert.Equal(["pod2"], await Ask.NamesAsync(World.Host, Web, 1, Token));
    }

    [Fact]
    public async Task Random_rules_of_every_shape_are_accepted_by_the_kernel_in_increments()
    {
        var random = new Random(7);
        for (var step = 0; step < 25; step++)
        {
            await SyncAsync(
            [
                .. Enumerable.Range(0, 4).Where(_ => random.Next(4) > 0).Select(i => Rule($"s{i}", new(IPAddress.Parse($"10.96.1.{i}"), 80), Enumerable.Range(1, random.Next(4))) with
                {
                    Key = new("default", $"s{i}", "p", (ServiceProtocol)random.Next(3)),
                    NodePort = random.Next(2) * (30_000 + i),
                    Affinity = random.Next(2) == 0 ? TimeSpan.FromSeconds(random.Next(1, 3)) : null,
                    ExternalIPs = random.Next(2) == 0 ? [IPAddress.Parse("192.0.2.7")] : [],
                    ExternalTrafficLocal = random.Next(2) == 0,
                }),
            ]);
        }

        // An incremental sync that the kernel refuses throws; reaching this line without a full sync is the assertion.
        Assert.True(await Backend.CheckAsync(Token));
    }

    /// <summary>Not an assertion but a measurement: prints how long syncs take.</summary>
    [Fact(Explicit = true)]
    public async Task Measure_a_thousand_services()
    {
        var rules = Enumerable.Range(0, 1000)
            .Select(i => Rule($"s{i}", new(IPAddress.Parse($"10.97.{i / 250}.{(i % 250) + 1}"), 80), 1, 2, 3))
            .ToArray();
        var clock = Stopwatch.StartNew();
        await SyncAsync(rules);
        var full = clock.Elapsed;
        var changes = new List<double>();
        for (var i = 0; i < 21; i++)
        {
            rules[i * 40] = Rule($"s{i * 40}", new(rules[i * 40].ClusterIPs[0], 80), 1, 2);
            clock.Restart();
            await SyncAsync(rules);
            changes.Add(clock.Elapsed.TotalMilliseconds);
        }

        clock.Restart();
        await SyncAsync(rules);
        TestContext.Current.SendDiagnosticMessage(
            "1,000 services x 3 endpoints: full sync {0:0} ms; one endpoint removed: median {1:0.0} ms (min {2:0.0}, max {3:0.0}); no change {4:0.00} ms",
            full.TotalMilliseconds, changes.Order().ElementAt(10), changes.Min(), changes.Max(), clock.Elapsed.TotalMilliseconds);
    }
}

/// <summary>The battery on listeners of this process.</summary>
public sealed class UserSpaceScenarios : ProxyBattery
{
    internal override IProxyBackend Create(World world, ServiceProxyOptions options) =>
        new UserSpaceProxy(world.Host, NewForwarder(world, options), options, NullLogger<UserSpaceProxy>.Instance);

    [Fact]
    public async Task An_endpoint_that_does_not_accept_is_passed_over()
    {
        await SyncAsync(Rule("web", Web, 1, 2, 3));
        await World.StopPodAsync(2);

        Assert.Equal(["pod1", "pod3", "pod1", "pod3"], await Ask.NamesAsync(World.Client, Web, 4, Token));
    }

    [Fact]
    public async Task A_new_interface_address_is_noticed()
    {
        await SyncAsync(Rule("web", Web, 1));
        Assert.True(await Backend.CheckAsync(Token));

        await World.Host.ShellAsync("ip addr add 172.31.0.1/24 dev lan0", Token);

        Assert.False(await Backend.CheckAsync(Token));
    }
}
