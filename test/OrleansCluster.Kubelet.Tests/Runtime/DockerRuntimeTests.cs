using System.Text;
using OrleansCluster.Kubelet.Network;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Runtime;

/// <summary>The battery on the real engine with routed pods, and what only a real engine can show.</summary>
[Trait("Category", "Docker")]
public class DockerRuntimeTests : ContainerRuntimeBattery
{
    private DockerNode? _node;

    protected override IContainerRuntime Runtime => _node!.Runtime;

    protected override string Image => DockerNode.Image;

    public override async ValueTask InitializeAsync() => _node = await DockerNode.StartAsync(Network());

    public override async ValueTask DisposeAsync()
    {
        if (_node is not null)
        {
            await base.DisposeAsync();
            await _node.DisposeAsync();
        }

        GC.SuppressFinalize(this);
    }

    protected virtual IPodNetwork? Network() => null;

    protected override ContainerSpec RunsForever(PodIdentity pod, string name) =>
        DockerNode.Shell(pod, name, "trap 'exit 143' TERM; echo here; while :; do sleep 0.05; done");

    protected override ContainerSpec Exits(PodIdentity pod, string name, int exitCode) =>
        DockerNode.Shell(pod, name, $"echo one; echo two; exit {exitCode}");

    protected override ContainerSpec CannotStart(PodIdentity pod, string name) =>
        DockerNode.Shell(pod, name, "") with { Command = ["/no/such/program"] };

    [Fact]
    public async Task Exec_carries_all_streams_and_the_exit_code()
    {
        var id = await RunningAsync();
        await using var session = await Runtime.ExecAsync(
            id,
            new ExecSpec { Command = ["sh", "-c", "cat; echo err >&2; exit 5"], Stdin = true },
            Stop);
        await session.WriteStdinAsync("hello"u8.ToArray(), Stop);
        await session.CloseStdinAsync(Stop);
        var (stdout, stderr) = await ReadAllAsync(session);
        Assert.Equal(("hello", "err\n"), (stdout, stderr));
        Assert.Equal(5, await session.WaitForExitAsync(Stop));
    }

