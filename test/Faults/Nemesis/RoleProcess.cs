using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.Faults.Nemesis;

/// <summary>A process of the cluster under test: it can be killed, paused, ended politely, cut off the network and started again with the same arguments.</summary>
internal sealed class RoleProcess(string name, string program, IReadOnlyList<string> arguments, IReadOnlyList<int> ports) : IAsyncDisposable
{
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int SigContinue = 18;
    private const int SigStop = 19;
    private const int LogLines = 4000;
    private static readonly ConcurrentDictionary<int, byte> GivenOut = new();
    private readonly ConcurrentQueue<string> _log = new();
    private readonly Lock _starting = new();
    private Process? _process;
    private Task _reading = Task.CompletedTask;

    public string Name => name;

    /// <summary>The ports it listens on; cutting it off is dropping what goes to and from them.</summary>
    public IReadOnlyList<int> Ports => ports;

    /// <summary>Where it runs if it has a network of its own; cutting it off is taking that link down.</summary>
    public NetworkNamespace? Network { get; init; }

    /// <summary>What the next start runs: another build of the same program, during an upgrade.</summary>
    public string Program { get; set; } = program;

    public bool IsRunning => _process is { HasExited: false };

    public int Starts { get; private set; }

    /// <summary>It was started and nobody has ended it: if it does not run, it has ended by itself.</summary>
    public bool IsWanted { get; private set; }

    public IEnumerable<string> Log => _log;

    /// <summary>A port that nobody uses and that was not given out before: what it was given to may not have started yet.</summary>
    public static int FreePort()
    {
        while (true)
        {
            using var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            var port = ((IPEndPoint)listener.LocalEndpoint).Port;
            if (GivenOut.TryAdd(port, 0))
                return port;
        }
    }

    /// <param name="more">Arguments for this start only.</param>
    public void Start(params IReadOnlyList<string> more)
    {
        // Whoever ended it and whoever looks after it may both want it back.
        lock (_starting)
        {
            if (IsRunning)
                return;
            Starts++;
            _process?.Dispose();
            Note($"----- start {Starts}: {string.Join(' ', arguments)}");
            _process = Network is null ? Command.Start(Program, [.. arguments, .. more]) : Command.Start("ip", ["netns", "exec", Network.Name, Program, .. arguments, .. more]);
            IsWanted = true;
            _process.StandardInput.Close();
            _reading = Task.WhenAll(CollectAsync(_process.StandardOutput), CollectAsync(_process.StandardError));
        }
    }

    /// <summary>SIGKILL: nothing is tidied up.</summary>
    public Task KillAsync() => EndAsync(SigKill, TimeSpan.FromSeconds(10));

    /// <summary>SIGTERM; a process that does not end in time is a failure.</summary>
    public Task StopAsync(TimeSpan limit) => EndAsync(SigTerm, limit);

    public void Pause() => Signal(SigStop);

    public void Continue() => Signal(SigContinue);

    public string Tail(int lines = 40) => string.Join('\n', _log.TakeLast(lines));

    public async ValueTask DisposeAsync()
    {
        if (_process is null)
            return;
        try
        {
            Continue();
            await KillAsync();
        }
        catch (InvalidOperationException)
        {
            // It has ended by itself meanwhile.
        }
    }

    private async Task EndAsync(int signal, TimeSpan limit)
    {
        IsWanted = false;
        if (_process is not { } process)
            return;
        Signal(signal);
        using var deadline = new CancellationTokenSource(limit);
        try
        {
            await process.WaitForExitAsync(deadline.Token);
        }
        catch (OperationCanceledException late)
        {
            Signal(SigKill);
            throw new TimeoutException($"{name} did not end within {limit.TotalSeconds:0} s of signal {signal}.\n{Tail()}", late);
        }
        await _reading;
        Note($"----- ended with {process.ExitCode} on signal {signal}");
        process.Dispose();
        _process = null;
    }

    private void Signal(int signal)
    {
        if (_process is { HasExited: false } process)
            _ = Kill(process.Id, signal);
    }

    private async Task CollectAsync(StreamReader from)
    {
        while (await from.ReadLineAsync(CancellationToken.None) is { } line)
            Note(line);
    }

    private void Note(string line)
    {
        _log.Enqueue(string.Create(CultureInfo.InvariantCulture, $"{DateTime.UtcNow:HH:mm:ss.fff} {line}"));
        while (_log.Count > LogLines)
            _log.TryDequeue(out _);
    }

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int process, int signal);
}
