using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace OrleansCluster.ApiServer;

/// <summary>
/// The cluster's own certificate authority and the certificates it issues, kept as PEM files in one folder: made at the first start, used again
/// at the next, renewed when they come near their end. Keys are ECDSA P-256 and readable by their owner only.
/// <code>
/// ca.crt ca.key                          the authority, valid ten years
/// apiserver.crt/.key                     serving certificate of the API
/// admin.crt/.key                         CN=kubernetes-admin, O=system:masters: the kubeconfig
/// apiserver-kubelet-client.crt/.key      CN=kube-apiserver-kubelet-client, O=system:masters: towards node agents
/// kubelet-NODE.crt/.key                  serving certificate of one machine's node agent
/// </code>
/// Safe for concurrent use, also by several processes on one folder: what is missing is made under the folder's lock. Processes that want different
/// names in the same certificate get one that has them all.
/// </summary>
public sealed class ClusterPki : IDisposable
{
    /// <summary>Validity of an issued certificate.</summary>
    public static readonly TimeSpan LeafLifetime = TimeSpan.FromDays(365);

    /// <summary>A certificate with less than this left is renewed.</summary>
    public static readonly TimeSpan RenewBefore = TimeSpan.FromDays(30);

    private static readonly TimeSpan AuthorityLifetime = TimeSpan.FromDays(3650);

    /// <summary>Certificates are valid from a little earlier than now: clocks of machines differ.</summary>
    private static readonly TimeSpan Backdate = TimeSpan.FromMinutes(5);

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode Readable = OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, X509Certificate2> _issued = new(StringComparer.Ordinal);
    private readonly List<X509Certificate2> _replaced = [];
    private readonly string _folder;
    private readonly TimeProvider _time;
    private readonly X509Certificate2 _authority;

    private ClusterPki(string folder, TimeProvider time, X509Certificate2 authority)
    {
        _folder = folder;
        _time = time;
        _authority = authority;
        Authority = X509CertificateLoader.LoadCertificate(authority.RawData);
    }

    /// <summary>The authority's certificate without its key.</summary>
    public X509Certificate2 Authority { get; }

    /// <summary>The authority's certificate as PEM.</summary>
    public string AuthorityPem => Authority.ExportCertificatePem() + "\n";

    /// <summary>Opens the folder, making it and the authority if they are not there.</summary>
    /// <param name="folder">Folder of the files, e.g. `DIR/pki`.</param>
    /// <param name="time">Clock of the validity.</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    /// <exception cref="CryptographicException">A file in it is no certificate or key.</exception>
    public static ClusterPki Open(string folder, TimeProvider time)
    {
        Directory.CreateDirectory(folder);
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(folder, OwnerOnly | UnixFileMode.UserExecute);
        var authority = Load(folder, "ca");
        if (authority is null)
        {
            using var folderLock = FolderLock.Take(folder, time);
            authority = Load(folder, "ca"); // Another process may have been faster.
            if (authority is null)
            {
                authority = MakeAuthority(time.GetUtcNow());
                Save(folder, "ca", authority);
            }
        }
        return new ClusterPki(folder, time, authority);
    }

    /// <summary>The serving certificate of the API, for localhost, this machine, the cluster's own names, and what else is asked for.</summary>
    /// <param name="clusterIp">Cluster IP of the Service `kubernetes`.</param>
    /// <param name="extraHosts">More names or addresses clients use.</param>
    public X509Certificate2 ServingCertificate(IPAddress clusterIp, IReadOnlyCollection<string> extraHosts) => GetOrIssue(
        "apiserver", "CN=kube-apiserver", Usage.Server,
        [
            "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", clusterIp.ToString(),
            .. OwnNames(), .. extraHosts,
        ]);

    /// <summary>The administrator's client certificate.</summary>
    public X509Certificate2 AdminCertificate() =>
        GetOrIssue("admin", "CN=kubernetes-admin, O=system:masters", Usage.Client, []);

    /// <summary>The client certificate with which the API server talks to node agents.</summary>
    public X509Certificate2 KubeletClientCertificate() =>
        GetOrIssue("apiserver-kubelet-client", "CN=kube-apiserver-kubelet-client, O=system:masters", Usage.Client, []);

