using System.Net;
using System.Security.Cryptography.X509Certificates;
using OrleansCluster.Api;

namespace OrleansCluster.Client;

/// <summary>How to reach a cluster's Orleans gateways, and as whom.</summary>
public sealed record ClusterClientOptions
{
    /// <summary>User name of the certificate that a cluster on this machine keeps for its operator's programs.</summary>
    internal const string CertificateName = "orleanscluster:sdk";

    /// <summary>Gateways of the silos; at least one.</summary>
    public required IReadOnlyList<IPEndPoint> Gateways { get; init; }

    /// <summary>The cluster's certificate authority; a silo without its certificate is not talked to.</summary>
    public required X509Certificate2 Authority { get; init; }

    /// <summary>This program's certificate with its key, issued by the authority for the group `orleanscluster:members`.</summary>
    public required X509Certificate2 Certificate { get; init; }

    /// <summary>
    /// In whose name objects are written (events, audit, ownership of finalizers). Members are trusted: nothing is authorized by this name. Default
    /// `system:orleanscluster-client` in `system:masters`.
    /// </summary>
    public UserInfo User { get; init; } = new("system:orleanscluster-client", [UserInfo.MastersGroup, "system:authenticated"]);

    /// <summary>
    /// Longest wait for one answer. Default 5 s; when a silo dies, calls in flight to it wait this long before they are repeated elsewhere, so longer
    /// means a slower failover, shorter repeats calls that were only slow.
    /// </summary>
    public TimeSpan ResponseTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long <see cref="ClusterClient.ConnectAsync"/> tries to find a gateway. Default 10 s.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Clock of back-off and certificate validity. Default the real one.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Options for a cluster that `orleanscluster dev` runs on this machine.</summary>
    /// <param name="directory">Its data directory (`--data`), readable to its operator only.</param>
    /// <exception cref="FileNotFoundException">There is no cluster in that directory.</exception>
    public static ClusterClientOptions FromDataDirectory(string directory)
    {
        var gateway = Path.Combine(directory, "gateway");
        if (!File.Exists(gateway) || !IPEndPoint.TryParse(File.ReadAllText(gateway).Trim(), out var endpoint))
            throw new FileNotFoundException($"There is no cluster in '{directory}': it has no file 'gateway' with an address in it.", gateway);
        var pki = Path.Combine(directory, "pki");
        var name = "client-" + CertificateName.Replace(':', '_');
        return new ClusterClientOptions
        {
            Gateways = [endpoint],
            Authority = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(pki, "ca.crt")),
            Certificate = X509Certificate2.CreateFromPemFile(Path.Combine(pki, name + ".crt"), Path.Combine(pki, name + ".key")),
        };
    }
}
