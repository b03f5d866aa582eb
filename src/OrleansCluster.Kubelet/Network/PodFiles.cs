using System.Net;
using System.Text;

namespace OrleansCluster.Kubelet.Network;

/// <summary>Lines of a pod's <c>/etc/resolv.conf</c>.</summary>
/// <param name="Nameservers">Name servers, the first three count.</param>
/// <param name="Searches">Domains tried for short names.</param>
/// <param name="Options">Options, <c>name</c> or <c>name:value</c>.</param>
public sealed record PodDns(IReadOnlyList<string> Nameservers, IReadOnlyList<string> Searches, IReadOnlyList<string> Options)
{
    /// <summary>The DNS of <c>dnsPolicy: ClusterFirst</c>.</summary>
    /// <param name="dnsServer">The cluster's DNS address.</param>
    /// <param name="podNamespace">The pod's namespace.</param>
    /// <param name="clusterDomain">The cluster's domain, usually <c>cluster.local</c>.</param>
    public static PodDns ClusterFirst(string dnsServer, string podNamespace, string clusterDomain = "cluster.local") => new(
        [dnsServer],
        [$"{podNamespace}.svc.{clusterDomain}", $"svc.{clusterDomain}", clusterDomain],
        ["ndots:5"]);

    /// <summary>Adds a pod's <c>dnsConfig</c>: servers and domains are appended without doubles, options replace those of the same name.</summary>
    public PodDns Merge(IReadOnlyList<string> nameservers, IReadOnlyList<string> searches, IReadOnlyList<string> options)
    {
        static string OptionName(string option) => option.Split(':', 2)[0];
        var replaced = options.Select(OptionName).ToHashSet(StringComparer.Ordinal);
        return new(
            [.. Nameservers.Concat(nameservers).Distinct(StringComparer.Ordinal)],
            [.. Searches.Concat(searches).Distinct(StringComparer.Ordinal)],
            [.. Options.Where(option => !replaced.Contains(OptionName(option))), .. options]);
    }
}

/// <summary>Writes the files a pod gets for names and addresses. The caller mounts them over <c>/etc/hosts</c> and <c>/etc/resolv.conf</c>.</summary>
public static class PodFiles
{
    /// <summary>The contents of <c>/etc/hosts</c> of a pod with its own network.</summary>
    /// <param name="addresses">The pod's addresses.</param>
    /// <param name="hostname">The pod's host name.</param>
    /// <param name="fullName">The fully qualified name of a pod with a subdomain, or null.</param>
    /// <param name="aliases">Address and names of <c>hostAliases</c>.</param>
    public static string Hosts(
        IReadOnlyList<IPAddress> addresses,
        string hostname,
        string? fullName,
        IReadOnlyList<KeyValuePair<string, IReadOnlyList<string>>> aliases)
    {
        var text = new StringBuilder("# Written for this pod; changes are lost when a container restarts.\n")
            .Append("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n")
            .Append("fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        foreach (var address in addresses)
        {
            text.Append(address).Append('\t');
            if (!string.IsNullOrEmpty(fullName))
            {
                text.Append(fullName).Append('\t');
            }

            text.Append(hostname).Append('\n');
        }

        AppendAliases(text, aliases);
        return text.ToString();
    }

    /// <summary>The contents of <c>/etc/hosts</c> of a pod on the node's network: the node's own file and the aliases.</summary>
    /// <param name="nodeHosts">The node's <c>/etc/hosts</c>.</param>
    /// <param name="aliases">Address and names of <c>hostAliases</c>.</param>
    public static string HostNetworkHosts(string nodeHosts, IReadOnlyList<KeyValuePair<string, IReadOnlyList<string>>> aliases)
    {
        var text = new StringBuilder(nodeHosts);
        if (text.Length > 0 && text[^1] != '\n')
        {
            text.Append('\n');
        }

        AppendAliases(text, aliases);
        return text.ToString();
    }

    /// <summary>The contents of <c>/etc/resolv.conf</c>.</summary>
    public static string ResolvConf(PodDns dns)
    {
        var text = new StringBuilder();
        if (dns.Searches.Count > 0)
        {
            text.Append("search ").AppendJoin(' ', dns.Searches).Append('\n');
        }

        foreach (var server in dns.Nameservers.Take(3))
        {
            text.Append("nameserver ").Append(server).Append('\n');
        }

        if (dns.Options.Count > 0)
        {
            text.Append("options ").AppendJoin(' ', dns.Options).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>
    /// Writes a file that containers mount, in place: a mounted file must keep its inode, so it is not replaced by a rename.
    /// </summary>
    public static async Task WriteAsync(string path, string contents, CancellationToken cancellationToken)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        await File.WriteAllTextAsync(path, contents, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), cancellationToken);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        }
    }

    private static void AppendAliases(StringBuilder text, IReadOnlyList<KeyValuePair<string, IReadOnlyList<string>>> aliases)
    {
        if (aliases.Count == 0)
        {
            return;
        }

        text.Append("\n# hostAliases of the pod\n");
        foreach (var (address, names) in aliases)
        {
            text.Append(address).Append('\t').AppendJoin('\t', names).Append('\n');
        }
    }
}