    /// <summary>The serving certificate of a node agent.</summary>
    /// <param name="name">Name of the machine or process; part of the file name.</param>
    /// <param name="hosts">Names and addresses under which it is reached, besides localhost and this machine.</param>
    public X509Certificate2 NodeServingCertificate(string name, IReadOnlyCollection<string> hosts) =>
        GetOrIssue("kubelet-" + name, $"CN=system:node:{name}, O=system:nodes", Usage.Server, [name, .. OwnNames(), .. hosts]);

    /// <summary>A client certificate for any user, as for a test or an operator's colleague. Kept under the user's name.</summary>
    /// <param name="user">User name (CN).</param>
    /// <param name="groups">Groups (O).</param>
    public X509Certificate2 ClientCertificate(string user, params IReadOnlyCollection<string> groups)
    {
        // The builder puts what is added last in front.
        var subject = new X500DistinguishedNameBuilder();
        subject.AddCommonName(user);
        foreach (var group in groups.Reverse())
            subject.AddOrganizationName(group);
        var file = "client-" + string.Concat(user.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' ? c : '_'));
        return GetOrIssue(file, subject.Build(), Usage.Client, []);
    }

    /// <summary>True if the authority issued a certificate and it is valid now.</summary>
    public bool Issued(X509Certificate2 certificate)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(Authority);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.VerificationTime = _time.GetUtcNow().UtcDateTime;
        return chain.Build(certificate);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var certificate in _issued.Values.Concat(_replaced))
                certificate.Dispose();
            _issued.Clear();
            _replaced.Clear();
        }
        _authority.Dispose();
        Authority.Dispose();
    }

    private X509Certificate2 GetOrIssue(string name, string subject, Usage usage, IReadOnlyCollection<string> hosts) =>
        GetOrIssue(name, new X500DistinguishedName(subject), usage, hosts);

    private X509Certificate2 GetOrIssue(string name, X500DistinguishedName subject, Usage usage, IReadOnlyCollection<string> hosts)
    {
        lock (_lock)
        {
            if (_issued.TryGetValue(name, out var known))
            {
                if (IsUsable(known, hosts))
                    return known;
                // Connections may still use the old one; it is disposed with this object.
                _replaced.Add(known);
                _issued.Remove(name);
            }
            var certificate = Load(_folder, name);
            if (certificate is null || !IsUsable(certificate, hosts) || !Issued(certificate))
                certificate = IssueShared(name, subject, usage, hosts, certificate);
            _issued.Add(name, certificate);
            return certificate;
        }
    }

    /// <summary>Issues under the folder's lock, unless another process has just done so. Names that the present certificate has stay in.</summary>
    private X509Certificate2 IssueShared(string name, X500DistinguishedName subject, Usage usage, IReadOnlyCollection<string> hosts, X509Certificate2? present)
    {
        using var folderLock = FolderLock.Take(_folder, _time);
        present?.Dispose();
        present = Load(_folder, name);
        if (present is not null && Issued(present))
        {
            if (IsUsable(present, hosts))
                return present;
            hosts = [.. hosts, .. HostsOf(present)];
        }
        present?.Dispose();
        var certificate = Issue(subject, usage, hosts);
        Save(_folder, name, certificate);
        return certificate;
    }

    private static IEnumerable<string> HostsOf(X509Certificate2 certificate) =>
        certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>()
            .SelectMany(names => names.EnumerateDnsNames().Concat(names.EnumerateIPAddresses().Select(a => a.ToString())));

    private bool IsUsable(X509Certificate2 certificate, IReadOnlyCollection<string> hosts)
    {
        if (_time.GetUtcNow() >= new DateTimeOffset(certificate.NotAfter) - RenewBefore)
            return false;
        foreach (var host in hosts)
        {
            if (!certificate.MatchesHostname(host, allowWildcards: false, allowCommonName: false))
                return false;
        }
        return true;
    }

    private X509Certificate2 Issue(X500DistinguishedName subject, Usage usage, IReadOnlyCollection<string> hosts)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: false, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        var purpose = usage == Usage.Server ? new Oid("1.3.6.1.5.5.7.3.1") : new Oid("1.3.6.1.5.5.7.3.2");
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([purpose], critical: false));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(_authority, includeKeyIdentifier: true, includeIssuerAndSerial: false));
        if (hosts.Count > 0)
        {
            var names = new SubjectAlternativeNameBuilder();
            foreach (var host in hosts.Distinct(StringComparer.OrdinalIgnoreCase))
            {
                if (IPAddress.TryParse(host, out var address))
                    names.AddIpAddress(address);
                else
                    names.AddDnsName(host);
            }
            request.CertificateExtensions.Add(names.Build());
        }
        var now = _time.GetUtcNow();
        var end = now + LeafLifetime;
        var authorityEnd = new DateTimeOffset(_authority.NotAfter);
        if (end > authorityEnd)
            end = authorityEnd;
        using var certificate = request.Create(_authority, now - Backdate, end, SerialNumber());
        return certificate.CopyWithPrivateKey(key);
    }

    private static X509Certificate2 MakeAuthority(DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=kubernetes", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, true, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign | X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        return request.CreateSelfSigned(now - Backdate, now + AuthorityLifetime);
    }

    private static byte[] SerialNumber()
    {
        var serial = RandomNumberGenerator.GetBytes(16);
        serial[0] &= 0x7f;
        return serial;
    }

    private static IEnumerable<string> OwnNames()
    {
        yield return "localhost";
        yield return "127.0.0.1";
        yield return "::1";
        var machine = Environment.MachineName.ToLower(CultureInfo.InvariantCulture);
        // A machine name that is no host name (blanks, underscores) cannot stand in a certificate.
        if (machine.Length > 0 && machine != "localhost" && Uri.CheckHostName(machine) == UriHostNameType.Dns)
            yield return machine;
    }

    private static X509Certificate2? Load(string folder, string name)
    {
        var certificate = Path.Combine(folder, name + ".crt");
        var key = Path.Combine(folder, name + ".key");
        if (!File.Exists(certificate) || !File.Exists(key))
            return null;
        try
        {
            return X509Certificate2.CreateFromPemFile(certificate, key);
        }
        catch (Exception error) when (name != "ca" && error is CryptographicException or ArgumentException)
        {
            // Key and certificate of two issues: another process is between its two writes. Under the lock it is not, and what does not fit is made anew.
            return null;
        }
    }

    private static void Save(string folder, string name, X509Certificate2 certificate)
    {
        using var key = certificate.GetECDsaPrivateKey() ?? throw new CryptographicException("The certificate has no ECDSA key.");
        // The key goes first: a certificate without its key would be taken for damage at the next start, a key alone is made anew.
        PrivateFile.Write(Path.Combine(folder, name + ".key"), key.ExportPkcs8PrivateKeyPem() + "\n", OwnerOnly);
        PrivateFile.Write(Path.Combine(folder, name + ".crt"), certificate.ExportCertificatePem() + "\n", Readable);
    }

    private enum Usage
    {
        Server,
        Client,
    }
}

