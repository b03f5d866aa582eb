using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>How a cluster of these tests is started.</summary>
internal sealed record ClusterOptions
{
    public int Nodes { get; init; } = 1;

    /// <summary><c>docker</c> or <c>hollow</c>.</summary>
    public string Runtime { get; init; } = "docker";

    /// <summary>Further arguments of <c>orleanscluster dev</c>.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];
}

/// <summary>
/// The built <c>orleanscluster dev</c> as a process of its own, with a free port and a data folder of its own. It can be
/// stopped politely, killed, and started again on the same data. Disposing it removes its pods' containers and its data.
/// </summary>
internal sealed class ClusterProcess : IAsyncDisposable
{
    private const int SigTerm = 15;
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);
    private Process? _process;
    private readonly ConcurrentQueue<string> _log = new();
    private Task _reading = Task.CompletedTask;

    private ClusterProcess(ClusterOptions options)
    {
        Options = options;
        Data = Directory.CreateTempSubdirectory("orleanscluster-e2e-").FullName;
        Port = FreePort();
        Kubectl = new Kubectl(Path.Combine(Data, "kubeconfig"), Path.Combine(Data, "kubectl-cache"));
    }

    public ClusterOptions Options { get; private set; }

    public string Data { get; }

    public int Port { get; }

    public Uri Address => new($"https://127.0.0.1:{Port}/");

    public Kubectl Kubectl { get; }

    public string Token => File.ReadAllText(Path.Combine(Data, "token")).Trim();

    public int ProcessId => Running.Id;

    /// <summary>From the start of the process until /readyz said ok, the last time.</summary>
    public TimeSpan StartTime { get; private set; }

    private Process Running => _process ?? throw new InvalidOperationException("The cluster is not running.");

    public static async Task<ClusterProcess> LaunchAsync(ClusterOptions options)
    {
        if (options.Runtime == "docker")
            await Docker.EnsureReadyAsync();
        var cluster = new ClusterProcess(options);
        try
        {
            await cluster.StartAsync();
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts the process (again) on the same data and waits until it is ready.</summary>
    public async Task StartAsync(ClusterOptions? options = null)
    {
        if (_process is not null)
            throw new InvalidOperationException("The cluster already runs.");
        if (!File.Exists(Repository.Executable))
            throw new InvalidOperationException($"{Repository.Executable} is missing: build src/OrleansCluster first.");
        Options = options ?? Options;
        long begin = Stopwatch.GetTimestamp();
        _process = Command.Start(
            Repository.Executable,
            ["dev", "--data", Data, "--port", $"{Port}", "--nodes", $"{Options.Nodes}", "--runtime", Options.Runtime, .. Options.Arguments]);
        _process.StandardInput.Close();
        _reading = Task.WhenAll(CollectAsync(_process.StandardOutput), CollectAsync(_process.StandardError));
        try
        {
            await Eventually.TrueAsync("the cluster is ready", IsReadyAsync, StartLimit);
        }
        catch (Exception error)
        {
            throw new InvalidOperationException($"The cluster did not start.\n{LogTail()}", error);
        }

        StartTime = Stopwatch.GetElapsedTime(begin);
    }

    /// <summary>An HTTP client that trusts the cluster's authority, with the administrator's token unless told otherwise.</summary>
    public HttpClient Http(bool anonymous = false)
    {
        var authority = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(Data, "pki", "ca.crt"));
        var handler = new SocketsHttpHandler
        {
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
        var client = new HttpClient(handler) { BaseAddress = Address, Timeout = TimeSpan.FromSeconds(30) };
        if (!anonymous)
            client.DefaultRequestHeaders.Authorization = new("Bearer", Token);
        return client;
    }

    /// <summary>Waits until the pods of a selection are as wanted, and returns them.</summary>
    public Task<IReadOnlyList<Pod>> EventuallyPodsAsync(
        string what, string selection, Func<IReadOnlyList<Pod>, bool> holds, TimeSpan? limit = null) =>
        Eventually.GetAsync(what, _ => Kubectl.PodsAsync(selection), holds, limit);

    /// <summary>The first node's InternalIP, on which NodePorts answer.</summary>
    public async Task<string> NodeAddressAsync()
    {
        JsonNode node = (await Kubectl.GetAsync("nodes"))["items"]![0]!;
        return (string)node["status"]!["addresses"]!.AsArray().First(address => (string?)address!["type"] == "InternalIP")!["address"]!;
    }

    /// <summary>SIGTERM; returns how long the process took to end and its exit code. Fails if it does not end by itself.</summary>
    public async Task<(TimeSpan Time, int ExitCode)> StopAsync(TimeSpan limit)
    {
        Process process = Running;
        long begin = Stopwatch.GetTimestamp();
        _ = Kill(process.Id, SigTerm);
        using var deadline = new CancellationTokenSource(limit);
        try
        {
            await process.WaitForExitAsync(deadline.Token);
        }
        catch (OperationCanceledException error)
        {
            throw new TimeoutException($"The cluster did not end within {limit.TotalSeconds:0} s of SIGTERM.\n{LogTail()}", error);
        }

        TimeSpan time = Stopwatch.GetElapsedTime(begin);
        int code = process.ExitCode;
        await ReleaseAsync();
        return (time, code);
    }

    /// <summary>SIGKILL: no clean-up of any kind runs. Its pods' containers are the engine's children and run on.</summary>
    public async Task KillAsync()
    {
        Running.Kill();
        await Running.WaitForExitAsync(CancellationToken.None);
        await ReleaseAsync();
    }

    /// <summary>The end of what the cluster logged, for the message of a failed test.</summary>
    public string LogTail(int lines = 60) => string.Join('\n', _log.TakeLast(lines));

    /// <summary>The lines that the cluster has logged so far, all starts of it together.</summary>
    public IReadOnlyList<string> Log => [.. _log];

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            try
            {
                await StopAsync(TimeSpan.FromSeconds(10));
            }
            catch (TimeoutException)
            {
                await KillAsync();
            }
        }

        // infra/down --purge is what a person would use; it removes containers, devices, rules and the folder.
        await Command.RunAsync(Repository.Script("down"), ["--purge", "--data", Data], TimeSpan.FromMinutes(2));
        if (Directory.Exists(Data))
            Directory.Delete(Data, recursive: true);
    }

    private async Task<bool> IsReadyAsync(CancellationToken cancellation)
    {
        if (Running.HasExited)
            throw new GiveUpException($"The process ended with exit code {Running.ExitCode}.");
        if (!File.Exists(Path.Combine(Data, "pki", "ca.crt")) || !File.Exists(Path.Combine(Data, "kubeconfig")))
            return false;
        using HttpClient client = Http(anonymous: true);
        using HttpResponseMessage answer = await client.GetAsync(new Uri("readyz", UriKind.Relative), cancellation);
        return answer.StatusCode == HttpStatusCode.OK;
    }

    private async Task ReleaseAsync()
    {
        await _reading;
        _process?.Dispose();
        _process = null;
    }

    private async Task CollectAsync(StreamReader from)
    {
        while (await from.ReadLineAsync(CancellationToken.None) is { } line)
            _log.Enqueue(line);
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int process, int signal);
}
