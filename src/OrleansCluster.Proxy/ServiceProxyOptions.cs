using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Options;

namespace OrleansCluster.Proxy;

/// <summary>How service addresses are made to work.</summary>
public enum ServiceProxyMode
{
    /// <summary>Kernel rules where the machine and the process's rights allow them, else user space.</summary>
    Auto,

    /// <summary>Kernel rules; the start fails where they are impossible.</summary>
    Nftables,

    /// <summary>Listeners in this process.</summary>
    UserSpace,
}

/// <summary>Settings of the service proxy. One proxy serves one host (one network namespace), however many nodes live on it.</summary>
public sealed partial class ServiceProxyOptions
{
    /// <summary>How to make service addresses work. Default: Auto.</summary>
    public ServiceProxyMode Mode { get; set; } = ServiceProxyMode.Auto;

    /// <summary>
    /// The range that cluster IPs come from, in CIDR notation, IPv4. Default: 10.96.0.0/12. Must be the API server's.
    /// Used for the route without which a host that has no default route could not even send to a cluster IP.
    /// </summary>
    public string ServiceCidr { get; set; } = "10.96.0.0/12";

    /// <summary>
    /// Names of the nodes on this host. Their endpoints are the local ones for services whose traffic policy is Local.
    /// </summary>
    public ISet<string> NodeNames { get; } = new HashSet<string>(StringComparer.Ordinal);

    /// <summary>
    /// Name of the nftables table, at most 32 lower-case letters, digits and underscores. Everything in a table of this
    /// name is this proxy's; no other is touched. Default: orleanscluster.
    /// </summary>
    public string TableName { get; set; } = "orleanscluster";

    /// <summary>
    /// Least time between two syncs. The first change after a pause is applied at once; those that follow within this
    /// time are applied together. Longer = fewer transactions in a burst, shorter = fresher rules. Default: 50 ms; 0 to 10 s.
    /// </summary>
    public TimeSpan MinSyncInterval { get; set; } = TimeSpan.FromMilliseconds(50);

    /// <summary>
    /// How often to look whether somebody else removed the rules or an interface changed. Default: 30 s; at least 1 s.
    /// </summary>
    public TimeSpan CheckInterval { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>First pause after a failed sync or a broken feed; doubles up to <see cref="MaxRetryDelay"/>, with ±25 % of jitter. Default: 100 ms.</summary>
    public TimeSpan RetryDelay { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Longest pause between attempts. Default: 5 s.</summary>
    public TimeSpan MaxRetryDelay { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Longest time a configuration program (nft, ip) may run. Default: 30 s.</summary>
    public TimeSpan CommandTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Whether kernel rules and routes are removed when the host stops. Default: false, so that services work on while the
    /// proxy is replaced. A cluster that is taken down for good sets it.
    /// </summary>
    public bool RemoveOnStop { get; set; }

    /// <summary>User space: most TCP connections at a time; beyond, new ones wait in the listen queue. Default: 10,000.</summary>
    public int MaxConnections { get; set; } = 10_000;

    /// <summary>User space: most UDP clients remembered per listener; beyond, the one silent longest is forgotten. Default: 4,096.</summary>
    public int MaxUdpClients { get; set; } = 4_096;

    /// <summary>User space: how long a UDP client without datagrams stays with its endpoint. Default: 30 s, as in the kernel.</summary>
    public TimeSpan UdpIdleTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>User space: how long to wait for an endpoint to accept before the next is tried. Default: 1 s.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>User space: how long open connections may go on when the proxy stops. Default: 5 s.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Checks the options at start and names every problem with its remedy.</summary>
    internal sealed partial class Validator : IValidateOptions<ServiceProxyOptions>
    {
        /// <inheritdoc/>
        public ValidateOptionsResult Validate(string? name, ServiceProxyOptions options)
        {
            var failures = new List<string>();
            if (!IPNetwork.TryParse(options.ServiceCidr, out var cidr) || cidr.BaseAddress.AddressFamily != AddressFamily.InterNetwork)
                failures.Add($"ServiceCidr: '{options.ServiceCidr}' is not an IPv4 network such as 10.96.0.0/12.");
            if (!TableNames().IsMatch(options.TableName))
                failures.Add($"TableName: '{options.TableName}' must be 1 to 32 lower-case letters, digits or underscores and start with a letter.");
            Between(nameof(options.MinSyncInterval), options.MinSyncInterval, TimeSpan.Zero, TimeSpan.FromSeconds(10));
            Between(nameof(options.CheckInterval), options.CheckInterval, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1));
            Between(nameof(options.RetryDelay), options.RetryDelay, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1));
            Between(nameof(options.MaxRetryDelay), options.MaxRetryDelay, options.RetryDelay, TimeSpan.FromMinutes(10));
            Between(nameof(options.CommandTimeout), options.CommandTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10));
            Between(nameof(options.UdpIdleTimeout), options.UdpIdleTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1));
            Between(nameof(options.ConnectTimeout), options.ConnectTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(1));
            Between(nameof(options.DrainTimeout), options.DrainTimeout, TimeSpan.Zero, TimeSpan.FromMinutes(10));
            AtLeastOne(nameof(options.MaxConnections), options.MaxConnections);
            AtLeastOne(nameof(options.MaxUdpClients), options.MaxUdpClients);
            return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);

            void Between(string option, TimeSpan value, TimeSpan least, TimeSpan most)
            {
                if (value < least || value > most)
                    failures.Add($"{option}: {value} must be between {least} and {most}.");
            }

            void AtLeastOne(string option, int value)
            {
                if (value < 1)
                    failures.Add($"{option}: {value} must be at least 1.");
            }
        }
    }

    [GeneratedRegex("^[a-z][a-z0-9_]{0,31}$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture | RegexOptions.NonBacktracking)]
    private static partial Regex TableNames();
}
