using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using OrleansCluster.EndToEnd.Harness;
using OrleansCluster.Faults.Workloads;

namespace OrleansCluster.Faults.Nemesis;

/// <summary>
/// A real cluster of processes on this machine: Redis with the settings that the project ships, silos, API servers and node agents with simulated
/// containers, each a process of its own, with short times so that losses are noticed within a run.
/// </summary>
internal sealed class FaultCluster : IAsyncDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("orleanscluster-faults-").FullName;
    private readonly List<HttpClient> _clients = [];
    private readonly List<(string Name, string Address, int Port)> _apiPorts = [];
    private readonly NetworkNamespaces? _network;

    private FaultCluster(int silos, int apiServers, int kubelets, int? minReplicas, string program, NetworkNamespaces? network, IReadOnlyList<NetworkNamespace> apart)
    {
        RoleProcess Role(string name, NetworkNamespace? place, string[] arguments, params int[] ports) =>
            new(name, program, [.. arguments, "--log-level", "Warning"], ports) { Network = place };
        _network = network;
        var host = network?.Host ?? "127.0.0.1";
        if (minReplicas is not null)
            Sentinels = new SentinelSet(Folder("redis"), guarded: minReplicas > 0);
        var redisPort = RoleProcess.FreePort();
        Redis = Sentinels?.First ?? RedisServer("redis", redisPort, Folder("redis"), network is null ? [] : ["--bind", "127.0.0.1", host, "--protected-mode", "no"]);
        Id = $"faults-{redisPort}";
        string[] cluster =
        [
            "--redis", Sentinels?.Address ?? $"{host}:{redisPort}", "--cluster-id", Id, "--redis-min-replicas", $"{minReplicas ?? 0}",
        ];
        for (var i = 1; i <= silos; i++)
        {
            int siloPort = RoleProcess.FreePort(), gateway = RoleProcess.FreePort();
            var place = i == silos ? apart.ElementAtOrDefault(0) : null;
            Silos.Add(Role(
                $"silo-{i}", place,
                [
                    "silo", "--data", Folder("control"), .. cluster, "--advertise", place?.Address ?? host, "--silo-port", $"{siloPort}", "--gateway-port", $"{gateway}", "--node-monitor-grace-period", "5",
                    "--node-heartbeat-interval", "1", "--default-eviction-delay", "3",
                ],
                siloPort, gateway));
        }
        for (var i = 1; i <= apiServers; i++)
        {
            var port = RoleProcess.FreePort();
            var place = i == apiServers ? apart.ElementAtOrDefault(1) : null;
            var address = place?.Address ?? host;
            _apiPorts.Add(($"api-{i}", address, port));
            ApiServers.Add(Role($"api-{i}", place, ["apiserver", "--data", Folder("control"), .. cluster, "--address", address, "--port", $"{port}"], port));
        }
        for (var i = 1; i <= kubelets; i++)
        {
            // They share the control plane's certificates, and keep their pods' files apart by name.
            Kubelets.Add(Role($"kubelet-{i}", null, ["kubelet", "--data", Folder("control"), .. cluster, "--name", $"node-{i}", "--runtime", "hollow"]));
        }
    }

    public RoleProcess Redis { get; }

    /// <summary>Name of the cluster, in its keys too.</summary>
    public string Id { get; }

    public List<RoleProcess> Silos { get; } = [];

    public List<RoleProcess> ApiServers { get; } = [];

    public List<RoleProcess> Kubelets { get; } = [];

    /// <summary>Redis with a replica and sentinels, or null for one Redis alone.</summary>
    public SentinelSet? Sentinels { get; }

    public IEnumerable<RoleProcess> All => [.. Sentinels?.All ?? [Redis], .. Silos, .. ApiServers, .. Kubelets];

    public IReadOnlyList<ApiEndpoint> Endpoints { get; private set; } = [];

    /// <param name="silos">Silos.</param>
    /// <param name="apiServers">API servers.</param>
    /// <param name="kubelets">Node agents, one node each.</param>
    /// <param name="minReplicas">Null: one Redis alone. A number: Redis with a replica and sentinels, and so many replicas asked for every write.</param>
    /// <param name="program">The build that the roles run; null: the one under test.</param>
    /// <param name="apart">True: the last silo and the last API server live in network namespaces of their own.</param>
    public static async Task<FaultCluster> StartAsync(
        int silos = 2, int apiServers = 2, int kubelets = 3, int? minReplicas = null, string? program = null, bool apart = false)
    {
        program ??= Repository.Executable;
        var network = apart ? await NetworkNamespaces.CreateAsync() : null;
        FaultCluster cluster;
        try
        {
            cluster = new FaultCluster(silos, apiServers, kubelets, minReplicas, program, network, network is null ? [] : [await network.AddAsync(), await network.AddAsync()]);
        }
        catch when (network is not null)
        {
            await network.DisposeAsync();
            throw;
        }
        try
        {
            (await Command.RunAsync(program, ["pki", "init", "--data", cluster.Folder("control")])).OrFail();
            if (cluster.Sentinels is { } sentinels)
                await sentinels.StartAsync();
            else
                cluster.Redis.Start();
            foreach (var role in (RoleProcess[])[.. cluster.Silos, .. cluster.ApiServers, .. cluster.Kubelets])
                role.Start();
            await cluster.WaitReadyAsync();
            return cluster;
        }
        catch (Exception error)
        {
            var logs = cluster.Logs();
            await cluster.DisposeAsync();
            throw new InvalidOperationException($"The cluster did not start.\n{logs}", error);
        }
    }

    /// <summary>The end of every process's log.</summary>
    public string Logs(int lines = 25) => string.Join('\n', All.Select(r => $"===== {r.Name}\n{r.Tail(lines)}"));

    /// <summary>Writes all logs in full to a folder.</summary>
    public void SaveLogs(string folder)
    {
        foreach (var role in All)
            File.WriteAllLines(Path.Combine(folder, role.Name + ".log"), role.Log);
    }

    /// <summary>
    /// What a service manager or the container engine does with `restart: always`: starts again what has ended by itself. A role that finds no Redis at its
    /// start says so and ends.
    /// </summary>
    public async Task SuperviseAsync(Action<string> log, CancellationToken cancellation)
    {
        while (!cancellation.IsCancellationRequested)
        {
            foreach (var role in All.Where(r => r is { IsWanted: true, IsRunning: false }))
            {
                log($"{role.Name} has ended by itself and is started again: {role.Tail(1)}");
                role.Start();
            }
            await Task.Delay(500, cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Waits until every API server and every node is ready; a time-out names the checks and nodes that are not.</summary>
    /// <param name="mayEnd">True while somebody starts again what ends.</param>
    public Task WaitReadyAsync(bool mayEnd = false) => Eventually.GetAsync(
        "every API server and every node is ready",
        async cancellation =>
        {
            if (!mayEnd && All.FirstOrDefault(r => !r.IsRunning) is { } ended)
                throw new GiveUpException($"{ended.Name} has ended.\n{ended.Tail()}");
            return await UnreadyAsync(cancellation);
        },
        unready => unready.Length == 0,
        TimeSpan.FromSeconds(120));

    /// <summary>What is not ready, in words; empty if everything is.</summary>
    public async Task<string> UnreadyAsync(CancellationToken cancellation)
    {
        var control = Folder("control");
        if (!File.Exists(Path.Combine(control, "token")))
            return "no token yet";
        if (Endpoints.Count == 0)
            Endpoints = [.. _apiPorts.Select(p => new ApiEndpoint(p.Name, Http(control, p.Address, p.Port)))];
        var unready = new List<string>();
        foreach (var role in All.Where(r => !r.IsRunning))
            unready.Add($"{role.Name} does not run");
        foreach (var endpoint in Endpoints)
        {
            var (ok, text) = await AskAsync(endpoint, "readyz?verbose", cancellation);
            if (!ok)
                unready.Add($"{endpoint.Name}: {text}");
        }
        if (unready.Count > 0)
            return string.Join('\n', unready);
        foreach (var endpoint in Endpoints)
        {
            var (ok, text) = await AskAsync(endpoint, "api/v1/nodes", cancellation);
            if (!ok)
            {
                unready.Add($"{endpoint.Name}, nodes: {text}");
                continue;
            }
            using var list = JsonDocument.Parse(text);
            var ready = 0;
            foreach (var node in list.RootElement.GetProperty("items").EnumerateArray())
            {
                var condition = node.GetProperty("status").TryGetProperty("conditions", out var conditions)
                    ? conditions.EnumerateArray().FirstOrDefault(c => c.GetProperty("type").GetString() == "Ready")
                    : default;
                if (condition.ValueKind == JsonValueKind.Object && condition.GetProperty("status").GetString() == "True")
                    ready++;
                else
                    unready.Add($"{endpoint.Name}, node {node.GetProperty("metadata").GetProperty("name").GetString()}: {(condition.ValueKind == JsonValueKind.Object ? condition.GetRawText() : "no condition")}");
            }
            if (ready != Kubelets.Count)
                unready.Add($"{endpoint.Name}: {ready} of {Kubelets.Count} nodes are ready");
        }
        return string.Join('\n', unready);
    }

    private static async Task<(bool Ok, string Text)> AskAsync(ApiEndpoint endpoint, string path, CancellationToken cancellation)
    {
        // Longer than any health check takes before it says that it got no answer.
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(15));
        try
        {
            using var answer = await endpoint.Http.GetAsync(new Uri(path, UriKind.Relative), limit.Token);
            var text = await answer.Content.ReadAsStringAsync(limit.Token);
            return (answer.IsSuccessStatusCode, answer.IsSuccessStatusCode ? text : $"{(int)answer.StatusCode} {text.Trim()}");
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException && !cancellation.IsCancellationRequested)
        {
            return (false, error.Message);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var client in _clients)
            client.Dispose();
        foreach (var role in All.Reverse())
            await role.DisposeAsync();
        if (_network is not null)
            await _network.DisposeAsync();
        Directory.Delete(_data, recursive: true);
    }

    /// <summary>A Redis with the settings that the project ships.</summary>
    public static RoleProcess RedisServer(string name, int port, string folder, params string[] more) => new(
        name, "redis-server", ["--port", $"{port}", "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "", .. more], [port]);

    private string Folder(string name) => Directory.CreateDirectory(Path.Combine(_data, name)).FullName;

    private HttpClient Http(string control, string address, int port)
    {
        var authority = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(control, "pki", "ca.crt"));
        var handler = new SocketsHttpHandler
        {
            // Below the time a server that was told to stop goes on answering, so that no connection is used for the first time again when it is closed.
            PooledConnectionIdleTimeout = TimeSpan.FromMilliseconds(500),
            UseProxy = false,
            ConnectTimeout = TimeSpan.FromSeconds(3),
            SslOptions = new()
            {
                CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust,
                    CustomTrustStore = { authority },
                    RevocationMode = X509RevocationMode.NoCheck,
                },
            },
        };
        var client = new HttpClient(handler) { BaseAddress = new Uri($"https://{address}:{port}/"), Timeout = Timeout.InfiniteTimeSpan };
        client.DefaultRequestHeaders.Authorization = new("Bearer", File.ReadAllText(Path.Combine(control, "token")).Trim());
        _clients.Add(client);
        return client;
    }
}
