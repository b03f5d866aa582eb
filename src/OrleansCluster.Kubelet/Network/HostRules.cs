using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Runtime.Versioning;
using System.Text;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>
/// The machine-wide settings of the pod network: forwarding, the translation of what leaves the cluster, host ports, and a pass through
/// Docker's firewall, which drops what it did not make itself.
/// </summary>
/// <remarks>
/// One nftables table for all nodes of the machine; a node owns the elements of its subnet in it. Every change is one transaction of <c>nft</c>, which
/// is a process, so none happens per pod unless the pod has host ports.
/// </remarks>
[SupportedOSPlatform("linux")]
internal sealed partial class HostRules(IPNetwork subnet, IPNetwork clusterCidr, ILogger logger)
{
    private const string Table = "orleanscluster_pods";

    // Guards the table against interleaved changes of several nodes in this process; between processes each nft transaction is atomic.
    private static readonly SemaphoreSlim Turn = new(1);

    private readonly Dictionary<IPAddress, IReadOnlyList<HostPort>> _hostPorts = [];
    private readonly Lock _lock = new();

    public async Task ApplyAsync(CancellationToken cancellationToken)
    {
        await ForwardAsync(cancellationToken);
        await Turn.WaitAsync(cancellationToken);
        try
        {
            var script = $$"""
                add table ip {{Table}}
                add set ip {{Table}} subnets { type ipv4_addr; flags interval; }
                add set ip {{Table}} clusters { type ipv4_addr; flags interval; auto-merge; }
                add map ip {{Table}} hostports { type inet_proto . inet_service : ipv4_addr . inet_service; }
                add map ip {{Table}} hostports_ip { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
                add chain ip {{Table}} leaving { type nat hook postrouting priority 100; }
                add chain ip {{Table}} arriving { type nat hook prerouting priority -100; }
                add chain ip {{Table}} sending { type nat hook output priority -100; }
                flush chain ip {{Table}} leaving
                flush chain ip {{Table}} arriving
                flush chain ip {{Table}} sending
                add rule ip {{Table}} leaving ip saddr @subnets ip daddr != @clusters ip daddr != 224.0.0.0/4 masquerade
                add rule ip {{Table}} arriving meta l4proto { tcp, udp, sctp } dnat ip addr . port to ip daddr . meta l4proto . th dport map @hostports_ip
                add rule ip {{Table}} arriving fib daddr type local meta l4proto { tcp, udp, sctp } dnat ip addr . port to meta l4proto . th dport map @hostports
                add rule ip {{Table}} sending meta l4proto { tcp, udp, sctp } dnat ip addr . port to ip daddr . meta l4proto . th dport map @hostports_ip
                add rule ip {{Table}} sending fib daddr type local meta l4proto { tcp, udp, sctp } dnat ip addr . port to meta l4proto . th dport map @hostports
                add element ip {{Table}} subnets { {{subnet}} }
                add element ip {{Table}} clusters { {{clusterCidr}} }
                add element ip {{Table}} clusters { {{subnet}} }

                """;
            await RunAsync("nft", ["-f", "-"], script, cancellationToken);
            await PassDockerFirewallAsync(cancellationToken);
        }
        finally
        {
            Turn.Release();
        }
    }

    public async Task RemoveAsync(CancellationToken cancellationToken)
    {
        await Turn.WaitAsync(cancellationToken);
        try
        {
            await TryRunAsync("nft", ["delete", "element", "ip", Table, "subnets", $"{{ {subnet} }}"], cancellationToken);
            var (code, left) = await TryRunAsync("nft", ["list", "set", "ip", Table, "subnets"], cancellationToken);
            if (code == 0 && !left.Contains("elements", StringComparison.Ordinal))
            {
                await TryRunAsync("nft", ["delete", "table", "ip", Table], cancellationToken);
            }

            foreach (var chain in new[] { "DOCKER-USER", "FORWARD" })
            {
                foreach (var direction in new[] { "-s", "-d" })
                {
                    await TryRunAsync("iptables", ["-w", "-D", chain, direction, subnet.ToString(), "-j", "ACCEPT"], cancellationToken);
                }
            }
        }
        finally
        {
            Turn.Release();
        }
    }

    public async Task AddHostPortsAsync(IPAddress address, IReadOnlyList<HostPort> ports, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            _hostPorts[address] = ports;
        }

        var script = new StringBuilder();
        foreach (var port in ports)
        {
            // An element left by an earlier owner of the port would refuse a new value: create without effect, delete, create.
            var (map, key) = KeyOf(port);
            var element = string.Create(CultureInfo.InvariantCulture, $"{{ {key} : {address} . {port.ContainerPort} }}");
            script.Append(CultureInfo.InvariantCulture, $"add element ip {Table} {map} {element}\n");
        }

