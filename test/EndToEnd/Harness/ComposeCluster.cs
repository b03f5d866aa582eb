using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>
/// The cluster of <c>docker-compose.yml</c>, under a project name, a port, a network and a folder of its own. The base images are stand-ins where the
/// real ones are not there; the file and the Dockerfile are the ones that people use.
/// </summary>
internal sealed class ComposeCluster : IAsyncDisposable
{
    private const int SigKill = 9;
    private static readonly TimeSpan BuildLimit = TimeSpan.FromMinutes(12);
    private static readonly TimeSpan UpLimit = TimeSpan.FromMinutes(3);
    private readonly IReadOnlyList<string> _compose;
    private readonly Dictionary<string, string> _environment;

    private ComposeCluster(IReadOnlyList<string> compose)
    {
        _compose = compose;
        Folder = Directory.CreateTempSubdirectory("orleanscluster-compose-").FullName;
        Project = Path.GetFileName(Folder).ToLowerInvariant();
        Port = FreePort();
        _environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            // The file names its folder by this variable.
            ["PWD"] = Folder,
            ["COMPOSE_PROJECT_NAME"] = Project,
            ["API_PORT"] = Port.ToString(CultureInfo.InvariantCulture),
            ["CLUSTER_NET"] = Network,
        };
        Kubectl = new Kubectl(Path.Combine(Data, "kubeconfig"), Path.Combine(Folder, "kubectl-cache"));
    }

    /// <summary>The first three numbers of the network of the containers; not the one that a person's own cluster has.</summary>
    public static string Network => "172.29.43";

    public string Folder { get; }

    public string Data => Path.Combine(Folder, ".cluster");

    public string Project { get; }

    public int Port { get; }

    public Kubectl Kubectl { get; }

    /// <summary>How long the images took, from cache or not.</summary>
    public TimeSpan BuildTime { get; private set; }

    /// <summary>From <c>up</c> until /readyz said ok.</summary>
    public TimeSpan UpTime { get; private set; }

    public static async Task<ComposeCluster> LaunchAsync()
    {
        await Docker.EnsureReadyAsync();
        (await Command.RunAsync(Repository.Script("images/standins"), [], TimeSpan.FromMinutes(5))).OrFail();
        var cluster = new ComposeCluster(await FindComposeAsync());
        try
        {
            long begin = Stopwatch.GetTimestamp();
            await cluster.ComposeAsync(BuildLimit, "build");
            cluster.BuildTime = Stopwatch.GetElapsedTime(begin);
            begin = Stopwatch.GetTimestamp();
            await cluster.ComposeAsync(UpLimit, "up", "-d", "--no-build");
            await cluster.AnswersAsync("the API answers", UpLimit);
            cluster.UpTime = Stopwatch.GetElapsedTime(begin);
            return cluster;
        }
        catch (Exception error)
        {
            string log = await cluster.LogTailAsync();
            await cluster.DisposeAsync();
            throw new InvalidOperationException($"The cluster of docker-compose.yml did not start.\n{log}", error);
        }
    }

    /// <summary>Runs docker compose (or docker-compose) on the file; any other exit code than 0 fails the test.</summary>
    public async Task<string> ComposeAsync(TimeSpan limit, params string[] arguments) =>
        (await Command.RunAsync(
            _compose[0], [.. _compose.Skip(1), "-f", Path.Combine(Repository.Root, "docker-compose.yml"), .. arguments], limit, environment: _environment,
            cancellation: CancellationToken.None)).OrFail().Output;

    /// <summary>The identifier of a service's container.</summary>
    public async Task<string> ContainerAsync(string service)
    {
        string ids = await Docker.RunAsync(
            "ps", "-aq", "--no-trunc", "--filter", $"label=com.docker.compose.project={Project}", "--filter", $"label=com.docker.compose.service={service}");
        return Assert.Single(ids.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    /// <summary>
    /// SIGKILL to the first process of a service, from outside the container. <c>docker kill</c> would not do: the engine takes it for a stop and does
    /// not restart what was stopped.
    /// </summary>
    public async Task<string> KillAsync(string service)
    {
        string container = await ContainerAsync(service);
        int process = int.Parse(await Docker.RunAsync("inspect", "-f", "{{.State.Pid}}", container), CultureInfo.InvariantCulture);
        Assert.True(process > 1, $"{service} does not run.");
        Assert.Equal(0, Kill(process, SigKill));
        return container;
    }

    /// <summary>Waits until kubectl reads and writes.</summary>
    public Task AnswersAsync(string what, TimeSpan limit) => Eventually.TrueAsync(
        what,
        async _ =>
        {
            CommandResult read = await Kubectl.TryAsync("get pods --request-timeout=5s");
            if (read.ExitCode != 0)
                throw new InvalidOperationException(read.ToString());
            CommandResult write = await Kubectl.TryAsync(
                ["annotate", "namespace", "default", "--overwrite", "--request-timeout=5s", $"checked={Guid.NewGuid():N}"]);
            return write.ExitCode == 0 ? true : throw new InvalidOperationException(write.ToString());
        },
        limit);

    /// <summary>Takes everything away as the file's head says: the containers with their volumes, then the pods.</summary>
    public async Task DownAsync()
    {
        await ComposeAsync(UpLimit, "down", "-v");
        (await Command.RunAsync(Repository.Script("down"), ["--purge", "--data", Data], TimeSpan.FromMinutes(2))).OrFail();
    }

    /// <summary>The last lines of every service, for the message of a failed test.</summary>
    public async Task<string> LogTailAsync()
    {
        CommandResult states = await Command.RunAsync("docker", ["ps", "-a", "--filter", $"label=com.docker.compose.project={Project}"]);
        CommandResult log = await Command.RunAsync(
            _compose[0], [.. _compose.Skip(1), "-f", Path.Combine(Repository.Root, "docker-compose.yml"), "logs", "--no-color", "--tail", "25"],
            environment: _environment, cancellation: CancellationToken.None);
        return states.Output + log.Output + log.Error;
    }

    public async ValueTask DisposeAsync()
    {
        if (Directory.Exists(Data))
            await DownAsync();
        else
            await ComposeAsync(UpLimit, "down", "-v");
        if (Directory.Exists(Folder))
            Directory.Delete(Folder, recursive: true);
    }

    private static async Task<IReadOnlyList<string>> FindComposeAsync()
    {
        if ((await Command.RunAsync("docker", ["compose", "version"])).ExitCode == 0)
            return ["docker", "compose"];
        try
        {
            (await Command.RunAsync("docker-compose", ["version"])).OrFail();
            return ["docker-compose"];
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new InvalidOperationException("There is neither 'docker compose' nor docker-compose; infra/test installs it.", error);
        }
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
