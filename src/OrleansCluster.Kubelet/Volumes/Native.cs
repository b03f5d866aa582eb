using System.ComponentModel;
using System.Runtime.InteropServices;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>The few system calls for which .NET has no method.</summary>
internal static class Native
{
    private const int DetachLazily = 2;

    /// <summary>Replaces <paramref name="to"/> in one step; works on symbolic links themselves.</summary>
    public static void Rename(string from, string to) => Check(rename(from, to), $"rename {from} to {to}");

    public static void MountTmpfs(string directory, long? sizeBytes, string mode)
    {
        var options = sizeBytes is { } size ? $"mode={mode},size={size}" : $"mode={mode}";
        Check(mount("tmpfs", directory, "tmpfs", 0, options), $"mount tmpfs on {directory}");
    }

    public static void Unmount(string directory) => Check(umount2(directory, DetachLazily), $"unmount {directory}");

    /// <summary>Changes the group only.</summary>
    public static void ChangeGroup(string path, long group) => Check(lchown(path, uint.MaxValue, checked((uint)group)), $"chgrp {path}");

    private static void Check(int result, string what)
    {
        if (result != 0)
            throw new IOException($"{what}: {new Win32Exception(Marshal.GetLastPInvokeError()).Message}");
    }

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int rename([MarshalAs(UnmanagedType.LPUTF8Str)] string from, [MarshalAs(UnmanagedType.LPUTF8Str)] string to);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int mount(
        [MarshalAs(UnmanagedType.LPUTF8Str)] string source,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string target,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string type,
        nuint flags,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string data);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int umount2([MarshalAs(UnmanagedType.LPUTF8Str)] string target, int flags);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int lchown([MarshalAs(UnmanagedType.LPUTF8Str)] string path, uint owner, uint group);
}
