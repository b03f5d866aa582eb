using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>The two commands of the README, as a person runs them.</summary>
public sealed class ScriptTests
{
    // The first call compiles the program ahead of time, on a machine that does other things too.
    private static readonly TimeSpan UpLimit = TimeSpan.FromMinutes(8);

    [Fact]
    public async Task Up_ends_with_a_pod_that_answers_and_down_and_up_keep_everything()
    {
        await Docker.EnsureReadyAsync();
        string data = Directory.CreateTempSubdirectory("orleanscluster-up-").FullName;
        string[] where = ["--data", data];
        try
        {
            string first = await ScriptAsync("up", [.. where, "--port", "16443"]);
            var kubectl = new Kubectl(Path.Combine(data, "kubeconfig"), Path.Combine(data, "kubectl-cache"));
            Pod before = (await kubectl.PodsAsync("-l app=hello")).Single();
            await kubectl.RunAsync("create configmap kept --from-literal=a=b");

            string second = await ScriptAsync("up", where);
            string down = await ScriptAsync("down", where);
            CommandResult stopped = await kubectl.TryAsync("get pods");
            string third = await ScriptAsync("up", where);
            Pod after = (await kubectl.PodsAsync("-l app=hello")).Single();

            Assert.Contains("answers: Hello from pod hello", first, StringComparison.Ordinal);
            Assert.Contains("https://127.0.0.1:16443/swagger", first, StringComparison.Ordinal);
            Assert.Contains("already runs", second, StringComparison.Ordinal);
            Assert.Contains("Stopped. The data stays", down, StringComparison.Ordinal);
            Assert.NotEqual(0, stopped.ExitCode);
            Assert.Contains("answers: Hello from pod hello", third, StringComparison.Ordinal);
            Assert.Equal(before.Uid, after.Uid);
            Assert.Contains("kept", await kubectl.RunAsync("get configmaps"), StringComparison.Ordinal);
        }
        finally
        {
            await Command.RunAsync(Repository.Script("down"), [.. where, "--purge"], TimeSpan.FromMinutes(2), cancellation: CancellationToken.None);
        }

        Assert.False(Directory.Exists(data));
    }

    [Theory]
    [InlineData("up", "--nodes", "0", "--nodes 0: must be a number from 1 to 100.")]
    [InlineData("up", "--port", "70000", "--port 70000: must be a number from 1 to 65535.")]
    [InlineData("up", "--runtime", "podman", "--runtime podman: must be docker or hollow.")]
    [InlineData("up", "--frobnicate", "1", "Unknown option '--frobnicate'.")]
    [InlineData("down", "--frobnicate", "1", "Unknown option '--frobnicate'.")]
    [InlineData("test", "--frobnicate", "1", "Unknown option '--frobnicate'.")]
    public async Task A_wrong_option_is_refused_at_once(string script, string option, string value, string expected)
    {
        CommandResult result = await Command.RunAsync(
            Repository.Script(script), [option, value], cancellation: TestContext.Current.CancellationToken);

        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains(expected, result.Error, StringComparison.Ordinal);
    }

    private static async Task<string> ScriptAsync(string name, IEnumerable<string> arguments) =>
        (await Command.RunAsync(Repository.Script(name), arguments, UpLimit, cancellation: TestContext.Current.CancellationToken)).OrFail().Output;
}
