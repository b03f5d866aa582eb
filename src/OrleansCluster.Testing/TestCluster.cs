using System.Diagnostics;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using k8s;
using k8s.Models;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.ApiServer;
using OrleansCluster.Client;
using OrleansCluster.Client.Security;
using OrleansCluster.Hosting;
using OrleansCluster.Storage;

namespace OrleansCluster.Testing;

/// <summary>
/// A whole cluster inside a test: the executable's own composition (store, silo, API server over HTTPS, controllers, scheduler) with hollow nodes, on
/// free ports and in its own folder. Any number of them run in one process side by side.
/// <code>
/// await using var cluster = await TestCluster.StartAsync();
/// await cluster.Kubernetes.CreateNamespacedPodAsync(pod, "default");
/// await cluster.WaitForAsync&lt;V1Pod&gt;(pods => pods.Any(p => p.Status.Phase == "Running"), "the pod runs");
/// </code>
/// </summary>
public sealed partial class TestCluster : IAsyncDisposable
{
    private static readonly UserInfo Administrator = new("kubernetes-admin", [UserInfo.MastersGroup, "system:authenticated"]);

    private readonly TestClusterOptions _options;
    private readonly bool _ownsDirectory;
    private readonly List<IDisposable> _clients = [];
    private readonly List<TestNodes> _nodes = [];
    private WebApplication? _app;
    private int _port;
    private Kubernetes? _kubernetes;
    private HttpClient? _http;
    private IObjectClient? _objects;

    private TestCluster(TestClusterOptions options)
    {
        _options = options;
        _ownsDirectory = options.DataDirectory is null;
        DataDirectory = options.DataDirectory ?? Directory.CreateTempSubdirectory("orleanscluster-").FullName;
    }

    /// <summary>Folder of certificates, kubeconfig and store.</summary>
    public string DataDirectory { get; }

    /// <summary>A kubeconfig of the administrator, for kubectl and other programs.</summary>
    public string Kubeconfig => Path.Combine(DataDirectory, "kubeconfig");

    /// <summary>Where the API is. It stays the same over <see cref="RestartAsync"/>.</summary>
    public Uri BaseAddress { get; private set; } = new("https://127.0.0.1");

    /// <summary>The official C# client as administrator.</summary>
    public Kubernetes Kubernetes => _kubernetes ??= CreateKubernetes(Certificates.AdminCertificate());

    /// <summary>Plain HTTPS as administrator, with <see cref="BaseAddress"/> set.</summary>
    public HttpClient Http => _http ??= CreateHttpClient(Certificates.AdminCertificate());

    /// <summary>Reads and writes of objects past HTTP, as controllers do them.</summary>
    public IObjectClient Objects => _objects ??= new ObjectClient(
        new ObjectWriter(Grains, _options.Time, Administrator), Caches, Services.GetRequiredService<ResourceRegistry>());

    /// <summary>The silo's grains.</summary>
    public IGrainFactory Grains => Services.GetRequiredService<IGrainFactory>();

    /// <summary>All services of the cluster's host.</summary>
    public IServiceProvider Services => App.Services;

    /// <summary>From the call of <see cref="StartAsync"/> until everything was ready.</summary>
    public TimeSpan StartDuration { get; private set; }

    private WebApplication App => _app ?? throw new ObjectDisposedException(nameof(TestCluster), "The cluster is stopped.");

    private IResourceCaches Caches => Services.GetRequiredService<IResourceCaches>();

    private ClusterPki Certificates => Services.GetRequiredService<ClusterPki>();