    [Fact]
    public async Task Exec_of_a_missing_program_fails_with_the_engines_words()
    {
        var id = await RunningAsync();
        await using var session = await Runtime.ExecAsync(id, new ExecSpec { Command = ["/no/such/program"] }, Stop);
        Assert.Equal(("", ""), await ReadAllAsync(session));
        var failure = await Assert.ThrowsAsync<RuntimeException>(() => session.WaitForExitAsync(Stop));
        Assert.Equal(RuntimeFailure.Exec, failure.Failure);
        Assert.Contains("no such file or directory", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exec_output_that_only_looks_like_a_refusal_is_passed_on()
    {
        var id = await RunningAsync();
        await using var session = await Runtime.ExecAsync(id, new ExecSpec { Command = ["echo", "OCI runtime exec failed: no"] }, Stop);
        Assert.Equal("OCI runtime exec failed: no\n", (await ReadAllAsync(session)).Stdout);
        Assert.Equal(0, await session.WaitForExitAsync(Stop));
    }

    [Fact]
    public async Task Exec_with_a_terminal_can_be_resized()
    {
        var id = await RunningAsync();
        await using var session = await Runtime.ExecAsync(
            id,
            new ExecSpec { Command = ["sh", "-c", "read x; stty size"], Stdin = true, Tty = true },
            Stop);
        await session.ResizeAsync(91, 37, Stop);
        await session.WriteStdinAsync("\n"u8.ToArray(), Stop);
        var (stdout, _) = await ReadAllAsync(session);
        Assert.Contains("37 91", stdout, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Attach_connects_to_the_main_process()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await StartedAsync(sandbox, DockerNode.Shell(pod, "app", "read line; echo got $line; exit 4") with { Stdin = true, StdinOnce = true });
        await using var session = await Runtime.AttachAsync(id, new AttachSpec(Stdin: true, Stdout: true, Stderr: true), Stop);
        await session.WriteStdinAsync("word\n"u8.ToArray(), Stop);
        Assert.Equal("got word\n", (await ReadAllAsync(session)).Stdout);
        Assert.Equal(4, await session.WaitForExitAsync(Stop));
    }

    [Fact]
    public async Task Connect_reaches_a_port_that_listens_on_the_pods_loopback_only()
    {
        if (_node!.Network.EngineAssignsAddress)
        {
            return; // From outside the namespace only the pod's address can be reached.
        }

        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        await StartedAsync(sandbox, DockerNode.Shell(pod, "app", "mkdir /www; echo from the pod >/www/index.html; httpd -f -h /www -p 127.0.0.1:8080"));
        Assert.EndsWith("from the pod\n", await FetchAsync(() => Runtime.ConnectAsync(sandbox.Id, 8080, Stop)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Container_gets_what_its_spec_says()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var directory = Directory.CreateTempSubdirectory("mount");
        try
        {
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(directory.FullName, (UnixFileMode)0b111_101_101);
            }

            await File.WriteAllTextAsync(Path.Combine(directory.FullName, "file"), "mounted\n", Stop);
            var id = await StartedAsync(sandbox, DockerNode.Shell(pod, "app", "x") with
            {
                Command = ["sh", "-c"],
                Args = ["""echo "$A|$(pwd)|$(id -u):$(id -g):$(id -G)|$(cat /data/file)|$(hostname)|$(touch /x 2>&1)|$(touch /data/y 2>&1)" """],
                Environment = [new("A", "a b=c")],
                WorkingDirectory = "/etc",
                RunAsUser = 1000,
                RunAsGroup = 2000,
                SupplementalGroups = [3000],
                ReadOnlyRootFilesystem = true,
                Mounts = [new(directory.FullName, "/data", ReadOnly: true)],
                CpuLimitMillis = 500,
                CpuRequestMillis = 100,
                MemoryLimitBytes = 64 << 20,
                DropCapabilities = ["ALL"],
                AllowPrivilegeEscalation = false,
            });
            await EndedAsync(id);
            var fields = (await LogAsync(id, new LogQuery())).Trim().Split('|');
            Assert.Equal(
                ["a b=c", "/etc", "1000:2000:2000 3000", "mounted", "box", "touch: /x: Read-only file system", "touch: /data/y: Read-only file system"],
                fields);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Command_without_arguments_drops_the_images_arguments_and_arguments_alone_keep_its_entry_point()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var command = await StartedAsync(sandbox, DockerNode.Shell(pod, "command", "x") with { Command = ["echo"] });
        var arguments = await StartedAsync(sandbox, DockerNode.Shell(pod, "arguments", "x") with { Command = null, Args = ["echo", "args"] });
        await EndedAsync(command);
        await EndedAsync(arguments);
        Assert.Equal("\n", await LogAsync(command, new LogQuery()));
        Assert.Equal("args\n", await LogAsync(arguments, new LogQuery()));
    }

    [Fact]
    public async Task Privileged_container_starts_also_where_the_engine_lacks_a_capability()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await StartedAsync(sandbox, DockerNode.Shell(pod, "app", "mount -t tmpfs t /mnt 2>&1 || mkdir /mnt && mount -t tmpfs t /mnt && echo mounted") with { Privileged = true });
        Assert.Equal(0, (await EndedAsync(id)).ExitCode);
        Assert.Contains("mounted", await LogAsync(id, new LogQuery()), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Memory_over_the_limit_is_an_out_of_memory_kill()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await StartedAsync(
            sandbox,
            DockerNode.Shell(pod, "app", "x") with { Command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M"], MemoryLimitBytes = 16 << 20 });
        var ended = await EndedAsync(id);
        Assert.Equal((137, "OOMKilled"), (ended.ExitCode, ended.TerminationReason));
    }

    [Fact]
    public async Task Stdout_and_stderr_of_a_log_are_told_apart()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await StartedAsync(sandbox, DockerNode.Shell(pod, "app", "echo out; echo err >&2"));
        await EndedAsync(id);
        using var stdout = new MemoryStream();
        using var stderr = new MemoryStream();
        await Runtime.ReadLogsAsync(id, new LogQuery(), stdout, stderr, Stop);
        Assert.Equal(("out\n", "err\n"), (Encoding.UTF8.GetString(stdout.ToArray()), Encoding.UTF8.GetString(stderr.ToArray())));
    }

    [Fact]
    public async Task Containers_of_a_pod_share_its_loopback()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        await StartedAsync(sandbox, DockerNode.Shell(pod, "server", "mkdir /www; echo shared >/www/index.html; httpd -f -h /www -p 127.0.0.1:9000"));
        var client = await StartedAsync(sandbox, DockerNode.Shell(pod, "client", "until wget -qO- http://127.0.0.1:9000/; do sleep 0.05; done"));
        await EndedAsync(client);
        Assert.Contains("shared", await LogAsync(client, new LogQuery()), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Host_network_sandbox_has_no_address_and_the_nodes_links()
    {
        var pod = NewPod();
        var sandbox = await Runtime.CreateSandboxAsync(SandboxOf(pod) with { Network = SandboxNetwork.Host }, Stop);
        var started = await Runtime.StartSandboxAsync(sandbox.Id, Stop);
        Assert.Null(started.PodIP);
        var id = await StartedAsync(started, DockerNode.Shell(pod, "app", "ls /sys/class/net"));
        await EndedAsync(id);
        Assert.Contains("docker0", await LogAsync(id, new LogQuery()), StringComparison.Ordinal);
    }

    protected async Task<string> RunningAsync()
    {
        var pod = NewPod();
        return await StartedAsync(await StartedSandboxAsync(pod), RunsForever(pod, "app"));
    }

    internal static async Task<(string Stdout, string Stderr)> ReadAllAsync(IProcessSession session)
    {
        var (stdout, stderr) = (new StringBuilder(), new StringBuilder());
        var buffer = new byte[4096];
        while (await session.ReadOutputAsync(buffer, Stop) is { Count: > 0 } read)
        {
            (read.Stream == OutputStream.Stderr ? stderr : stdout).Append(Encoding.UTF8.GetString(buffer, 0, read.Count));
        }

        return (stdout.ToString(), stderr.ToString());
    }

    /// <summary>Connects until the server listens, then gets its page.</summary>
    internal static async Task<string> FetchAsync(Func<Task<Stream>> connect)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                await using var stream = await connect();
                await stream.WriteAsync("GET / HTTP/1.0\r\n\r\n"u8.ToArray(), Stop);
                using var reader = new StreamReader(stream);
                var text = await reader.ReadToEndAsync(Stop);
                if (text.Length > 0)
                {
                    return text;
                }
            }
            catch (Exception e) when (e is RuntimeException or IOException or System.Net.Sockets.SocketException && attempt < 200)
            {
                // The program in the pod is not up yet: asking again is the only sign there is.
            }

            await Task.Delay(50, Stop);
        }
    }
}

/// <summary>The battery on Docker's own bridge.</summary>
[Trait("Category", "Docker")]
public sealed class DockerBridgeRuntimeTests : DockerRuntimeTests
{
    protected override IPodNetwork Network() => new DockerBridgeNetwork();
}
