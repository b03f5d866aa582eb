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

    /// <summary>What a path leads to, links followed.</summary>
    public static FileType TypeOf(string path)
    {
        const int WorkingDirectory = -100, TypeMask = 1, ModeOffset = 28, TypeBits = 0xF000;
        var buffer = new byte[256];
        if (statx(WorkingDirectory, path, 0, TypeMask, buffer) != 0)
            return FileType.None;
        return (BitConverter.ToUInt16(buffer, ModeOffset) & TypeBits) switch
        {
            0x2000 => FileType.CharacterDevice,
            0x4000 => FileType.Directory,
            0x6000 => FileType.BlockDevice,
            0x8000 => FileType.File,
            0xC000 => FileType.Socket,
            _ => FileType.Other,
        };
    }

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
    private static extern int statx(int directory, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mask, [Out] byte[] result);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int umount2([MarshalAs(UnmanagedType.LPUTF8Str)] string target, int flags);

    [DllImport("libc", SetLastError = true), DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int lchown([MarshalAs(UnmanagedType.LPUTF8Str)] string path, uint owner, uint group);
}

/// <summary>Types of what a path leads to.</summary>
internal enum FileType
{
    /// <summary>Nothing is there.</summary>
    None,

    /// <summary>A regular file.</summary>
    File,

    /// <summary>A directory.</summary>
    Directory,

    /// <summary>A socket.</summary>
    Socket,

    /// <summary>A character device.</summary>
    CharacterDevice,

    /// <summary>A block device.</summary>
    BlockDevice,

    /// <summary>Anything else.</summary>
    Other,
}
