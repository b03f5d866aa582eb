using System.Globalization;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.Faults.Nemesis;

/// <summary>
/// Network namespaces on a bridge of this test, one for each process that lives as if on a machine of its own. Taking a namespace's link down is a cable
/// pulled: unlike dropped packets on the loopback device it takes the address's neighbours and every connection along. Needs root; everything is removed at the end.
/// </summary>
internal sealed class NetworkNamespaces : IAsyncDisposable
{
    private readonly string _id;
    private readonly string _subnet;
    private readonly List<string> _names = [];

    private NetworkNamespaces(int number)
    {
        _id = number.ToString("x3", CultureInfo.InvariantCulture);
        _subnet = string.Create(CultureInfo.InvariantCulture, $"10.{230 + (number >> 8)}.{number & 255}");
    }

    public static bool IsAvailable { get; } = PacketFilter.IsAvailable && (File.Exists("/usr/sbin/ip") || File.Exists("/sbin/ip") || File.Exists("/bin/ip"));

    /// <summary>The machine's own address on the bridge, for what runs in no namespace.</summary>
    public string Host => _subnet + ".1";

    private string Bridge => "ocfb" + _id;

    /// <summary>Makes the bridge.</summary>
    public static async Task<NetworkNamespaces> CreateAsync()
    {
        var made = new NetworkNamespaces(Random.Shared.Next(0x1000));
        try
        {
            await IpAsync("link", "add", made.Bridge, "type", "bridge");
            await IpAsync("addr", "add", made.Host + "/24", "dev", made.Bridge);
            await IpAsync("link", "set", made.Bridge, "up");
            // A container engine may have the kernel filter what goes over bridges, and drop it.
            await made.ForwardAsync("-I");
            return made;
        }
        catch
        {
            await made.DisposeAsync();
            throw;
        }
    }

    /// <summary>Makes a namespace with a link to the bridge.</summary>
    public async Task<NetworkNamespace> AddAsync()
    {
        var number = _names.Count + 2;
        var made = new NetworkNamespace($"ocf-{_id}-{number}", $"ocfv{_id}{number}", $"{_subnet}.{number}");
        _names.Add(made.Name);
        await IpAsync("netns", "add", made.Name);
        await IpAsync("link", "add", made.Link, "type", "veth", "peer", "name", "eth0", "netns", made.Name);
        await IpAsync("link", "set", made.Link, "master", Bridge, "up");
        await IpAsync("-n", made.Name, "addr", "add", made.Address + "/24", "dev", "eth0");
        await IpAsync("-n", made.Name, "link", "set", "eth0", "up");
        await IpAsync("-n", made.Name, "link", "set", "lo", "up");
        return made;
    }

    public async ValueTask DisposeAsync()
    {
        // Whatever of it is there goes, also after a failure half way.
        foreach (var name in _names)
            await Command.RunAsync("ip", ["netns", "delete", name]);
        await Command.RunAsync("ip", ["link", "delete", Bridge]);
        await Command.RunAsync("iptables", Rule("-D"));
    }

    internal static async Task IpAsync(params string[] arguments) => (await Command.RunAsync("ip", arguments)).OrFail();

    private async Task ForwardAsync(string action) => (await Command.RunAsync("iptables", Rule(action))).OrFail();

    private string[] Rule(string action) => ["-w", action, "FORWARD", "-i", Bridge, "-o", Bridge, "-j", "ACCEPT"];
}

/// <summary>A network namespace.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Link">The end of its link outside.</param>
/// <param name="Address">Its address.</param>
internal sealed record NetworkNamespace(string Name, string Link, string Address)
{
    public Task CutAsync() => NetworkNamespaces.IpAsync("link", "set", Link, "down");

    public Task HealAsync() => NetworkNamespaces.IpAsync("link", "set", Link, "up");
}
