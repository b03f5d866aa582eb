using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using OrleansCluster.Hosting;

namespace OrleansCluster.Tests;

/// <summary>The program as a person types it: help, refusals in one clear line, start and end.</summary>
public sealed class CommandLineTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Help_OfTheProgram_NamesItsRoles()
    {
        var (code, output, _) = await RunAsync("--help");
        Assert.Equal(0, code);
        Assert.Contains("dev", output, StringComparison.Ordinal);
        Assert.Contains("--version", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dev")]
    [InlineData("silo")]
    [InlineData("apiserver")]
    [InlineData("kubelet")]
    [InlineData("proxy")]
    [InlineData("store", "export")]
    [InlineData("store", "import")]
    [InlineData("store", "check")]
    public async Task Help_OfARole_DocumentsEveryOption(params string[] role)
    {
        var (code, output, _) = await RunAsync([.. role, "--help"]);
        Assert.Equal(0, code);
        var options = output.Split('\n').Select(l => l.Trim()).Where(l => l.StartsWith("--", StringComparison.Ordinal)).ToArray();
        Assert.NotEmpty(options);
        // "--name <value>   What it does": the text stands after at least two blanks.
        Assert.All(options, line => Assert.Matches(@"^--\S+(\s<[^>]+>)?(\s\(REQUIRED\))?\s{2,}\S", line));
    }

    [Theory]
    [InlineData("--nodes must be between", "dev", "--nodes", "-1")]
    [InlineData("--port must be between", "dev", "--port", "70000")]
    [InlineData("is not an IP address", "dev", "--address", "nowhere")]
    [InlineData("--runtime", "dev", "--runtime", "lxc")]
    [InlineData("--nodes", "dev", "--nodes", "many")]
    [InlineData("--no-such-option", "dev", "--no-such-option")]
    [InlineData("--max-connections must be between", "apiserver", "--redis", "localhost:1", "--max-connections", "-1")]
    [InlineData("--redis", "silo")]
    [InlineData("--redis", "apiserver")]
    [InlineData("--gateway", "proxy")]
    [InlineData("is not HOST:PORT", "kubelet", "--gateway", "localhost")]
    [InlineData("--silo-port must be between", "silo", "--redis", "localhost:1", "--silo-port", "70000")]
    [InlineData("names no server", "silo", "--redis", ",abortConnect=false")]
    [InlineData("does not exist", "apiserver", "--redis", "localhost:1", "--redis-password-file", "/no/such/file")]
    [InlineData("is no name", "silo", "--redis", "localhost:1", "--advertise", "no-such-host.invalid")]
    [InlineData("no-such-role", "no-such-role")]
    public async Task BadArguments_ExitWithOneAndSayWhich(string expected, params string[] arguments)
    {
        var (code, output, error) = await RunAsync(arguments);
        Assert.Equal(1, code);
        Assert.Contains(expected, error + output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error + output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Dev_PortInUse_SaysSoAndWhatToDo()
    {
        using var folder = new Folder();
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var (code, _, error) = await RunAsync("dev", "--data", folder.Path, "--nodes", "0", "--runtime", "hollow", "--port", $"{port}");
        Assert.Equal(1, code);
        Assert.Contains($"{port}", error, StringComparison.Ordinal);
        Assert.Contains("--port", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Dev_DataFolderCannotBeMade_SaysSoAndWhatToDo()
    {
        using var folder = new Folder();
        var file = Path.Combine(folder.Path, "file");
        await File.WriteAllTextAsync(file, "not a folder", Cancellation);
        // Below a file no folder can be, not even for root, for whom no folder is read-only.
        var (code, output, error) = await RunAsync("dev", "--data", Path.Combine(file, "data"), "--nodes", "0", "--runtime", "hollow", "--port", "0");
        Assert.Equal(1, code);
        Assert.Contains("--data", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error + output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Dev_SecondProcessOnTheSameData_IsRefusedAndTheFirstGoesOn()
    {
        using var folder = new Folder();
        await using var first = await RunningAsync(folder.Path);
        var (code, output, error) = await RunAsync("dev", "--data", folder.Path, "--nodes", "0", "--runtime", "hollow", "--port", "0");
        Assert.Equal(1, code);
        Assert.Contains(folder.Path, error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error + output, StringComparison.Ordinal);
        Assert.False(first.Process.HasExited);
        Assert.Equal(0, await first.StopAsync());
    }

    [Fact]
    public async Task Dev_Terminated_EndsByItselfAndZero()
    {
        using var folder = new Folder();
        await using var running = await RunningAsync(folder.Path);
        Assert.True(File.Exists(Path.Combine(folder.Path, "kubeconfig")));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(folder.Path, "kubeconfig")));
        var begin = Stopwatch.GetTimestamp();
        Assert.Equal(0, await running.StopAsync());
        // The host allows itself less than five seconds; the rest is for the start of `kill`, the end of the process, and a machine that is busy with other tests.
        Assert.InRange(HostSetup.ShutdownTimeout, TimeSpan.Zero, TimeSpan.FromSeconds(5));
        Assert.InRange(Stopwatch.GetElapsedTime(begin), TimeSpan.Zero, HostSetup.ShutdownTimeout + TimeSpan.FromSeconds(10));
    }

    private static Process Start(string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet")
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["NO_COLOR"] = "1", ["COLUMNS"] = "200" },
        };
        start.ArgumentList.Add(typeof(Commands.StartException).Assembly.Location);
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        return Process.Start(start)!;
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        using var process = Start(arguments);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        limit.CancelAfter(Limit);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(limit.Token);
            var error = process.StandardError.ReadToEndAsync(limit.Token);
            await process.WaitForExitAsync(limit.Token);
            return (process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException late) when (!Cancellation.IsCancellationRequested)
        {
            throw new TimeoutException($"'{string.Join(' ', arguments)}' did not end within {Limit.TotalSeconds} s.", late);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill();
        }
    }

    private static async Task<Running> RunningAsync(string data)
    {
        var process = Start(["dev", "--data", data, "--nodes", "0", "--runtime", "hollow", "--port", "0"]);
        var running = new Running(process);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        limit.CancelAfter(Limit);
        try
        {
            await running.WaitForLineAsync("Kubeconfig written", limit.Token);
            return running;
        }
        catch
        {
            await running.DisposeAsync();
            throw;
        }
    }

    private sealed class Running(Process process) : IAsyncDisposable
    {
        private Task _drain = Task.CompletedTask;

        public Process Process => process;

        public async Task WaitForLineAsync(string text, CancellationToken cancellationToken)
        {
            var seen = new StringBuilder();
            while (true)
            {
                var line = await process.StandardOutput.ReadLineAsync(cancellationToken)
                    ?? throw new InvalidOperationException($"The program ended without '{text}': {seen}{await process.StandardError.ReadToEndAsync(cancellationToken)}");
                seen.AppendLine(line);
                if (line.Contains(text, StringComparison.Ordinal))
                    break;
            }
            _drain = Task.WhenAll(process.StandardOutput.ReadToEndAsync(CancellationToken.None), process.StandardError.ReadToEndAsync(CancellationToken.None));
        }

        public async Task<int> StopAsync()
        {
            using var signal = Process.Start("kill", ["-TERM", $"{process.Id}"]);
            await process.WaitForExitAsync(Cancellation).WaitAsync(Limit, Cancellation);
            return process.ExitCode;
        }

        public async ValueTask DisposeAsync()
        {
            if (!process.HasExited)
                process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
            await _drain;
            process.Dispose();
        }
    }

    private sealed class Folder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("orleanscluster-cli-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
