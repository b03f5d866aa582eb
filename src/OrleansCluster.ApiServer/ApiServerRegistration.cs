using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;
using OrleansCluster.Operations;
using OrleansCluster.Storage;
using Swashbuckle.AspNetCore.Swagger;

namespace OrleansCluster.ApiServer;

/// <summary>Composition of the API server into a host.</summary>
public static class ApiServerRegistration
{
    /// <summary>
    /// Streams of one HTTP/2 connection, as of kube-apiserver: a client with many informers puts all its watches on one connection.
    /// </summary>
    private const int MaxStreamsPerConnection = 1000;

    /// <summary>Longest first line of a request, and most header bytes.</summary>
    private const int MaxRequestLine = 256 * 1024;

    /// <summary>Kestrel refuses bodies above this; our own, smaller limit answers with a proper Status first.</summary>
    private const long HardBodyLimit = 4L * RequestBody.MaxBytes;

    /// <summary>
    /// Adds the API server and its HTTPS endpoints. The host adds an Orleans client or silo (<see cref="IGrainFactory"/>), the caches
    /// (<see cref="IResourceCaches"/>) and the <see cref="ResourceRegistry"/>.
    /// </summary>
    public static WebApplicationBuilder AddKubernetesApiServer(this WebApplicationBuilder builder, Action<ApiServerOptions>? configure = null)
    {
        var services = builder.Services;
        services.AddOptions<ApiServerOptions>().Configure(configure ?? (_ => { })).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ApiServerOptions>, ApiServerOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton(Random.Shared);
        services.AddSingleton(provider => provider.GetRequiredService<IOptions<ApiServerOptions>>().Value);

        // Security.
        services.TryAddSingleton(provider => ClusterPki.Open(
            provider.GetRequiredService<ApiServerOptions>().PkiDirectory, provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton(provider => LoadTokens(provider.GetRequiredService<ApiServerOptions>()));
        services.AddSingleton(provider => new Authentication(
            provider.GetRequiredService<ClusterPki>(), provider.GetRequiredService<StaticTokens>(),
            provider.GetRequiredService<ApiServerOptions>().AllowAnonymous));
        services.AddSingleton<RbacAuthorizer>();
        services.AddSingleton<RoleEscalation>();
        services.AddSingleton<Impersonation>();
        services.AddSingleton<AccessReviews>();

        // Objects.
        services.AddSingleton<IBodyDecoder, BodyDecoder>();
        services.AddSingleton<RequestBody>();
        services.AddSingleton<ListSnapshots>();
        services.AddSingleton<ReadStates>();
        services.AddSingleton<MetaShapes>();
        services.AddSingleton<ReadHandler>();
        services.AddSingleton(provider => new WatchHandler(
            provider.GetRequiredService<IResourceCaches>(), provider.GetRequiredService<MetaShapes>(), provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<Random>().NextDouble, provider.GetRequiredService<ILogger<WatchHandler>>()));
        services.AddSingleton<Func<Guid>>(Guid.NewGuid);
        services.AddSingleton<WriteHandler>();
        services.AddSingleton<CollectionDeletion>();
        services.AddSingleton<PodWrites>();
        services.AddHttpForwarder();
        services.AddSingleton<PodStreamHandler>();

        // What describes the server.
        services.AddSingleton<DiscoveryDocuments>();
        services.AddSingleton<DiscoveryHandler>();
        services.AddSingleton<OpenApiHandler>();
        services.AddSingleton<RequestMetrics>();
        services.AddClusterMetrics();
        services.AddHealthCheck(ApiServerHealth.Store);
        services.AddHealthCheck(ApiServerHealth.Caches);
        services.AddHealthCheck(ApiServerHealth.Silo);
        services.AddHealthCheck(provider => provider.GetRequiredService<Bootstrapper>().HealthCheck);

        services.AddSingleton<ApiDescription>();
        services.AddSingleton<ISwaggerProvider>(provider => provider.GetRequiredService<ApiDescription>());
        services.AddSingleton<IAsyncSwaggerProvider>(provider => provider.GetRequiredService<ApiDescription>());

        services.AddSingleton<ApiRouter>();
        services.AddSingleton<Bootstrapper>();
        services.AddHostedService(provider => provider.GetRequiredService<Bootstrapper>());

        // One line per request at Information would be the busiest log of the cluster; failures are logged by the router.
        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning);
        builder.Logging.AddFilter("Yarp", LogLevel.Warning);
        builder.WebHost.UseKestrelHttpsConfiguration();
        services.AddOptions<KestrelServerOptions>().Configure<ApiServerOptions, IServiceProvider>(ConfigureKestrel);
        return builder;
    }

    /// <summary>
    /// Serves the API. The middleware, top to bottom: endpoints that the host itself has mapped keep their paths; Swagger UI needs no credential and
    /// goes before authentication; everything else goes to <see cref="ApiRouter"/>, whose summary lists the steps of a request.
    /// </summary>
    public static WebApplication MapKubernetesApi(this WebApplication app)
    {
        var router = app.Services.GetRequiredService<ApiRouter>();
        router.Metrics = new MetricsPage(app, app.Services);
        var shutdown = app.Services.GetRequiredService<GracefulShutdown>();
        shutdown.Delay = app.Services.GetRequiredService<ApiServerOptions>().ShutdownDelay;
        var swagger = app.Services.GetRequiredService<ApiServerOptions>().EnableSwagger ? new SwaggerPages(app) : null;
        app.Use(next => context =>
        {
            // A client in the middle of its work is sent to another server while this one still answers: a request that is on its way when an idle
            // connection is closed would be lost (RFC 9112, 9.6). HTTP/2 has GOAWAY for that, which Kestrel sends by itself.
            if (!HttpProtocol.IsHttp2(context.Request.Protocol))
            {
                if (shutdown.HasBegun)
                    context.Response.Headers.Connection = "close";
                else if (!HttpMethods.IsGet(context.Request.Method))
                    context.Response.OnStarting(AskToGoAsync, (shutdown, context)); // A write may take so long that the end begins before its answer does.
            }
            if (context.GetEndpoint() is not null)
                return next(context);
            return swagger is not null && SwaggerPages.Serves(context.Request.Path) ? swagger.HandleAsync(context) : router.HandleAsync(context);
        });
        return app;
    }

    private static Task AskToGoAsync(object state)
    {
        var (shutdown, context) = ((GracefulShutdown, HttpContext))state;
        if (shutdown.HasBegun)
            context.Response.Headers.Connection = "close";
        return Task.CompletedTask;
    }

    private static void ConfigureKestrel(KestrelServerOptions kestrel, ApiServerOptions options, IServiceProvider provider)
    {
        kestrel.AddServerHeader = false;
        // Streams that leave HTTP (exec, attach, port-forward over SPDY and WebSocket) are counted apart.
        kestrel.Limits.MaxConcurrentConnections = kestrel.Limits.MaxConcurrentUpgradedConnections = options.MaxConnections > 0 ? options.MaxConnections : null;
        kestrel.Limits.MaxRequestBodySize = HardBodyLimit;
        // A command given to exec and a long selector stand in the first line; kube-apiserver takes up to 1 MiB.
        kestrel.Limits.MaxRequestLineSize = MaxRequestLine;
        kestrel.Limits.MaxRequestHeadersTotalSize = MaxRequestLine;
        kestrel.Limits.Http2.MaxRequestHeaderFieldSize = MaxRequestLine;
        kestrel.Limits.Http2.MaxStreamsPerConnection = MaxStreamsPerConnection;
        // Watches are quiet for minutes; a dead peer is found by pings instead of by time.
        kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(30);
        kestrel.Limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);
        var tls = new ServerTls(provider.GetRequiredService<ClusterPki>(), options);
        foreach (var endpoint in options.Endpoints.Count > 0 ? options.Endpoints : [new IPEndPoint(IPAddress.Loopback, 6443)])
        {
            kestrel.Listen(endpoint, listen =>
            {
                listen.Protocols = HttpProtocols.Http1AndHttp2;
                listen.UseHttps(new TlsHandshakeCallbackOptions { OnConnection = tls.OnConnectionAsync });
            });
        }
    }

