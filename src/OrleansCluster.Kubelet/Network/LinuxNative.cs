using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace OrleansCluster.Kubelet.Network;

/// <summary>The few system calls the pod network needs and .NET has no words for.</summary>
[SupportedOSPlatform("linux")]
internal static partial class LinuxNative
{
    public const int NetlinkFamily = 16;
    public const int RawSocket = 3;
    public const int CloseOnExec = 0x80000;
    public const int RouteProtocol = 0;
    public const int NewNetwork = 0x40000000;
    public const int ReadOnly = 0;

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    public static partial int SetNamespace(int descriptor, int kind);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    public static partial int Socket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    public static partial nint Send(int socket, ReadOnlySpan<byte> data, nint length, int flags);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    public static partial nint Receive(int socket, Span<byte> data, nint length, int flags);
}
