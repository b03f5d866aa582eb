using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>A cluster of one process is exported while it works, goes on as processes on Redis, and comes back; kubectl sees the same objects all along.</summary>
public sealed class StoreTests
{
    [Fact]
    public async Task A_cluster_moves_to_Redis_and_back_with_its_objects()
    {
        if (!(Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(p => System.IO.File.Exists(Path.Combine(p, "redis-server"))))
            Assert.Skip("redis-server is not installed (Debian: apt-get install redis-server).");
        var cancellation = TestContext.Current.CancellationToken;
        await using ClusterProcess cluster = await ClusterProcess.LaunchAsync(new ClusterOptions { Runtime = "hollow", Nodes = 2 });
        string File(string name) => Path.Combine(cluster.Data, name);
        await cluster.Kubectl.ApplyAsync(Manifests.ReplicationController("web", 10));
        await cluster.EventuallyPodsAsync("they run", "", pods => pods.Count == 10 && pods.All(pod => pod.Serves));
        await cluster.Kubectl.RunAsync("create configmap moving --from-literal=n=0");

        // While it writes: an export is whole, and of one moment.
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task writing = Task.Run(
            async () =>
            {
                for (int i = 1; !stop.IsCancellationRequested; i++)
                    await cluster.Kubectl.RunAsync($"annotate --overwrite configmap moving n={i}");
            },
            cancellation);
        await StoreAsync("export", "--data", cluster.Data, "--output", File("live.gz"));
        await stop.CancelAsync();
        await writing;
        await StoreAsync("import", "--data", File("copy"), File("live.gz"));
        await StoreAsync("check", "--data", File("copy"));

        string before = await ObjectsAsync(cluster.Kubectl);
        await cluster.StopAsync(TimeSpan.FromSeconds(30));
        await StoreAsync("export", "--data", cluster.Data, "--output", File("move.ndjson"));

        int redisPort = FreePort();
        string redis = $"127.0.0.1:{redisPort}";
        Directory.CreateDirectory(File("redis"));
        using Process server = Command.Start(
            "redis-server", ["--port", $"{redisPort}", "--bind", "127.0.0.1", "--dir", File("redis"), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        try
        {
            await Eventually.TrueAsync("Redis takes the import", async _ =>
                (await Command.RunAsync(Repository.Executable, ["store", "import", "--redis", redis, "--replace", File("move.ndjson")], cancellation: cancellation)).ExitCode == 0);
            string silo = $"{FreePort()}", gateway = $"{FreePort()}";
            await using (await Role.StartAsync("silo", "--data", cluster.Data, "--redis", redis, "--silo-port", silo, "--gateway-port", gateway))
            await using (await Role.StartAsync("apiserver", "--data", cluster.Data, "--redis", redis, "--port", $"{cluster.Port}"))
            {
                await Eventually.GetAsync("kubectl sees the same objects", _ => ObjectsAsync(cluster.Kubectl), objects => objects == before);
                await Eventually.TrueAsync("it takes writes", async _ => (await cluster.Kubectl.TryAsync("create configmap from-redis --from-literal=a=b")).ExitCode == 0);
                CommandResult refused = await Command.RunAsync(
                    Repository.Executable, ["store", "import", "--redis", redis, "--replace", File("move.ndjson")], cancellation: cancellation);
                Assert.Equal(1, refused.ExitCode);
                Assert.Contains("--force", refused.Error, StringComparison.Ordinal);
                await StoreAsync("check", "--redis", redis);
            }
            await StoreAsync("export", "--redis", redis, "--output", File("back.gz"));
        }
        finally
        {
            server.Kill();
            await server.WaitForExitAsync(CancellationToken.None);
        }

        await StoreAsync("import", "--data", cluster.Data, "--replace", File("back.gz"));
        await cluster.StartAsync();
        await cluster.Kubectl.RunAsync("delete configmap from-redis");
        Assert.Equal(before, await ObjectsAsync(cluster.Kubectl));
        await cluster.EventuallyPodsAsync("they still run", "", pods => pods.Count == 10 && pods.All(pod => pod.Serves));
    }

    private static async Task<string> ObjectsAsync(Kubectl kubectl) => await kubectl.RunAsync(
        ["get", "pods,rc,configmaps,nodes", "-o", "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.annotations.n}{\"\\n\"}{end}"]);

    private static async Task StoreAsync(params string[] arguments) =>
        (await Command.RunAsync(Repository.Executable, ["store", .. arguments], cancellation: TestContext.Current.CancellationToken)).OrFail();

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>A process of a cluster on Redis; killed at the end.</summary>
    private sealed class Role(Process process) : IAsyncDisposable
    {
        public static Task<Role> StartAsync(params string[] arguments)
        {
            Process process = Command.Start(Repository.Executable, arguments);
            process.StandardInput.Close();
            process.OutputDataReceived += static (_, _) => { };
            process.ErrorDataReceived += static (_, _) => { };
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            return Task.FromResult(new Role(process));
        }

        public async ValueTask DisposeAsync()
        {
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
            process.Dispose();
        }
    }
}
