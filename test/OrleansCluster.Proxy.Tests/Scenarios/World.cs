using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using OrleansCluster.Proxy.Host;

namespace OrleansCluster.Proxy.Tests.Scenarios;

/// <summary>
/// A small network: a host without a default route, pods on it (a /32 address on a routed veth each, as the kubelet
/// wires them), and a neighbour on its LAN.
/// <code>
/// lan 172.30.0.9 ──── 172.30.0.1 host 169.254.1.1 ──┬── pod1 10.244.0.1
///                                                    ├── pod2 10.244.0.2 …
///                                                    └── client 10.244.0.100
/// </code>
/// Every pod serves TCP and UDP on port 8080 and answers with its own name and the client's address.
/// </summary>
internal sealed class World : IAsyncDisposable
{
    public const int Pods = 3;
    public const int PodPort = 8080;
    public const int ClientNumber = 100;
    public static readonly IPAddress HostOnLan = IPAddress.Parse("172.30.0.1");
    public static readonly IPAddress HostForPods = IPAddress.Parse("169.254.1.1");
    private static int s_worlds;

    private readonly string _prefix = string.Create(
        CultureInfo.InvariantCulture, $"ocp{Environment.ProcessId}x{Interlocked.Increment(ref s_worlds)}");

    private readonly Dictionary<string, Netns> _namespaces = new(StringComparer.Ordinal);
    private readonly List<NameServer> _servers = [];

    public Netns Host => _namespaces["host"];
    public Netns Lan => _namespaces["lan"];
    public Netns Client => _namespaces["pod100"];

    public Netns Pod(int number) => _namespaces[Invariant($"pod{number}")];

    public static IPEndPoint EndPoint(int pod) => IPEndPoint.Parse(Invariant($"10.244.0.{pod}:{PodPort}"));

    public static async Task<World> CreateAsync(CancellationToken cancellationToken)
    {
        var world = new World();
        try
        {
            await world.BuildAsync(cancellationToken);
            return world;
        }
        catch
        {
            await world.DisposeAsync();
            throw;
        }
    }

    /// <summary>Ends a pod's servers, as when its containers stop.</summary>
    public async Task StopPodAsync(int number)
    {
        foreach (var server in _servers.Where(s => s.Pod == number).ToArray())
        {
            _servers.Remove(server);
            await server.DisposeAsync();
        }

        // The kernel closes a listener a moment after its last user let go of it; until then it still accepts.
        while (await AcceptsAsync())
            await Task.Yield();

        async Task<bool> AcceptsAsync()
        {
            using var socket = Host.CreateSocket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                await socket.ConnectAsync(EndPoint(number));
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers)
            await server.DisposeAsync();
        // Deleting the namespaces deletes their interfaces, rules and routes.
        var programs = new HostNetwork(TimeProvider.System);
        foreach (var ns in _namespaces.Values)
            await programs.RunAsync("ip", ["netns", "delete", ns.Name], "", TimeSpan.FromSeconds(10), CancellationToken.None);
    }

