using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary><c>infra/up --store redis</c>: the cluster of many processes on one machine, as a person runs it.</summary>
public sealed class ProcessClusterTests
{
    private const int SigKill = 9;

    // The first call compiles the program ahead of time, on a machine that does other things too.
    private static readonly TimeSpan UpLimit = TimeSpan.FromMinutes(8);

    [Fact]
    public async Task Up_starts_all_processes_repairs_what_was_killed_and_down_leaves_nothing()
    {
        await Docker.EnsureReadyAsync();
        string data = Directory.CreateTempSubdirectory("orleanscluster-redis-").FullName;
        string[] where = ["--data", data];
        var kubectl = new Kubectl(Path.Combine(data, "kubeconfig"), Path.Combine(data, "kubectl-cache"));
        IReadOnlyDictionary<string, int> before = new Dictionary<string, int>();
        try
        {
            string first = await ScriptAsync(
                "up", [.. where, "--store", "redis", "--silos", "2", "--api-servers", "2", "--nodes", "2", "--port", $"{FreePort()}"]);
            before = Processes(data);
            Pod pod = (await kubectl.PodsAsync("-l app=hello")).Single();

            KillAll(before["silo-1"], before["api-1"], before[pod.Node!]);
            TimeSpan silent = await AnswersAsync(kubectl);
            string repaired = await ScriptAsync("up", where);
            IReadOnlyDictionary<string, int> after = Processes(data);
            await kubectl.RunAsync("create configmap kept --from-literal=a=b");
            Kill(after["redis"]);
            string redisAgain = await ScriptAsync("up", where);
            string kept = await kubectl.RunAsync("get configmap kept -o jsonpath={.data.a}");
            string again = await ScriptAsync("up", where);
            Pod same = (await kubectl.PodsAsync("-l app=hello")).Single();
            string down = await ScriptAsync("down", where);
            IEnumerable<int> survivors = after.Values.Concat(Processes(data).Values).Where(Lives);
            string third = await ScriptAsync("up", where);

            TestContext.Current.TestOutputHelper?.WriteLine($"{first}\nkubectl after {silent.TotalSeconds:0.0} s\n{repaired}\n{down}\n{third}");
            Assert.Equal(
                ["api-1", "api-2", "node-1", "node-2", "proxy", "redis", "silo-1", "silo-2"], before.Keys.Order(StringComparer.Ordinal));
            Assert.Contains("answers: Hello from pod hello", first, StringComparison.Ordinal);
            Assert.Contains("started silo-1 ", repaired, StringComparison.Ordinal);
            Assert.Contains("started api-1 ", repaired, StringComparison.Ordinal);
            Assert.Contains($"started {pod.Node} ", repaired, StringComparison.Ordinal);
            Assert.All(["redis", "silo-2", "api-2", "proxy"], name => Assert.Equal(before[name], after[name]));
            Assert.Contains("started redis ", redisAgain, StringComparison.Ordinal);
            Assert.Equal("b", kept);
            Assert.Contains("everything runs already", again, StringComparison.Ordinal);
            Assert.Equal((pod.Uid, 0), (same.Uid, same.Restarts));
            Assert.Equal(pod.ContainerIds, same.ContainerIds);
            Assert.Contains("Stopped. The data stays", down, StringComparison.Ordinal);
            Assert.Empty(survivors);
            Assert.Contains("answers: Hello from pod hello", third, StringComparison.Ordinal);
            Assert.Equal(pod.Uid, (await kubectl.PodsAsync("-l app=hello")).Single().Uid);
            before = Processes(data);
        }
        finally
        {
            await Command.RunAsync(Repository.Script("down"), [.. where, "--purge"], TimeSpan.FromMinutes(2), cancellation: CancellationToken.None);
        }

        Assert.DoesNotContain(before.Values, Lives);
        Assert.False(Directory.Exists(data));
    }

    [Theory]
    [InlineData("--silos 0", "--silos 0: must be a number from 1 to 9.")]
    [InlineData("--api-servers x", "--api-servers x: must be a number from 1 to 9.")]
    [InlineData("--store disk", "--store disk: must be embedded or redis.")]
    [InlineData("--redis nowhere", "--redis nowhere: must be HOST:PORT.")]
    [InlineData("--store embedded --silos 3", "--silos, --api-servers and --redis are for a cluster on Redis.")]
    [InlineData("--redis 127.0.0.1:1 --redis-password-file /nowhere", "--redis-password-file /nowhere: there is no such file.")]
    public async Task A_wrong_option_is_refused_at_once(string options, string expected)
    {
        CommandResult result = await Command.RunAsync(
            Repository.Script("up"), ["--data", Path.Combine(Path.GetTempPath(), "orleanscluster-none"), .. options.Split(' ')],
            cancellation: TestContext.Current.CancellationToken);

        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains(expected, result.Error, StringComparison.Ordinal);
    }

    /// <summary>Waits until kubectl reads and writes, and returns how long that took.</summary>
    private static async Task<TimeSpan> AnswersAsync(Kubectl kubectl)
    {
        long begin = Stopwatch.GetTimestamp();
        await Eventually.TrueAsync(
            "kubectl works with one silo and one API server",
            async _ => (await kubectl.TryAsync("get pods --request-timeout=5s")).ExitCode == 0
                && (await kubectl.TryAsync($"annotate namespace default --overwrite --request-timeout=5s checked={Guid.NewGuid():N}")).ExitCode == 0,
            TimeSpan.FromSeconds(30));
        return Stopwatch.GetElapsedTime(begin);
    }

    /// <summary>The processes by name, from their pid files.</summary>
    private static IReadOnlyDictionary<string, int> Processes(string data) =>
        Directory.Exists(Path.Combine(data, "run"))
            ? Directory.GetFiles(Path.Combine(data, "run"), "*.pid").ToDictionary(
                file => Path.GetFileNameWithoutExtension(file), file => int.Parse(File.ReadAllText(file), CultureInfo.InvariantCulture), StringComparer.Ordinal)
            : new Dictionary<string, int>();

    private static void KillAll(params int[] processes) => Assert.All(processes, Kill);

    private static void Kill(int process) => Assert.Equal(0, Kill(process, SigKill));

    /// <summary>Whether the process is there and more than an entry that nobody has collected.</summary>
    private static bool Lives(int process)
    {
        try
        {
            return !Regex.IsMatch(File.ReadAllText($"/proc/{process}/stat"), @"\) Z ", RegexOptions.None, TimeSpan.FromSeconds(1));
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static async Task<string> ScriptAsync(string name, IEnumerable<string> arguments) =>
        (await Command.RunAsync(Repository.Script(name), arguments, UpLimit, cancellation: TestContext.Current.CancellationToken)).OrFail().Output;

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