    /// <summary>Starts a cluster and returns when its API, its default namespaces and roles, and its nodes are ready.</summary>
    /// <param name="options">What kind of cluster; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="TimeoutException">Not ready in time; the message says what is missing.</exception>
    public static async Task<TestCluster> StartAsync(TestClusterOptions? options = null, CancellationToken cancellationToken = default)
    {
        var cluster = new TestCluster(options ?? new TestClusterOptions());
        try
        {
            await cluster.StartHostAsync(cancellationToken);
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// Stops everything, nodes included, and starts it again on the same data and port. Objects stay only with a store on disk
    /// (<see cref="TestClusterOptions.InMemory"/> false). Clients and grain references got before must be got anew.
    /// </summary>
    public async Task RestartAsync(CancellationToken cancellationToken = default)
    {
        await StopHostAsync();
        await StartHostAsync(cancellationToken);
    }

    /// <summary>Adds hollow nodes that can be stopped apart from the others, and waits until they are ready.</summary>
    /// <param name="names">Their names.</param>
    /// <returns>The nodes; stopping them looks to the cluster as if their machine had lost its power.</returns>
    public async Task<TestNodes> AddNodesAsync(params IReadOnlyList<string> names)
    {
        var nodes = new TestNodes(names, Services, Certificates, _options.ConfigureNodes, _options.Time);
        _nodes.Add(nodes);
        await nodes.StartAsync();
        await WaitForNodesAsync(names, CancellationToken.None);
        return nodes;
    }

    /// <summary>A client of any user, e.g. to see what its role permits. Disposed with the cluster.</summary>
    /// <param name="user">User name.</param>
    /// <param name="groups">Groups.</param>
    public Kubernetes CreateKubernetes(string user, params IReadOnlyCollection<string> groups) =>
        CreateKubernetes(Certificates.ClientCertificate(user, groups));

    /// <summary>Plain HTTPS as any user. Disposed with the cluster.</summary>
    /// <param name="user">User name.</param>
    /// <param name="groups">Groups.</param>
    public HttpClient CreateHttpClient(string user, params IReadOnlyCollection<string> groups) =>
        CreateHttpClient(Certificates.ClientCertificate(user, groups));

    /// <summary>How the Orleans client SDK reaches this cluster: over its gateway, with a certificate of the members' group.</summary>
    public ClusterClientOptions ClientOptions() => new()
    {
        Gateways = IsSpread
            ? Local.Membership.ActiveGateways()
            : [GatewayFile.Read(DataDirectory) ?? throw new InvalidOperationException("The cluster has no gateway.")],
        Authority = Certificates.Authority,
        Certificate = Certificates.ClientCertificate("orleanscluster:test", MemberCertificates.Group),
    };

    /// <summary>Waits until the objects of a kind are as wanted. It asks once at the beginning and then after every change; no clock paces it.</summary>
    /// <typeparam name="T">Kind, e.g. <see cref="V1Pod"/>.</typeparam>
    /// <param name="condition">True for the state wanted.</param>
    /// <param name="describe">What is waited for, as the end of "waiting until …".</param>
    /// <param name="namespace">Only this namespace's objects; null for all.</param>
    /// <param name="timeout">How long; default <see cref="TestClusterOptions.Timeout"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The objects that fulfilled the condition.</returns>
    /// <exception cref="TimeoutException">It did not come; the message tells the last state.</exception>
    public async Task<IReadOnlyList<T>> WaitForAsync<T>(
        Func<IReadOnlyList<T>, bool> condition, string describe, string? @namespace = null, TimeSpan? timeout = null, CancellationToken cancellationToken = default)
        where T : IKubernetesObject<V1ObjectMeta>
    {
        ArgumentNullException.ThrowIfNull(condition);
        var limit = timeout ?? _options.Timeout;
        var cache = Caches.Get(ResourceType.Of<T>().Resource);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        stop.CancelAfter(limit);
        var seen = new Dictionary<string, (long Revision, T Object)>(StringComparer.Ordinal);
        var snapshot = await cache.GetLatestAsync(cancellationToken);
        while (true)
        {
            using var watcher = cache.Watch(snapshot.Revision);
            IReadOnlyList<T> state = [.. snapshot.Enumerate(@namespace).Select(o => Read(o, seen))];
            if (condition(state))
                return state;
            try
            {
                await watcher.ReadAsync(stop.Token);
            }
            catch (OperationCanceledException late) when (!cancellationToken.IsCancellationRequested)
            {
                throw new TimeoutException($"Timed out after {limit.TotalSeconds:0.#} s waiting until {describe}. Seen last: {StateText.Of(state)}", late);
            }
            snapshot = await cache.GetSnapshotAsync(cancellationToken);
        }
    }

    /// <summary>Waits for a condition that is no matter of one kind's objects, by asking again and again.</summary>
    /// <param name="condition">True for the state wanted.</param>
    /// <param name="describe">What is waited for, as the end of "waiting until …".</param>
    /// <param name="timeout">How long; default <see cref="TestClusterOptions.Timeout"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="TimeoutException">It did not come.</exception>
    public async Task WaitForAsync(
        Func<CancellationToken, Task<bool>> condition, string describe, TimeSpan? timeout = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(condition);
        var limit = timeout ?? _options.Timeout;
        var begin = Stopwatch.GetTimestamp();
        var pause = TimeSpan.FromMilliseconds(5);
        while (!await condition(cancellationToken))
        {
            if (Stopwatch.GetElapsedTime(begin) > limit)
                throw new TimeoutException($"Timed out after {limit.TotalSeconds:0.#} s waiting until {describe}.");
            await Task.Delay(pause, cancellationToken);
            pause = pause * 2 < TimeSpan.FromMilliseconds(100) ? pause * 2 : TimeSpan.FromMilliseconds(100);
        }
    }

    /// <summary>Stops the cluster and deletes its folder, unless that was the caller's.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopHostAsync();
        if (_ownsDirectory && Directory.Exists(DataDirectory))
            Directory.Delete(DataDirectory, recursive: true);
    }

    private static T Read<T>(ICachedObject obj, Dictionary<string, (long Revision, T Object)> seen)
    {
        if (seen.TryGetValue(obj.Uid, out var known) && known.Revision == obj.Revision)
            return known.Object;
        var read = KubernetesModel.Read<T>(obj.Bytes.Span);
        seen[obj.Uid] = (obj.Revision, read);
        return read;
    }

    private async Task StartHostAsync(CancellationToken cancellationToken)
    {
        var begin = Stopwatch.GetTimestamp();
        var app = IsSpread ? await StartSpreadAsync(cancellationToken) : ClusterHost.Build(new ClusterHostOptions
        {
            DataDirectory = DataDirectory,
            InMemory = _options.InMemory,
            Endpoint = new IPEndPoint(IPAddress.Loopback, _port),
            Nodes = 0,
            ServiceProxy = false,
            LogLevel = LogLevel.Information,
            Time = _options.Time,
            ConfigureControlPlane = _options.ConfigureControlPlane,
            ConfigureSilo = _options.ConfigureSilo,
            ConfigureServices = ConfigureHost,
        });
        _app = app;
        await app.StartAsync(cancellationToken);
        var address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        BaseAddress = new Uri(address);
        _port = BaseAddress.Port;
        if (_options.Nodes > 0)
        {
            string[] names = [.. Enumerable.Range(1, _options.Nodes).Select(i => $"node-{i}")];
            var nodes = new TestNodes(names, Services, Certificates, _options.ConfigureNodes, _options.Time);
            _nodes.Add(nodes);
            await nodes.StartAsync();
            await WaitForNodesAsync(names, cancellationToken);
        }
        await WaitForAsync(
            async token =>
            {
                using var response = await Http.GetAsync(new Uri("/readyz", UriKind.Relative), token);
                return response.IsSuccessStatusCode;
            },
            "the API server is ready", cancellationToken: cancellationToken);
        StartDuration = Stopwatch.GetElapsedTime(begin);
    }

    private Task WaitForNodesAsync(IReadOnlyList<string> names, CancellationToken cancellationToken)
    {
        var wanted = names.ToHashSet(StringComparer.Ordinal);
        return WaitForAsync<V1Node>(
            nodes => nodes.Count(n => wanted.Contains(n.Metadata.Name)
                && n.Spec.Taints is null or { Count: 0 }
                && n.Status?.Conditions?.Any(c => c is { Type: "Ready", Status: "True" }) == true) == wanted.Count,
            $"the nodes {string.Join(", ", names.Take(5))} are ready", cancellationToken: cancellationToken);
    }

    private async Task StopHostAsync()
    {
        foreach (var client in _clients)
            client.Dispose();
        _clients.Clear();
        _kubernetes = null;
        _http = null;
        _objects = null;
        foreach (var nodes in _nodes)
            await nodes.StopAsync();
        _nodes.Clear();
        if (_app is not { } app)
            return;
        _app = null;
        try
        {
            await app.StopAsync();
        }
        finally
        {
            await app.DisposeAsync();
            await StopSpreadAsync();
        }
    }

    private void ConfigureHost(IServiceCollection services)
    {
        // A test's process is not ours: no signal handlers, no console.
        services.Replace(ServiceDescriptor.Singleton<IHostLifetime, QuietLifetime>());
        services.RemoveAll<ILoggerProvider>();
        if (_options.Log is { } log)
            services.AddSingleton<ILoggerProvider>(new CallbackLoggerProvider(log));
        _options.ConfigureServices(services);
    }

    private Kubernetes CreateKubernetes(X509Certificate2 certificate)
    {
        using var key = certificate.GetECDsaPrivateKey();
        var client = new Kubernetes(new KubernetesClientConfiguration
        {
            Host = BaseAddress.GetLeftPart(UriPartial.Authority),
            SslCaCerts = [Certificates.Authority],
            ClientCertificateData = Base64(certificate.ExportCertificatePem()),
            ClientCertificateKeyData = Base64(key!.ExportPkcs8PrivateKeyPem()),
        });
        _clients.Add(client);
        return client;
    }

    private HttpClient CreateHttpClient(X509Certificate2 certificate)
    {
        var authority = Certificates.Authority;
        var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            PooledConnectionLifetime = Timeout.InfiniteTimeSpan,
            SslOptions =
            {
                ClientCertificates = [certificate],
                CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust,
                    CustomTrustStore = { authority },
                    RevocationMode = X509RevocationMode.NoCheck,
                },
            },
        };
        var client = new HttpClient(handler, disposeHandler: true) { BaseAddress = BaseAddress };
        _clients.Add(client);
        return client;
    }

    private static string Base64(string text) => Convert.ToBase64String(System.Text.Encoding.ASCII.GetBytes(text));

    private sealed class QuietLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