    private async Task BuildAsync(CancellationToken cancellationToken)
    {
        int[] pods = [.. Enumerable.Range(1, Pods), ClientNumber];
        string[] names = ["host", "lan", .. pods.Select(static p => Invariant($"pod{p}"))];
        var programs = new HostNetwork(TimeProvider.System);
        foreach (var name in names)
        {
            _namespaces[name] = new Netns($"{_prefix}{name}");
            var added = await programs.RunAsync("ip", ["netns", "add", _namespaces[name].Name], "", TimeSpan.FromSeconds(10), cancellationToken);
            Assert.True(added.Succeeded, added.Error);
        }

        var host = new StringBuilder($"""
            ip link set lo up
            ip link add lan0 type veth peer name eth0 netns {Lan.Name}
            ip addr add {HostOnLan}/24 dev lan0
            ip link set lan0 up

            """);
        foreach (var pod in pods)
        {
            host.Append(CultureInfo.InvariantCulture, $"""
                ip link add ve{pod} type veth peer name eth0 netns {Pod(pod).Name}
                ip link set ve{pod} up
                ip addr add {HostForPods}/32 dev ve{pod} scope link
                ip route add 10.244.0.{pod}/32 dev ve{pod}

                """);
        }

        await Host.ShellAsync(host.ToString(), cancellationToken);
        await Lan.ShellAsync("ip link set lo up; ip addr add 172.30.0.9/24 dev eth0; ip link set eth0 up; ip route add default via 172.30.0.1", cancellationToken);
        foreach (var pod in pods)
        {
            await Pod(pod).ShellAsync(Invariant($"""
                ip link set lo up; ip addr add 10.244.0.{pod}/32 dev eth0; ip link set eth0 up
                ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1
                """), cancellationToken);
        }

        foreach (var pod in Enumerable.Range(1, Pods))
            _servers.Add(new NameServer(Pod(pod), Invariant($"pod{pod}"), pod));
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Answers every connection and datagram with its name and the client's address; a connection is then echoed.</summary>
internal sealed class NameServer : IAsyncDisposable
{
    private readonly Socket _tcp;
    private readonly Socket _udp;
    private readonly string _name;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;
    private readonly List<Task> _connections = [];

    public NameServer(IHostNetwork network, string name, int pod, IPAddress? address = null, int port = World.PodPort)
    {
        Pod = pod;
        _name = name;
        _tcp = network.CreateSocket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        _tcp.Bind(new IPEndPoint(address ?? IPAddress.Any, port));
        _tcp.Listen(256);
        EndPoint = (IPEndPoint)_tcp.LocalEndPoint!;
        _udp = network.CreateSocket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        _udp.Bind(EndPoint);
        _running = Task.WhenAll(Task.Run(AcceptAsync), Task.Run(AnswerAsync));
    }

    public int Pod { get; }

    public IPEndPoint EndPoint { get; }

    public async ValueTask DisposeAsync()
    {
        if (_running.IsCompleted)
            return;
        await _stop.CancelAsync();
        _tcp.Dispose();
        _udp.Dispose();
        await _running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Task.WhenAll(_connections).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            var client = await _tcp.AcceptAsync(_stop.Token);
            _connections.Add(ServeAsync(client));
        }
    }

    private async Task ServeAsync(Socket client)
    {
        using (client)
        {
            await client.SendAsync(Encoding.ASCII.GetBytes($"{_name} {((IPEndPoint)client.RemoteEndPoint!).Address}\n"), _stop.Token);
            var buffer = new byte[4096];
            int count;
            while ((count = await client.ReceiveAsync(buffer, _stop.Token)) > 0)
                await client.SendAsync(buffer.AsMemory(0, count), _stop.Token);
        }
    }

    private async Task AnswerAsync()
    {
        var buffer = new byte[2048];
        while (true)
        {
            var received = await _udp.ReceiveFromAsync(buffer, new IPEndPoint(IPAddress.Any, 0), _stop.Token);
            await _udp.SendToAsync(Encoding.ASCII.GetBytes($"{_name} {received.RemoteEndPoint}"), received.RemoteEndPoint, _stop.Token);
        }
    }
}

/// <summary>Asks a <see cref="NameServer"/> through whatever lies between.</summary>
internal static class Ask
{
    // Far beyond what a refusal or an answer takes; a test that needs it has failed.
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>The whole answer of one connection: "pod1 10.0.0.1".</summary>
    public static async Task<string> TcpAsync(IHostNetwork from, IPEndPoint to, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(Patience);
        using var socket = from.CreateSocket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(to, limit.Token);
        socket.Shutdown(SocketShutdown.Send);
        var text = new StringBuilder();
        var buffer = new byte[256];
        int count;
        while ((count = await socket.ReceiveAsync(buffer, limit.Token)) > 0)
            text.Append(Encoding.ASCII.GetString(buffer, 0, count));
        return text.ToString().TrimEnd();
    }

    public static async Task<string> UdpAsync(IHostNetwork from, IPEndPoint to, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(Patience);
        using var socket = from.CreateSocket(to.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(to, limit.Token);
        await socket.SendAsync("?"u8.ToArray(), limit.Token);
        var buffer = new byte[256];
        return Encoding.ASCII.GetString(buffer, 0, await socket.ReceiveAsync(buffer, limit.Token));
    }

    /// <summary>Names of who answered a number of connections, one after the other.</summary>
    public static async Task<string[]> NamesAsync(IHostNetwork from, IPEndPoint to, int times, CancellationToken cancellationToken, bool udp = false)
    {
        var names = new string[times];
        for (var i = 0; i < times; i++)
        {
            var answer = udp ? await UdpAsync(from, to, cancellationToken) : await TcpAsync(from, to, cancellationToken);
            names[i] = answer.Split(' ')[0];
        }

        return names;
    }
}
