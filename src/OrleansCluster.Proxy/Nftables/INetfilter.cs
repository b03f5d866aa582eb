using OrleansCluster.Proxy.Host;

namespace OrleansCluster.Proxy.Nftables;

/// <summary>The kernel's packet filter, as far as the proxy uses it.</summary>
public interface INetfilter
{
    /// <summary>Applies one transaction in nft syntax: all of it or nothing.</summary>
    /// <exception cref="ProxyBackendException">It was refused, or its outcome is unknown (time limit).</exception>
    Task ApplyAsync(string transaction, CancellationToken cancellationToken);

    /// <summary>Whether the table is there with its hooks.</summary>
    Task<bool> HasTableAsync(string table, CancellationToken cancellationToken);

    /// <summary>Whether this process can use the packet filter at all; the reason if not.</summary>
    Task<string?> WhyUnavailableAsync(CancellationToken cancellationToken);
}

/// <summary>Talks to the kernel through the <c>nft</c> program.</summary>
/// <param name="network">Where to run it.</param>
/// <param name="timeout">Longest run time.</param>
internal sealed class NftProgram(IHostNetwork network, TimeSpan timeout) : INetfilter
{
    // nft quotes the offending line below each message; a few say enough, thousands of them can follow.
    private const int MaxErrorLength = 600;

    public async Task ApplyAsync(string transaction, CancellationToken cancellationToken)
    {
        var result = await network.RunAsync("nft", ["-f", "-"], transaction, timeout, cancellationToken);
        if (!result.Succeeded)
            throw new ProxyBackendException($"nft refused the transaction (exit code {result.ExitCode}): {Shorten(result.Error)}");
    }

    public async Task<bool> HasTableAsync(string table, CancellationToken cancellationToken) =>
        (await network.RunAsync("nft", ["list", "chain", "ip", table, "dispatch"], "", timeout, cancellationToken)).Succeeded;

    public async Task<string?> WhyUnavailableAsync(CancellationToken cancellationToken)
    {
        // A check run (-c) walks the whole way into the kernel, so it shows a missing program, missing rights and a
        // kernel without the expressions the rules need, without leaving a trace.
        const string Probe = """
            add table ip orleanscluster_probe
            add chain ip orleanscluster_probe c { type nat hook prerouting priority -110; }
            add rule ip orleanscluster_probe c fib daddr type local meta l4proto tcp dnat ip addr . port to numgen inc mod 2 map { 0 : 192.0.2.1 . 1, 1 : 192.0.2.2 . 1 }

            """;
        var result = await network.RunAsync("nft", ["-c", "-f", "-"], Probe, timeout, cancellationToken);
        return result.Succeeded ? null : Shorten(result.Error);
    }

    private static string Shorten(string text)
    {
        text = text.Trim();
        return text.Length <= MaxErrorLength ? text : text[..MaxErrorLength] + " …";
    }
}
