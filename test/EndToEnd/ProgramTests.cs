using System.Net;
using System.Net.Sockets;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>The executable by itself, without any script.</summary>
public sealed class ProgramTests
{
    [Fact]
    public async Task Help_names_every_role_and_every_option_of_dev()
    {
        string help = await RunAsync(0, "--help");
        string dev = await RunAsync(0, "dev", "--help");

        Assert.Contains("dev", help, StringComparison.Ordinal);
        Assert.All(["--data", "--port", "--nodes", "--runtime"], option => Assert.Contains(option, dev, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("--nodes", "-1")]
    [InlineData("--nodes", "many")]
    [InlineData("--port", "70000")]
    [InlineData("--runtime", "podman")]
    [InlineData("--frobnicate", "1")]
    public async Task A_wrong_option_ends_it_at_once_and_is_named(string option, string value)
    {
        string output = await RunAsync(null, "dev", option, value);

        Assert.Contains(option, output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at OrleansCluster", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_in_use_is_said_in_one_line()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        string port = $"{((IPEndPoint)listener.LocalEndpoint).Port}";
        string data = Directory.CreateTempSubdirectory("orleanscluster-e2e-").FullName;
        try
        {
            string output = await RunAsync(null, "dev", "--runtime", "hollow", "--port", port, "--data", data);

            Assert.Contains(output.Split('\n'), line =>
                line.Contains(port, StringComparison.Ordinal) && line.Contains("in use", StringComparison.OrdinalIgnoreCase));
        }
        finally
        {
            Directory.Delete(data, recursive: true);
        }
    }

    [Fact]
    public async Task It_serves_on_loopback_only_and_keeps_its_secrets_to_its_owner()
    {
        await using ClusterProcess cluster = await ClusterProcess.LaunchAsync(new ClusterOptions { Runtime = "hollow" });

        foreach (string secret in new[] { "token", "kubeconfig", "pki/admin.key" })
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(cluster.Data, secret)));
        CommandResult sockets = await Command.RunAsync("ss", ["-Hltnp"], cancellation: TestContext.Current.CancellationToken);
        string[] own = [.. sockets.OrFail().Output.Split('\n').Where(line => line.Contains($"pid={cluster.ProcessId},", StringComparison.Ordinal))];
        Assert.NotEmpty(own);
        Assert.All(own, line => Assert.Matches(@"\s(127\.0\.0\.1|\[::1\]|\[::ffff:127\.0\.0\.1\]):\d+\s", line));
    }

    [Fact]
    public async Task It_logs_one_readable_line_per_event_and_ends_within_five_seconds_of_sigterm()
    {
        await using ClusterProcess cluster = await ClusterProcess.LaunchAsync(new ClusterOptions { Runtime = "hollow" });
        await cluster.Kubectl.ApplyAsync(Manifests.ReplicationController("busy", 20));
        await cluster.EventuallyPodsAsync("they run", "", pods => pods.Count == 20 && pods.All(pod => pod.Serves));

        (TimeSpan time, int exitCode) = await cluster.StopAsync(TimeSpan.FromSeconds(15));

        Assert.Equal(0, exitCode);
        Assert.True(time < TimeSpan.FromSeconds(5), $"It took {time}.");
        Assert.All(cluster.Log, line => Assert.DoesNotMatch("^   at |Unhandled exception|^      ", line));
        Assert.True(cluster.StartTime < TimeSpan.FromSeconds(15), $"It was ready after {cluster.StartTime}.");
    }

    private static async Task<string> RunAsync(int? exitCode, params string[] arguments)
    {
        CommandResult result = await Command.RunAsync(
            Repository.Executable, arguments, TimeSpan.FromSeconds(30), cancellation: TestContext.Current.CancellationToken);
        if (exitCode is { } expected)
            Assert.True(result.ExitCode == expected, result.ToString());
        else
            Assert.True(result.ExitCode != 0, result.ToString());
        return result.Output + result.Error;
    }
}
