using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer.Tests;

/// <summary>A whole control plane and API server in this process: real Kestrel, real grains, a private store. Disposed at the end.</summary>
public sealed class TestCluster : IAsyncLifetime
{
    private readonly List<IDisposable> _disposables = [];
    private WebApplication? _app;

    public string Folder { get; } = Directory.CreateTempSubdirectory("apiserver-test-").FullName;

    /// <summary>See <see cref="ApiServerOptions.MaxConnections"/>.</summary>
    public int MaxConnections { get; init; }

    public Uri Url { get; private set; } = null!;

    public IServiceProvider Services => _app!.Services;

    public string AdminToken => File.ReadAllText(Path.Combine(Folder, "token")).Trim();

    public string Kubeconfig => Path.Combine(Folder, "kubeconfig");

    public ClusterPki Pki => Services.GetRequiredService<ClusterPki>();

    /// <summary>A client with the administrator's token.</summary>
    public HttpClient Admin { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        var tokens = Path.Combine(Folder, "tokens.csv");
        await File.WriteAllTextAsync(tokens, "# static users\nbob-token,bob,1,\"devs,ops\"\nviewer-token,viewer,2,\"viewers\"\n");
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { EnvironmentName = "Production" });
        builder.Logging.ClearProviders();
        if (Environment.GetEnvironmentVariable("TEST_LOG") is { Length: > 0 })
            builder.Logging.AddSimpleConsole().SetMinimumLevel(LogLevel.Information);
        builder.Services.AddSingleton(new ResourceRegistry(BuiltInResources.All));
        builder.Services.AddSqliteObjectStore();
        builder.Services.AddResourceCaches();
        builder.Services.AddControlPlane();
        builder.Host.UseOrleans(silo =>
        {
            silo.UseLocalhostClustering(FreePort(), FreePort());
            silo.Configure<ClusterOptions>(o => o.ServiceId = o.ClusterId = Guid.NewGuid().ToString("N"));
        });
        builder.AddKubernetesApiServer(options =>
        {
            options.DataDirectory = Folder;
            options.Endpoints.Add(new IPEndPoint(IPAddress.Loopback, 0));
            options.TokenFile = tokens;
            options.MaxConnections = MaxConnections;
        });
        _app = builder.Build();
        _app.MapKubernetesApi();
        await _app.StartAsync();
        Url = new Uri(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
        Admin = Client(AdminToken);
        await ReadyAsync();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var disposable in _disposables)
            disposable.Dispose();
        if (_app is not null)
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            await _app.StopAsync(limit.Token);
            await _app.DisposeAsync();
        }
        Directory.Delete(Folder, recursive: true);
    }

    /// <summary>A client that trusts the cluster, with a bearer token or none.</summary>
    public HttpClient Client(string? token, Version? version = null, bool decompress = false)
    {
        var handler = new SocketsHttpHandler
        {
            AutomaticDecompression = decompress ? DecompressionMethods.GZip : DecompressionMethods.None,
        };
        handler.SslOptions.RemoteCertificateValidationCallback = (_, certificate, _, errors) =>
            certificate is System.Security.Cryptography.X509Certificates.X509Certificate2 c && Pki.Issued(c)
            && !errors.HasFlag(System.Net.Security.SslPolicyErrors.RemoteCertificateNameMismatch);
        var client = new HttpClient(handler)
        {
            BaseAddress = Url,
            DefaultRequestVersion = version ?? HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Timeout = TimeSpan.FromSeconds(30),
        };
        if (token is not null)
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        _disposables.Add(client);
        return client;
    }

    /// <summary>A client with a client certificate.</summary>
    public HttpClient CertificateClient(System.Security.Cryptography.X509Certificates.X509Certificate2 certificate)
    {
        var handler = new SocketsHttpHandler();
        handler.SslOptions.RemoteCertificateValidationCallback = (_, _, _, _) => true;
        handler.SslOptions.LocalCertificateSelectionCallback = (_, _, _, _, _) => certificate;
        var client = new HttpClient(handler) { BaseAddress = Url };
        _disposables.Add(client);
        return client;
    }

    /// <summary>Stops the server as a host does on SIGTERM.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => _app!.StopAsync(cancellationToken);

    private async Task ReadyAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (true)
        {
            using var answer = await Admin.GetAsync("/readyz", limit.Token);
            if (answer.IsSuccessStatusCode)
                return;
            await Task.Delay(20, limit.Token);
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
