using System.Diagnostics;
using System.Text.RegularExpressions;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Streaming;
using OrleansCluster.Kubelet.Tests.Runtime;

namespace OrleansCluster.Kubelet.Tests.Streaming;

/// <summary>The real kubectl against the kubelet's endpoints and a real container, over WebSocket and over SPDY.</summary>
[Trait("Category", "Docker")]
public sealed partial class KubectlStreamingTests : IAsyncLifetime
{
    private readonly string _home = Directory.CreateTempSubdirectory("kubectl").FullName;
    private DockerNode? _node;
    private StreamingServer? _server;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _node = await DockerNode.StartAsync();
        if (Run("version", "--client") is null)
        {
            await _node.DisposeAsync();
            Assert.Skip("no kubectl");
        }

        _server = await StreamingServer.StartAsync();
        var pod = new PodIdentity("default", "p", Guid.NewGuid().ToString());
        var sandbox = await _node.Runtime.CreateSandboxAsync(new SandboxSpec { Pod = pod, Hostname = "p" }, Stop);
        await _node.Runtime.StartSandboxAsync(sandbox.Id, Stop);
        var spec = DockerNode.Shell(
            pod,
            "app",
            "mkdir /www; echo page >/www/index.html; httpd -h /www -p 127.0.0.1:8080; echo started; while read line; do echo got $line; done; sleep 1000") with
        {
            Stdin = true,
        };
        var id = await _node.Runtime.CreateContainerAsync(sandbox.Id, spec, Stop);
        await _node.Runtime.StartContainerAsync(id, Stop);
        await ContainerRuntimeBattery.FirstOutputAsync(_node.Runtime, id); // Then the server listens: kubectl ends a port-forward at the first failure.
        _server.Add("default", "p", new PodStreams(_node.Runtime, sandbox.Id, [new PodContainerStreams("app", id, null, Running: true, null)]));
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        if (_node is not null)
        {
            await _node.DisposeAsync();
        }

