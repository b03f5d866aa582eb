using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace OrleansCluster.Benchmarks;

/// <summary>`orleanscluster dev` in a process of its own, on a temporary data folder.</summary>
internal sealed class ServerProcess : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly Task _output;
    private readonly bool _ownsData;

    private ServerProcess(Process process, string data, bool ownsData, Uri address)
    {
        _process = process;
        _ownsData = ownsData;
        Data = data;
        Address = address;
        _output = DrainAsync(process);
    }

    public string Data { get; }

    public Uri Address { get; }

    /// <summary>From the start of the process until `/readyz` answered 200.</summary>
    public TimeSpan StartDuration { get; private set; }

    /// <summary>CPU time so far, user and kernel.</summary>
    public TimeSpan CpuTime
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    /// <summary>Resident memory, MiB.</summary>
    public double ResidentMiB => StatusKiB("VmRSS:") / 1024.0;

    /// <summary>Highest resident memory so far, MiB.</summary>
    public double PeakMiB => StatusKiB("VmHWM:") / 1024.0;

    public static Task<ServerProcess> StartAsync(string program, string[] arguments, CancellationToken cancellationToken) =>
        StartAsync(program, null, arguments, cancellationToken);

    /// <summary>Starts a server on a given data folder, which is kept, or a temporary one.</summary>
    public static async Task<ServerProcess> StartAsync(string program, string? data, string[] arguments, CancellationToken cancellationToken)
    {
        var port = FreePort();
        var folder = data ?? Directory.CreateTempSubdirectory("orleanscluster-bench-").FullName;
        var start = new ProcessStartInfo("dotnet") { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(program);
        string[] fixedArguments = ["dev", "--data", folder, "--port", port.ToString(CultureInfo.InvariantCulture), "--log-level", "Warning"];
        string[] defaults = arguments.Contains("--runtime", StringComparer.Ordinal) ? [] : ["--runtime", "hollow", "--nodes", "0"];
        foreach (var argument in fixedArguments.Concat(defaults).Concat(arguments))
            start.ArgumentList.Add(argument);
        var begin = Stopwatch.GetTimestamp();
        var process = Process.Start(start)!;
        var server = new ServerProcess(process, folder, data is null, new Uri($"https://127.0.0.1:{port}"));
        try
        {
            await server.WaitReadyAsync(begin, cancellationToken);
            server.StartDuration = Stopwatch.GetElapsedTime(begin);
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            using var kill = Process.Start("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]);
            try
            {
                await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(10));
            }
            catch (TimeoutException)
            {
                _process.Kill();
                await _process.WaitForExitAsync();
            }
        }
        await _output;
        _process.Dispose();
        if (_ownsData)
            Directory.Delete(Data, recursive: true);
    }

    private static async Task DrainAsync(Process process)
    {
        var errors = process.StandardError.ReadToEndAsync();
        while (await process.StandardOutput.ReadLineAsync() is { } line)
            await Console.Error.WriteLineAsync("  server: " + line);
        if (await errors is { Length: > 0 } text)
            await Console.Error.WriteLineAsync("  server: " + text);
    }

    private async Task WaitReadyAsync(long begin, CancellationToken cancellationToken)
    {
        // Whose certificate it is does not matter here; the figures' own connections check it.
        using var http = new HttpClient(new SocketsHttpHandler
        {
            SslOptions = { RemoteCertificateValidationCallback = (_, _, _, _) => true },
        });
        while (true)
        {
            try
            {
                using var response = await http.GetAsync(new Uri(Address, "/readyz"), cancellationToken);
                if (response.IsSuccessStatusCode)
                    return;
            }
            catch (HttpRequestException)
            {
                // Does not listen yet.
            }
            if (_process.HasExited || Stopwatch.GetElapsedTime(begin) > StartLimit)
                throw new InvalidOperationException("The server did not become ready.");
            await Task.Delay(5, cancellationToken);
        }
    }

    private long StatusKiB(string field)
    {
        foreach (var line in File.ReadLines($"/proc/{_process.Id}/status"))
        {
            if (line.StartsWith(field, StringComparison.Ordinal))
                return long.Parse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture);
        }
        return 0;
    }

    private static int FreePort()
    {
        using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)probe.LocalEndPoint!).Port;
    }
}