    private static StaticTokens LoadTokens(ApiServerOptions options)
    {
        Directory.CreateDirectory(options.DataDirectory);
        var token = StaticTokens.EnsureTokenFile(options.AdminTokenFile);
        var admin = new UserInfo("kubernetes-admin", [UserInfo.MastersGroup, Authentication.AuthenticatedGroup]);
        return StaticTokens.Load(options.TokenFile, [(token, admin)]);
    }

    /// <summary>TLS settings shared by all connections; made anew only when the certificate has been renewed.</summary>
    private sealed class ServerTls(ClusterPki pki, ApiServerOptions options)
    {
        // An address that it is told to listen on is one that clients use.
        private readonly string[] _hosts =
        [
            .. options.ExtraHosts,
            .. options.Endpoints.Select(e => e.Address).Where(a => !a.Equals(IPAddress.Any) && !a.Equals(IPAddress.IPv6Any)).Select(a => a.ToString()),
        ];
        private Settings? _settings;

        public ValueTask<SslServerAuthenticationOptions> OnConnectionAsync(TlsHandshakeCallbackContext context)
        {
            var certificate = pki.ServingCertificate(options.KubernetesServiceAddress, _hosts);
            var settings = _settings;
            if (settings is null || settings.Certificate != certificate)
            {
                settings = new Settings(certificate, SslStreamCertificateContext.Create(certificate, additionalCertificates: null, offline: true));
                _settings = settings;
            }
            return ValueTask.FromResult(new SslServerAuthenticationOptions
            {
                ServerCertificateContext = settings.Context,
                // Asked for, not demanded: tokens are the other way in. Who issued it is checked by the authenticator, which answers 401.
                ClientCertificateRequired = true,
                CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
                RemoteCertificateValidationCallback = static (_, _, _, _) => true,
            });
        }

        private sealed record Settings(X509Certificate2 Certificate, SslStreamCertificateContext Context);
    }
}