        Directory.Delete(_home, recursive: true);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Exec_carries_input_output_and_exit_code(bool webSockets)
    {
        var (code, stdout, stderr) = await KubectlAsync(webSockets, "hello", "exec", "-i", "p", "--", "sh", "-c", "cat; echo err >&2; exit 3");
        Assert.Equal(3, code);
        Assert.Equal("hello", stdout);
        Assert.Contains("err", stderr, StringComparison.Ordinal);
        Assert.Contains("command terminated with exit code 3", stderr, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Exec_of_much_output_loses_nothing(bool webSockets)
    {
        var (code, stdout, stderr) = await KubectlAsync(webSockets, null, "exec", "p", "--", "sh", "-c", "seq 1 200000");
        Assert.True(code == 0, stderr);
        Assert.Equal(200000, stdout.Count(character => character == '\n'));
        Assert.EndsWith("\n200000\n", stdout, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exec_of_a_missing_program_says_so()
    {
        var (code, _, stderr) = await KubectlAsync(webSockets: true, null, "exec", "p", "--", "/no/such/program");
        Assert.Equal(1, code);
        Assert.Contains("no such file or directory", stderr, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Cp_brings_a_file_there_and_back(bool webSockets)
    {
        var file = Path.Combine(_home, "file");
        var contents = string.Join('\n', Enumerable.Range(0, 50_000));
        await File.WriteAllTextAsync(file, contents, Stop);
        var (code, _, stderr) = await KubectlAsync(webSockets, null, "cp", file, "p:/tmp/copy");
        Assert.True(code == 0, stderr);
        (code, _, stderr) = await KubectlAsync(webSockets, null, "cp", "p:/tmp/copy", Path.Combine(_home, "back"));
        Assert.True(code == 0, stderr);
        Assert.Equal(contents, await File.ReadAllTextAsync(Path.Combine(_home, "back"), Stop));
    }

    [Fact]
    public async Task Logs_are_followed_to_a_limit()
    {
        var (code, stdout, stderr) = await KubectlAsync(webSockets: true, null, "logs", "p");
        Assert.True(code == 0, stderr);
        Assert.Equal("started\n", stdout);
        (code, stdout, stderr) = await KubectlAsync(webSockets: true, null, "logs", "-f", "p", "--limit-bytes=5");
        Assert.True(code == 0, stderr);
        Assert.Equal("start", stdout);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task PortForward_carries_several_connections_and_reports_a_closed_port(bool webSockets)
    {
        using var forward = StartKubectl(webSockets, "port-forward", "p", ":8080", ":9");
        try
        {
            var ports = new List<int>();
            while (ports.Count < 2 && await forward.StandardOutput.ReadLineAsync(Stop) is { } line)
            {
                if (ForwardLine().Match(line) is { Success: true } match)
                {
                    ports.Add(int.Parse(match.Groups["port"].Value, System.Globalization.CultureInfo.InvariantCulture));
                }
            }

            Assert.Equal(2, ports.Count);
            using var http = new HttpClient();
            try
            {
                var pages = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => http.GetStringAsync($"http://127.0.0.1:{ports[0]}/", Stop)));
                Assert.All(pages, page => Assert.Equal("page\n", page));
            }
            catch (HttpRequestException e)
            {
                forward.Kill();
                Assert.Fail($"{e.Message}\n{await forward.StandardError.ReadToEndAsync(Stop)}");
            }

            await Assert.ThrowsAnyAsync<Exception>(() => http.GetStringAsync($"http://127.0.0.1:{ports[1]}/", Stop));
            string? error;
            while ((error = await forward.StandardError.ReadLineAsync(Stop)) is not null && !error.Contains("an error occurred forwarding", StringComparison.Ordinal))
            {
                // Other messages come before.
            }

            Assert.NotNull(error);
        }
        finally
        {
            forward.Kill();
            await forward.WaitForExitAsync(CancellationToken.None);
        }
    }

    [Fact]
    public async Task Attach_connects_to_the_running_process()
    {
        using var attach = StartKubectl(webSockets: true, "attach", "-i", "p");
        try
        {
            await attach.StandardInput.WriteLineAsync("a line".AsMemory(), Stop);
            string? line;
            while ((line = await attach.StandardOutput.ReadLineAsync(Stop)) is not null && !line.Contains("got a line", StringComparison.Ordinal))
            {
                // What the container said before.
            }

            Assert.NotNull(line);
        }
        finally
        {
            attach.Kill();
            await attach.WaitForExitAsync(CancellationToken.None);
        }
    }

    [GeneratedRegex(@"^Forwarding from 127\.0\.0\.1:(?<port>\d+) ->", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex ForwardLine();

    private async Task<(int Code, string Stdout, string Stderr)> KubectlAsync(bool webSockets, string? input, params string[] arguments)
    {
        using var process = StartKubectl(webSockets, arguments);
        var stdout = process.StandardOutput.ReadToEndAsync(Stop);
        var stderr = process.StandardError.ReadToEndAsync(Stop);
        await process.StandardInput.WriteAsync(input.AsMemory(), Stop);
        process.StandardInput.Close();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        limit.CancelAfter(TimeSpan.FromMinutes(1));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            Assert.Fail($"kubectl {string.Join(' ', arguments)} hangs");
        }

        return (process.ExitCode, await stdout, await stderr);
    }

    private Process StartKubectl(bool webSockets, params string[] arguments)
    {
        var start = new ProcessStartInfo("kubectl", ["--server", _server!.Address.ToString(), "--namespace", "default", .. arguments])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["HOME"] = _home;
        start.Environment["KUBECONFIG"] = Path.Combine(_home, "none");
        start.Environment["KUBECTL_REMOTE_COMMAND_WEBSOCKETS"] = webSockets ? "true" : "false";
        start.Environment["KUBECTL_PORT_FORWARD_WEBSOCKETS"] = webSockets ? "true" : "false";
        return Process.Start(start)!;
    }

    private static string? Run(params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo("kubectl", arguments) { UseShellExecute = false, RedirectStandardOutput = true });
            return process!.StandardOutput.ReadToEnd();
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
