using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Tests.Rules;

namespace OrleansCluster.Proxy.Tests.Scenarios;

/// <summary>The proxy as an application hosts it, from objects in a feed to answers of pods.</summary>
public sealed class HostedProxyTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(ServiceProxyMode.Auto, ServiceProxyMode.Nftables)]
    [InlineData(ServiceProxyMode.UserSpace, ServiceProxyMode.UserSpace)]
    [Trait("Needs", "root")]
    public async Task Hosted_proxy_makes_services_work_and_cleans_up(ServiceProxyMode mode, ServiceProxyMode expected)
    {
        var reason = Netns.WhyUnavailable();
        Assert.SkipUnless(reason is null, $"Not run: {reason}.");
        await using var world = await World.CreateAsync(Token);
        var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddLogging();
        builder.Services.AddSingleton<IHostNetwork>(world.Host);
        builder.Services.AddSingleton<IServiceFeed>(new FixedFeed(
            new ServiceFeedItem(ServiceFeedResource.Service, "default", "web", Objects.Service("web")),
            new ServiceFeedItem(ServiceFeedResource.EndpointSlice, "default", "web-1", Objects.ReadySlice("web-1", "web", "10.244.0.1", "10.244.0.2"))));
        builder.Services.AddServiceProxy(o =>
        {
            o.Mode = mode;
            o.RemoveOnStop = true;
            o.DrainTimeout = TimeSpan.Zero;
        });
        using var host = builder.Build();
        await host.StartAsync(Token);

        var proxy = host.Services.GetRequiredService<ServiceProxy>();
        while (!proxy.Status.HasSynced)
            await Task.Yield();
        Assert.Equal(expected, proxy.Status.Backend);
        Assert.Equal((1, 2), (proxy.Status.ServicePorts, proxy.Status.Endpoints));
        Assert.Equal(["pod1", "pod2", "pod1"], await Ask.NamesAsync(world.Client, ProxyBattery.Web, 3, Token));

        await host.StopAsync(Token);
        Assert.Empty(await world.Host.ShellAsync("nft list ruleset", Token));
    }

    [Fact]
    public async Task Selector_without_nft_falls_back_to_user_space_or_says_what_is_missing()
    {
        var network = new NetworkWithoutPrograms();
        using var auto = Selector(network, ServiceProxyMode.Auto);
        using var strict = Selector(network, ServiceProxyMode.Nftables);

        Assert.Equal(ServiceProxyMode.UserSpace, (await auto.SelectAsync(Token)).Mode);
        var refused = await Assert.ThrowsAsync<ProxyBackendException>(() => strict.SelectAsync(Token));
        Assert.Contains("nft: No such file", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task User_space_without_any_program_serves_cluster_ips_on_loopback()
    {
        await using var server = new NameServer(new HostNetwork(TimeProvider.System), "pod1", 1, IPAddress.Loopback, port: 0);
        using var selector = Selector(new NetworkWithoutPrograms(), ServiceProxyMode.UserSpace);
        var backend = Assert.IsType<Proxy.UserSpace.UserSpaceProxy>((await selector.SelectAsync(Token)).Backend);
        var cluster = IPEndPoint.Parse("198.51.100.10:80");
        var rule = ProxyBattery.Rule("web", cluster) with { Endpoints = [server.EndPoint], ExternalEndpoints = [server.EndPoint] };

        await backend.SyncAsync([rule], Token);

        var mapped = backend.MappedAddresses[(cluster, Proxy.Rules.ServiceProtocol.Tcp)];
        Assert.Equal("pod1 127.0.0.1", await Ask.TcpAsync(new HostNetwork(TimeProvider.System), mapped, Token));
        await backend.RemoveAsync(Token);
    }

    private static ProxyBackendSelector Selector(IHostNetwork network, ServiceProxyMode mode) =>
        new(network, Options.Create(new ServiceProxyOptions { Mode = mode }), TimeProvider.System, NullLoggerFactory.Instance);

    private sealed class FixedFeed(params ServiceFeedItem[] items) : IServiceFeed
    {
        public async IAsyncEnumerable<ServiceFeedBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            yield return new ServiceFeedBatch(true, items);
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }
    }

    private sealed class NetworkWithoutPrograms : IHostNetwork
    {
        private readonly HostNetwork _real = new(TimeProvider.System);

        public Socket CreateSocket(AddressFamily family, SocketType type, ProtocolType protocol) => _real.CreateSocket(family, type, protocol);

        public Socket CreateNetlinkSocket(int protocol) => throw new SocketException((int)SocketError.AccessDenied);

        public IReadOnlyList<IPAddress> LocalAddresses() => _real.LocalAddresses();

        public Task<CommandResult> RunAsync(
            string program, IReadOnlyList<string> arguments, string input, TimeSpan timeout, CancellationToken cancellationToken) =>
            Task.FromResult(new CommandResult(CommandResult.NotStarted, "", $"{program}: No such file or directory"));
    }
}