/// <summary>Keeps other processes from making the same files in a folder at the same time. Ends with the process that holds it, however that ends.</summary>
internal static class FolderLock
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);

    /// <summary>Takes the lock; disposing gives it back.</summary>
    /// <exception cref="IOException">Another process holds it for too long, or the folder cannot be written.</exception>
    public static IDisposable Take(string folder, TimeProvider time)
    {
        var path = Path.Combine(folder, ".lock");
        var started = time.GetTimestamp();
        using var never = new ManualResetEventSlim();
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (File.Exists(path) && time.GetElapsedTime(started) < Limit)
            {
                never.Wait(Pause); // Certificates are made at the start of a process, on its own thread.
            }
        }
    }
}

/// <summary>Writes files whose mode matters, so that no reader ever sees half of one or may read it too early.</summary>
internal static class PrivateFile
{
    /// <summary>Writes beside the target with the mode set from the start, then renames.</summary>
    public static void Write(string path, string text, UnixFileMode mode)
    {
        // A name of its own: two processes may write the same file at once, and the last one counts whole.
        var temporary = path + "." + Path.GetRandomFileName() + ".new";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = mode;
        using (var writer = new StreamWriter(temporary, new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: false), options))
            writer.Write(text);
        File.Move(temporary, path, overwrite: true);
    }
}
