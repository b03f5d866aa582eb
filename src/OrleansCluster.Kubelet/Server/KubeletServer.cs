using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Streaming;

namespace OrleansCluster.Kubelet.Server;

/// <summary>
/// The HTTPS endpoint of all nodes of the process: logs, exec, attach and port-forward for API servers. Whoever has no client certificate of the
/// cluster's authority gets no further than <c>/healthz</c>; whoever has one must be named in the options or be of `system:masters`.
/// </summary>
internal sealed class KubeletServer
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";
    private const string OrganizationType = "2.5.4.10";
    private const string MastersGroup = "system:masters";

    private readonly WebApplication _application;
    private readonly NodeAgentOptions _options;

    public KubeletServer(
        NodeAgentOptions options, IPodContainers pods, IReadOnlyDictionary<string, NodeAgent> agents, TimeProvider time, ILoggerFactory loggers)
    {
        _options = options;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(loggers);
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            // exec sends as much as the user types or pipes; the stream has its own flow control.
            kestrel.Limits.MaxRequestBodySize = null;
            // The command of an exec stands in the first line: as long as the API server lets through, and its own headers.
            kestrel.Limits.MaxRequestLineSize = 256 * 1024;
            kestrel.Limits.MaxRequestHeadersTotalSize = 512 * 1024;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Limits.MinResponseDataRate = null;
            kestrel.Listen(options.ListenAddress, options.Port, listen =>
            {
                // Upgrades do not exist in HTTP/2.
                listen.Protocols = HttpProtocols.Http1;
                listen.UseHttps(https =>
                {
                    https.ServerCertificateSelector = (_, _) => options.ServerCertificate!();
                    https.ClientCertificateMode = ClientCertificateMode.AllowCertificate;
                    https.ClientCertificateValidation = (certificate, _, _) => IsOfCluster(certificate);
                });
            });
        });
        _application = builder.Build();
        _application.Use(AuthorizeAsync);
        _application.MapGet("/healthz", () => "ok");
        new KubeletEndpoints(pods, time, loggers.CreateLogger<KubeletEndpoints>()).Map(_application);
        _application.MapGet("/{node}/stats/summary", async (string node, HttpContext context) =>
        {
            if (!agents.TryGetValue(node, out var agent))
            {
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                return;
            }
            context.Response.ContentType = "application/json";
            await context.Response.Body.WriteAsync(await StatsSummary.WriteAsync(agent, time, context.RequestAborted), context.RequestAborted);
        });
    }

    /// <summary>Where it listens, once started.</summary>
    public int Port { get; private set; }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        await _application.StartAsync(cancellationToken);
        var addresses = _application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>();
        Port = addresses?.Addresses.Select(address => new Uri(address).Port).FirstOrDefault() ?? _options.Port;
    }

    public async Task StopAsync()
    {
        // Open logs and shells end with the agent; they are not waited for.
        using var now = new CancellationTokenSource(TimeSpan.FromMilliseconds(500));
        try
        {
            await _application.StopAsync(now.Token);
        }
        catch (OperationCanceledException)
        {
            // Cut.
        }
        await _application.DisposeAsync();
    }

    /// <summary>Whether a certificate's subject may use the endpoint.</summary>
    internal static bool IsAllowed(X509Certificate2 certificate, IEnumerable<string> names)
    {
        if (names.Contains(certificate.GetNameInfo(X509NameType.SimpleName, forIssuer: false), StringComparer.Ordinal))
            return true;
        foreach (var part in certificate.SubjectName.EnumerateRelativeDistinguishedNames())
        {
            if (!part.HasMultipleElements && part.GetSingleElementType().Value == OrganizationType && part.GetSingleElementValue() == MastersGroup)
                return true;
        }
        return false;
    }

    private async Task AuthorizeAsync(HttpContext context, RequestDelegate next)
    {
        if (!context.Request.Path.Equals("/healthz", StringComparison.Ordinal))
        {
            var certificate = context.Connection.ClientCertificate;
            if (certificate is null || !IsAllowed(certificate, _options.AllowedClients))
            {
                context.Response.StatusCode = certificate is null ? StatusCodes.Status401Unauthorized : StatusCodes.Status403Forbidden;
                return;
            }
        }
        await next(context);
    }

    private bool IsOfCluster(X509Certificate2 certificate)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(_options.ClientAuthority!());
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid(ClientAuthentication));
        return chain.Build(certificate);
    }
}