        await Turn.WaitAsync(cancellationToken);
        try
        {
            foreach (var port in ports)
            {
                var (map, key) = KeyOf(port);
                await TryRunAsync("nft", ["delete", "element", "ip", Table, map, $"{{ {key} }}"], cancellationToken);
            }

            await RunAsync("nft", ["-f", "-"], script.ToString(), cancellationToken);
        }
        finally
        {
            Turn.Release();
        }
    }

    public async Task RemoveHostPortsAsync(IPAddress address, CancellationToken cancellationToken)
    {
        IReadOnlyList<HostPort>? ports;
        lock (_lock)
        {
            if (!_hostPorts.Remove(address, out ports))
            {
                return;
            }
        }

        await Turn.WaitAsync(cancellationToken);
        try
        {
            foreach (var port in ports)
            {
                var (map, key) = KeyOf(port);
                var element = string.Create(CultureInfo.InvariantCulture, $"{{ {key} : {address} . {port.ContainerPort} }}");
                await TryRunAsync("nft", ["delete", "element", "ip", Table, map, element], cancellationToken);
            }
        }
        finally
        {
            Turn.Release();
        }
    }

    private static (string Map, string Key) KeyOf(HostPort port)
    {
        var protocol = port.Protocol switch
        {
            "UDP" => "udp",
            "SCTP" => "sctp",
            _ => "tcp",
        };
        return port.HostIP is null || port.HostIP.Equals(IPAddress.Any)
            ? ("hostports", string.Create(CultureInfo.InvariantCulture, $"{protocol} . {port.Port}"))
            : ("hostports_ip", string.Create(CultureInfo.InvariantCulture, $"{port.HostIP} . {protocol} . {port.Port}"));
    }

    // Written only when it is off: in a container the file is often read-only, and forwarding, which the engine needs too, already on.
    private static async Task ForwardAsync(CancellationToken cancellationToken)
    {
        const string Forwarding = "/proc/sys/net/ipv4/ip_forward";
        if ((await File.ReadAllTextAsync(Forwarding, cancellationToken)).Trim() != "1")
            await File.WriteAllTextAsync(Forwarding, "1", cancellationToken);
    }

    private static async Task RunAsync(string program, string[] arguments, string? input, CancellationToken cancellationToken)
    {
        var (code, output) = await StartAsync(program, arguments, input, cancellationToken);
        if (code != 0)
        {
            throw new RuntimeException(RuntimeFailure.Network, $"{program} {string.Join(' ', arguments)} failed: {output.Trim()}");
        }
    }

    private static Task<(int Code, string Output)> TryRunAsync(string program, string[] arguments, CancellationToken cancellationToken) =>
        StartAsync(program, arguments, input: null, cancellationToken);

    private static async Task<(int Code, string Output)> StartAsync(
        string program,
        string[] arguments,
        string? input,
        CancellationToken cancellationToken)
    {
        using var process = new Process
        {
            StartInfo = new ProcessStartInfo(program, arguments)
            {
                UseShellExecute = false,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        try
        {
            process.Start();
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (-1, $"{program} is not installed: {e.Message}");
        }

        await process.StandardInput.WriteAsync(input.AsMemory(), cancellationToken);
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync(cancellationToken);
        var errors = process.StandardError.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        return (process.ExitCode, await output + await errors);
    }

    /// <summary>
    /// Docker sets the policy of FORWARD to DROP when it switches forwarding on. It leaves the chain DOCKER-USER to others and never flushes it.
    /// </summary>
    private async Task PassDockerFirewallAsync(CancellationToken cancellationToken)
    {
        var (code, rules) = await TryRunAsync("iptables", ["-w", "-S", "FORWARD"], cancellationToken);
        if (code != 0)
        {
            Log.NoIptables(logger);
            return;
        }

        var chain = rules.Contains("-j DOCKER-USER", StringComparison.Ordinal) ? "DOCKER-USER"
            : rules.Contains("-P FORWARD DROP", StringComparison.Ordinal) ? "FORWARD"
            : null;
        if (chain is null)
        {
            return;
        }

        foreach (var direction in new[] { "-s", "-d" })
        {
            string[] rule = [chain, direction, subnet.ToString(), "-j", "ACCEPT"];
            var (missing, _) = await TryRunAsync("iptables", ["-w", "-C", .. rule], cancellationToken);
            if (missing != 0)
            {
                await RunAsync("iptables", ["-w", "-I", .. rule], input: null, cancellationToken);
            }
        }
    }

    private static partial class Log
    {
        [LoggerMessage(EventId = 10, Level = LogLevel.Information, Message = "iptables is not there, so no firewall of Docker's stands in the pods' way")]
        public static partial void NoIptables(ILogger logger);
    }
}
