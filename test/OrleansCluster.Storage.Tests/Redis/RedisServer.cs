using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace OrleansCluster.Storage.Tests.Redis;

/// <summary>A redis-server of the machine, on a port and in a folder of its own. It ends with the test that started it.</summary>
internal sealed class RedisServer : IAsyncDisposable
{
    private readonly string[] _arguments;
    private readonly bool _ownsFolder;
    private Process? _process;

    private RedisServer(int port, string folder, bool ownsFolder, string[] arguments)
    {
        Port = port;
        Folder = folder;
        _ownsFolder = ownsFolder;
        _arguments = arguments;
    }

    public int Port { get; }

    public string Folder { get; }

    public string Address => string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{Port}");

    /// <summary>True if there is a redis-server on the PATH.</summary>
    public static bool IsInstalled { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
        .Any(folder => File.Exists(Path.Combine(folder, "redis-server")));

    public static void SkipIfMissing() => Assert.SkipUnless(IsInstalled, "redis-server is not installed (Debian: apt-get install redis-server).");

    /// <summary>Starts a server and waits until it answers. Durable unless the arguments say otherwise.</summary>
    public static async Task<RedisServer> StartAsync(CancellationToken cancellationToken, params string[] arguments)
    {
        SkipIfMissing();
        for (var attempt = 0; ; attempt++)
        {
            var server = new RedisServer(FreePort(), Directory.CreateTempSubdirectory("redis-test-").FullName, ownsFolder: true, arguments);
            try
            {
                await server.StartAsync(cancellationToken);
                return server;
            }
            catch (InvalidOperationException) when (attempt < 3)
            {
                // Another program was quicker to take the port.
                await server.DisposeAsync();
            }
        }
    }

    /// <summary>Starts the server again, on the same port and folder.</summary>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        string[] common =
        [
            "--port", Port.ToString(CultureInfo.InvariantCulture), "--bind", "127.0.0.1", "--dir", Folder, "--save", "", "--appendonly", "yes",
            "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--logfile", Path.Combine(Folder, "redis.log"), "--enable-debug-command", "yes",
        ];
        _process = StartProcess([.. common, .. _arguments]);
        await WaitUntilUpAsync(_process, Port, cancellationToken);
    }

    /// <summary>kill -9.</summary>
    public async Task KillAsync()
    {
        if (_process is not { } process)
            return;
        _process = null;
        if (!process.HasExited)
            process.Kill();
        await process.WaitForExitAsync(CancellationToken.None);
        process.Dispose();
    }

    /// <summary>Stops the process without ending it.</summary>
    public Task PauseAsync() => SignalAsync("-STOP");

    public Task ResumeAsync() => SignalAsync("-CONT");

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        if (_ownsFolder)
            Directory.Delete(Folder, recursive: true);
    }

    internal static Process StartProcess(IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo("redis-server") { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        var process = Process.Start(start)!;
        // Nobody reads what it says; a full pipe would stop it.
        process.OutputDataReceived += static (_, _) => { };
        process.ErrorDataReceived += static (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    internal static async Task WaitUntilUpAsync(Process process, int port, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(TimeSpan.FromSeconds(30));
        while (true)
        {
            if (process.HasExited)
                throw new InvalidOperationException($"redis-server ended with {process.ExitCode}.");
            try
            {
                if ((await CommandAsync(port, "PING", timeout.Token)).StartsWith("+PONG", StringComparison.Ordinal))
                    return;
            }
            catch (SocketException)
            {
                // Not yet listening.
            }
            await Task.Delay(10, timeout.Token);
        }
    }

    /// <summary>Sends one inline command and returns the beginning of the answer.</summary>
    internal static async Task<string> CommandAsync(int port, string command, CancellationToken cancellationToken)
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port, cancellationToken);
        await socket.SendAsync(Encoding.UTF8.GetBytes(command + "\r\n"), cancellationToken);
        var buffer = new byte[64 << 10];
        return Encoding.UTF8.GetString(buffer, 0, await socket.ReceiveAsync(buffer, cancellationToken));
    }

    /// <summary>A port nobody listens on now, below the range from which the system gives ports to clients, and with its cluster bus port.</summary>
    internal static int FreePort()
    {
        var properties = System.Net.NetworkInformation.IPGlobalProperties.GetIPGlobalProperties();
        while (true)
        {
            var port = Random.Shared.Next(20_000, 32_000);
            if (!properties.GetActiveTcpListeners().Any(e => e.Port == port || e.Port == port + 10_000))
                return port;
        }
    }

    private async Task SignalAsync(string signal)
    {
        using var kill = Process.Start("kill", [signal, _process!.Id.ToString(CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync(CancellationToken.None);
    }
}

/// <summary>One durable Redis for all tests that only need their own keys.</summary>
public sealed class RedisFixture : IAsyncLifetime
{
    private readonly SemaphoreSlim _gate = new(1);
    private RedisServer? _server;
    private int _prefixes;

    internal async Task<RedisServer> ServerAsync()
    {
        await _gate.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            return _server ??= await RedisServer.StartAsync(TestContext.Current.CancellationToken);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Settings for a store with keys of its own.</summary>
    internal async Task<RedisStoreOptions> OptionsAsync() =>
        new() { ConnectionString = (await ServerAsync()).Address, KeyPrefix = $"t{Interlocked.Increment(ref _prefixes)}" };

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
            await _server.DisposeAsync();
        _gate.Dispose();
    }
}
