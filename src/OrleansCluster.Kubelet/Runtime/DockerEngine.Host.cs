using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace OrleansCluster.Kubelet.Runtime;

/// <content>What the engine is and whether this process shares its machine.</content>
public sealed partial class DockerEngine
{
    private const int LastCapability = 40;

    private readonly Lock _lock = new();
    private bool? _isLocal;
    private IReadOnlySet<int>? _missingCapabilities;

    /// <summary>The engine's name, version and machine.</summary>
    public async Task<RuntimeVersion> GetVersionAsync(CancellationToken cancellationToken)
    {
        var info = await CallAsync(RuntimeFailure.Unavailable, Client.System.GetSystemInfoAsync, cancellationToken);
        return new RuntimeVersion(
            "docker",
            info.ServerVersion,
            info.OperatingSystem,
            info.KernelVersion,
            info.Architecture switch
            {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                var other => other,
            },
            (int)info.NCPU,
            info.MemTotal);
    }

    /// <summary>
    /// The engine's process as seen from here, or 0: no local socket, or the engine lives in another process space (a virtual machine, the host
    /// of the container this runs in). The kernel names the process that made the socket.
    /// </summary>
    internal int FindProcess()
    {
        if (!OperatingSystem.IsLinux() || SocketPath is null)
        {
            return 0;
        }

        const int socketLevel = 1, peerCredentials = 17, credentialsBytes = 12;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(new UnixDomainSocketEndPoint(SocketPath));
            Span<byte> credentials = stackalloc byte[credentialsBytes];
            socket.GetRawSocketOption(socketLevel, peerCredentials, credentials);
            return MemoryMarshal.Read<int>(credentials);
        }
        catch (SocketException)
        {
            return 0;
        }
    }

    /// <summary>Whether the engine's processes are processes of this machine as seen from here.</summary>
    internal bool IsLocal
    {
        get
        {
            lock (_lock)
            {
                return _isLocal ??= FindProcess() != 0;
            }
        }
    }

    /// <summary>Capabilities (bit numbers) that an engine on this machine lacks itself and so cannot give; null when unknown or none.</summary>
    internal IReadOnlySet<int>? MissingCapabilities()
    {
        lock (_lock)
        {
            return _missingCapabilities ??= ReadMissingCapabilities(FindProcess());
        }
    }

    /// <summary>The capabilities of a process (<c>CapBnd</c>, <c>CapEff</c>) as a bit mask, or null when they cannot be read.</summary>
    internal static ulong? ReadCapabilities(string process, string set)
    {
        try
        {
            var line = File.ReadLines($"/proc/{process}/status").FirstOrDefault(line => line.StartsWith(set + ":", StringComparison.Ordinal));
            return line is null ? null : ulong.Parse(line.AsSpan(set.Length + 1).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static HashSet<int> ReadMissingCapabilities(int process)
    {
        var mask = process == 0 ? null : ReadCapabilities(process.ToString(CultureInfo.InvariantCulture), "CapBnd");
        return mask is { } bits ? [.. Enumerable.Range(0, LastCapability + 1).Where(bit => (bits & (1ul << bit)) == 0)] : [];
    }
}
