using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Server;
using OrleansCluster.Kubelet.Streaming;

namespace OrleansCluster.Kubelet.Tests.Nodes;

/// <summary>Who gets past the endpoint's door.</summary>
public sealed class KubeletServerTests : IAsyncLifetime, IPodContainers
{
    private static readonly DateTimeOffset From = DateTimeOffset.UtcNow.AddDays(-1);

    private readonly X509Certificate2 _authority = Authority("CN=cluster");
    private readonly X509Certificate2 _otherAuthority = Authority("CN=cluster");
    private KubeletServer? _server;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var serving = Issue(_authority, "CN=node", "1.3.6.1.5.5.7.3.1");
        var options = new NodeAgentOptions { Port = 0, ServerCertificate = () => serving, ClientAuthority = () => _authority };
        _server = new KubeletServer(options, this, new Dictionary<string, NodeAgent>(), TimeProvider.System, NullLoggerFactory.Instance);
        await _server.StartAsync(Stop);
    }

    public async ValueTask DisposeAsync()
    {
        await _server!.StopAsync();
        _authority.Dispose();
        _otherAuthority.Dispose();
    }

    PodStreams? IPodContainers.Find(string nodeName, string podNamespace, string podName) => null;

    [Fact]
    public async Task Health_is_open_and_nothing_else_without_a_certificate()
    {
        Assert.Equal(HttpStatusCode.OK, await GetAsync("/healthz", null));
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync("/node-1/containerLogs/default/web/c", null));
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync("/node-1/stats/summary", null));
    }

    [Theory]
    [InlineData("CN=kube-apiserver-kubelet-client", HttpStatusCode.NotFound)]
    [InlineData("CN=admin, O=system:masters", HttpStatusCode.NotFound)]
    [InlineData("CN=system:node:node-1, O=system:nodes", HttpStatusCode.Forbidden)]
    [InlineData("CN=system:masters", HttpStatusCode.Forbidden)]
    public async Task Certificate_of_the_cluster_must_be_allowed(string subject, HttpStatusCode status)
    {
        using var certificate = Issue(_authority, subject);
        Assert.Equal(status, await GetAsync("/node-1/containerLogs/default/web/c", certificate));
    }

    [Fact]
    public async Task Certificate_of_another_authority_is_refused()
    {
        using var certificate = Issue(_otherAuthority, "CN=admin, O=system:masters");
        await Assert.ThrowsAnyAsync<Exception>(() => GetAsync("/node-1/containerLogs/default/web/c", certificate));
    }

    [Fact]
    public async Task Server_certificate_is_no_client_certificate()
    {
        using var certificate = Issue(_authority, "CN=admin, O=system:masters", "1.3.6.1.5.5.7.3.1");
        await Assert.ThrowsAnyAsync<Exception>(() => GetAsync("/node-1/containerLogs/default/web/c", certificate));
    }

    private async Task<HttpStatusCode> GetAsync(string path, X509Certificate2? certificate)
    {
        using var handler = new SocketsHttpHandler { UseProxy = false };
        handler.SslOptions.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
        if (certificate is not null)
            handler.SslOptions.LocalCertificateSelectionCallback = (_, _, _, _, _) => certificate;
        using var client = new HttpClient(handler);
        using var response = await client.GetAsync(new Uri($"https://127.0.0.1:{_server!.Port}{path}"), Stop);
        return response.StatusCode;
    }

    private static X509Certificate2 Authority(string subject)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        return request.CreateSelfSigned(From, From.AddDays(10));
    }

    private static X509Certificate2 Issue(X509Certificate2 authority, string subject, string usage = "1.3.6.1.5.5.7.3.2")
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(usage)], critical: false));
        using var certificate = request.Create(authority, From, From.AddDays(9), RandomNumberGenerator.GetBytes(8));
        using var withKey = certificate.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(withKey.Export(X509ContentType.Pkcs12), null);
    }
}
