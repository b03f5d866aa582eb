using System.ComponentModel;
using System.Diagnostics;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace OrleansCluster.Proxy.Host;

/// <summary>How a child process ended.</summary>
/// <param name="ExitCode">The exit code; <see cref="NotStarted"/> and <see cref="TimedOut"/> are not the program's own.</param>
/// <param name="Output">Standard output.</param>
/// <param name="Error">Standard error, or why the program was not started or was killed.</param>
public readonly record struct CommandResult(int ExitCode, string Output, string Error)
{
    /// <summary>Exit code of a program that is missing or not executable.</summary>
    public const int NotStarted = -1;

    /// <summary>Exit code of a program that was killed because it ran longer than allowed; its effect is unknown.</summary>
    public const int TimedOut = -2;

    /// <summary>True when the program ran and returned 0.</summary>
    public bool Succeeded => ExitCode == 0;
}

/// <summary>
/// The network stack a proxy works on: its sockets, addresses and configuration programs. Production code uses the
/// process's own stack (<see cref="HostNetwork"/>); another implementation may stand in a different network namespace,
/// which is how the tests leave the machine's own rules alone.
/// </summary>
public interface IHostNetwork
{
    /// <summary>Creates an unbound socket.</summary>
    Socket CreateSocket(AddressFamily family, SocketType type, ProtocolType protocol);

    /// <summary>Creates a netlink socket for blocking use: the kernel answers in the same call, nobody is waited for.</summary>
    /// <param name="protocol">The netlink protocol number (linux/netlink.h).</param>
    /// <exception cref="SocketException">Not on this system, or not with this process's rights.</exception>
    Socket CreateNetlinkSocket(int protocol);

    /// <summary>
    /// Unicast addresses of all interfaces, loopback included, without IPv6 link-local ones (they need a scope, and come
    /// and go with the carrier). An address is this host's even while its interface is down.
    /// </summary>
    IReadOnlyList<IPAddress> LocalAddresses();

    /// <summary>Runs a program with the text as its standard input. A failure is a result, not an exception.</summary>
    /// <param name="program">Name, searched for in PATH.</param>
    /// <param name="arguments">Arguments, passed without a shell.</param>
    /// <param name="input">Standard input; empty = none.</param>
    /// <param name="timeout">After this time the program is killed.</param>
    /// <param name="cancellationToken">Kills the program and throws.</param>
    Task<CommandResult> RunAsync(
        string program, IReadOnlyList<string> arguments, string input, TimeSpan timeout, CancellationToken cancellationToken);
}

/// <summary>The network stack of this process.</summary>
/// <param name="timeProvider">Measures time limits.</param>
public sealed class HostNetwork(TimeProvider timeProvider) : IHostNetwork
{
    // Directories of nft and ip that the PATH of an unprivileged shell or a service may lack.
    private const string SystemDirectories = "/usr/sbin:/sbin:/usr/local/sbin";

    /// <inheritdoc/>
    public Socket CreateSocket(AddressFamily family, SocketType type, ProtocolType protocol) => new(family, type, protocol);

    /// <inheritdoc/>
    public Socket CreateNetlinkSocket(int protocol)
    {
        const int AfNetlink = 16;
        const int SockRaw = 3;
        const int SockCloexec = 0x80000;
        if (!OperatingSystem.IsLinux())
            throw new SocketException((int)SocketError.AddressFamilyNotSupported);
        // The Socket class knows no netlink family, but it does wrap a socket that was made elsewhere.
        var descriptor = OpenSocket(AfNetlink, SockRaw | SockCloexec, protocol);
        return descriptor >= 0
            ? new Socket(new SafeSocketHandle(descriptor, ownsHandle: true))
            : throw new SocketException(Marshal.GetLastPInvokeError(), "No netlink socket.");
    }

    /// <inheritdoc/>
    public IReadOnlyList<IPAddress> LocalAddresses() =>
    [
        .. NetworkInterface.GetAllNetworkInterfaces()
            .SelectMany(static i => i.GetIPProperties().UnicastAddresses)
            .Select(static a => a.Address)
            .Where(static a => !a.IsIPv6LinkLocal)
            .Distinct(),
    ];

    /// <inheritdoc/>
    public async Task<CommandResult> RunAsync(
        string program, IReadOnlyList<string> arguments, string input, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        start.Environment["PATH"] = $"{Environment.GetEnvironmentVariable("PATH")}:{SystemDirectories}";
        start.Environment["LC_ALL"] = "C";
        using var process = new Process();
        process.StartInfo = start;
        try
        {
            process.Start();
        }
        catch (Win32Exception e)
        {
            return new CommandResult(CommandResult.NotStarted, "", $"{program}: {e.Message}");
        }

        using var limit = new CancellationTokenSource(timeout, timeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        try
        {
            // Output is read while input is written, or both sides could wait on full pipes.
            var output = process.StandardOutput.ReadToEndAsync(either.Token);
            var error = process.StandardError.ReadToEndAsync(either.Token);
            await Task.WhenAll(WriteInputAsync(process, input, either.Token), output, error, process.WaitForExitAsync(either.Token));
            return new CommandResult(process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync(CancellationToken.None);
            cancellationToken.ThrowIfCancellationRequested();
            return new CommandResult(CommandResult.TimedOut, "", $"{program} was killed after {timeout.TotalSeconds:0.#} s.");
        }
    }

    [DllImport("libc", EntryPoint = "socket", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int OpenSocket(int family, int type, int protocol);

    private static async Task WriteInputAsync(Process process, string input, CancellationToken cancellationToken)
    {
        try
        {
            await process.StandardInput.WriteAsync(input.AsMemory(), cancellationToken);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The program ended without reading everything; its exit code and error text tell why.
        }
    }
}
