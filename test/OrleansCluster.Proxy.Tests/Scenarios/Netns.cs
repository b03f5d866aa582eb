using System.ComponentModel;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using OrleansCluster.Proxy.Host;

namespace OrleansCluster.Proxy.Tests.Scenarios;

/// <summary>
/// A network namespace of its own, so that nothing a test does reaches the machine's rules, routes or ports. As an
/// <see cref="IHostNetwork"/> it lets a proxy in this process work on that namespace: a socket belongs for ever to the
/// namespace of the thread that created it, and is then used from any thread.
/// </summary>
internal sealed class Netns(string name, string directory = "/run/netns") : IHostNetwork
{
    private const int CloneNewNet = 0x4000_0000;

    private readonly HostNetwork _programs = new(TimeProvider.System);

    public string Name { get; } = name;

    /// <summary>Why namespaces cannot be used here; null if they can.</summary>
    public static string? WhyUnavailable() =>
        !OperatingSystem.IsLinux() ? "network namespaces need Linux"
        : !Environment.IsPrivilegedProcess ? "network namespaces need root"
        : !Exists("ip") ? "the ip program is missing"
        : !Exists("nft") ? "the nft program is missing"
        : null;

    public Socket CreateSocket(AddressFamily family, SocketType type, ProtocolType protocol) =>
        Inside(() => new Socket(family, type, protocol));

    public Socket CreateNetlinkSocket(int protocol) => Inside(() => _programs.CreateNetlinkSocket(protocol));

    public IReadOnlyList<IPAddress> LocalAddresses() => Inside(_programs.LocalAddresses);

    public Task<CommandResult> RunAsync(
        string program, IReadOnlyList<string> arguments, string input, TimeSpan timeout, CancellationToken cancellationToken) =>
        _programs.RunAsync("nsenter", [$"--net={directory}/{Name}", program, .. arguments], input, timeout, cancellationToken);

    public async Task<string> ShellAsync(string script, CancellationToken cancellationToken)
    {
        var result = await RunAsync("sh", ["-euc", script], "", TimeSpan.FromSeconds(20), cancellationToken);
        Assert.True(result.Succeeded, $"in {Name}: {script}\n{result.Error}");
        return result.Output;
    }

    // A thread that changed its namespace must not serve anybody else: it is made for the purpose and ends.
    private T Inside<T>(Func<T> action)
    {
        T? result = default;
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                using var handle = File.OpenHandle($"{directory}/{Name}");
                if (SetNamespace((int)handle.DangerousGetHandle(), CloneNewNet) != 0)
                    throw new Win32Exception(Marshal.GetLastPInvokeError());
                result = action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        return failure is null ? result! : throw new InvalidOperationException($"In namespace {Name}: {failure.Message}", failure);
    }

    private static bool Exists(string program) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':').Any(d => File.Exists(Path.Combine(d, program)));

    [DllImport("libc", EntryPoint = "setns", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetNamespace(int descriptor, int type);
}
