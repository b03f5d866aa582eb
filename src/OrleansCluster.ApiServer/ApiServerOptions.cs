using System.Net;
using Microsoft.Extensions.Options;

namespace OrleansCluster.ApiServer;

/// <summary>Options of the API server.</summary>
public sealed class ApiServerOptions
{
    /// <summary>
    /// Folder for what the server makes at its first start and uses again: `pki/` (see <see cref="ClusterPki"/>), `token` (the administrator's bearer
    /// token) and `kubeconfig`. Must be writable and private to the operator.
    /// </summary>
    public string DataDirectory { get; set; } = ".cluster";

    /// <summary>
    /// Addresses to listen on; default `127.0.0.1:6443`. Port 0 takes any free port. More than loopback is a decision: whoever can reach the port
    /// can try credentials.
    /// </summary>
    public IList<IPEndPoint> Endpoints { get; } = [];

    /// <summary>Names and addresses, besides localhost and this machine's name, that the serving certificate must be good for.</summary>
    public IList<string> ExtraHosts { get; } = [];

    /// <summary>Cluster IP of the Service `default/kubernetes`, part of the serving certificate. Default `10.96.0.1`.</summary>
    public IPAddress KubernetesServiceAddress { get; set; } = IPAddress.Parse("10.96.0.1");

    /// <summary>URL written into the kubeconfig; default the first endpoint with the port it got.</summary>
    public Uri? PublicUrl { get; set; }

    /// <summary>File of static bearer tokens (`token,user,uid,"group1,group2"` per line), or null.</summary>
    public string? TokenFile { get; set; }

    /// <summary>
    /// True lets requests without a credential pass as `system:anonymous`, which the default roles permit health and version only. False answers
    /// them 401. Default true, as health checks carry no credential.
    /// </summary>
    public bool AllowAnonymous { get; set; } = true;

    /// <summary>True serves Swagger UI at `/swagger`. Its page and document are open to everybody: names and shapes, no data. Default true.</summary>
    public bool EnableSwagger { get; set; } = true;

    /// <summary>True writes <see cref="DataDirectory"/>/kubeconfig for the administrator once the server listens. Default true.</summary>
    public bool WriteKubeconfig { get; set; } = true;

    /// <summary>True creates missing namespaces, roles and bindings at start. Default true; one server of a cluster suffices, more do no harm.</summary>
    public bool Bootstrap { get; set; } = true;

    /// <summary>
    /// How long a server that was told to stop goes on serving while `/readyz` already answers 503, so that load balancers send nothing new. Default none;
    /// it counts towards the host's shutdown time-out, which must be longer.
    /// </summary>
    public TimeSpan ShutdownDelay { get; set; }

    /// <summary>
    /// Most connections open at once, on each of <see cref="Endpoints"/>; one more is closed before its TLS handshake. Default 10,000; 0 for no limit. An idle
    /// connection costs some ten kilobytes and a file descriptor, and HTTP/2 clients carry all their watches on one.
    /// </summary>
    public int MaxConnections { get; set; } = 10_000;

    internal string PkiDirectory => Path.Combine(DataDirectory, "pki");

    internal string AdminTokenFile => Path.Combine(DataDirectory, "token");

    internal string KubeconfigFile => Path.Combine(DataDirectory, "kubeconfig");
}

/// <summary>Checks the options at start, all of them at once.</summary>
internal sealed class ApiServerOptionsValidator : IValidateOptions<ApiServerOptions>
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, ApiServerOptions options)
    {
        var failures = new List<string>();
        if (string.IsNullOrWhiteSpace(options.DataDirectory))
            failures.Add("ApiServerOptions.DataDirectory is empty: name a folder the server may write to.");
        if (options.TokenFile is { } file && !File.Exists(file))
            failures.Add($"ApiServerOptions.TokenFile '{file}' does not exist: create it or leave the option out.");
        foreach (var host in options.ExtraHosts)
        {
            if (Uri.CheckHostName(host) == UriHostNameType.Unknown)
                failures.Add($"ApiServerOptions.ExtraHosts: '{host}' is neither a host name nor an IP address.");
        }
        if (options.PublicUrl is { } url && url.Scheme != Uri.UriSchemeHttps)
            failures.Add($"ApiServerOptions.PublicUrl '{url}' must be an https URL.");
        if (options.ShutdownDelay < TimeSpan.Zero)
            failures.Add($"ApiServerOptions.ShutdownDelay {options.ShutdownDelay} must not be negative.");
        if (options.MaxConnections < 0)
            failures.Add($"ApiServerOptions.MaxConnections {options.MaxConnections} must not be negative; 0 is no limit.");
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }
}
